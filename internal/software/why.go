package software

import (
	"encoding/binary"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/why"
)

// Missed is a test that was the first of a rule's to fail, by its why.Slot, and what was seen
// there.
type Missed struct {
	Slot int
	Seen field.Value
}

// ask is a plan.Ask.
type ask struct {
	holds   condition // nil: never
	slot    int
	see     plan.See
	windows []window
	shift   int
}

func (c *compiler) asks(y *plan.Why) []ask {
	var out []ask
	for _, a := range y.Asks {
		made := ask{holds: c.condition(a.Cond), slot: a.Slot, see: a.See, windows: windowsOf(a.See.Windows())}
		if a.See.Field != nil {
			made.shift = a.See.Shift()
		}
		out = append(out, made)
	}
	return out
}

// missed notes the first of the tests that fails for certain.
func (r *Runner) missed(asks []ask) {
	for i := range asks {
		if a := &asks[i]; a.holds == nil || a.holds(r) == no {
			r.Missed = append(r.Missed, Missed{a.slot, r.see(a)})
			return
		}
	}
}

// see is what is there instead of what was asked for; where that was not captured, 0.
func (r *Runner) see(a *ask) field.Value {
	switch a.see.Next {
	case field.IP:
		if at := r.at[field.IP]; at+ipDecides <= len(r.data) {
			number := r.data[at+9]
			if binary.BigEndian.Uint16(r.data[at+6:])&0x1fff != 0 {
				return why.LaterFragment(number)
			}
			return why.Protocol(number)
		}
		return field.Value{}
	case field.IP6:
		if at := r.at[field.IP6]; at+ip6Decides <= len(r.data) {
			return why.Next(r.data[at+6])
		}
		return field.Value{}
	case field.Eth:
		return r.etherType()
	}
	if a.see.Field == nil {
		return a.see.Known
	}
	var v field.Value
	for _, w := range a.windows {
		x, there := r.load(w)
		if !there {
			return field.Value{}
		}
		n := 8 * int(w.size)
		v = field.Value{Hi: v.Hi<<n | v.Lo>>(64-n), Lo: v.Lo<<n | uint64(x)}
	}
	return v.Shr(a.shift)
}

// etherType is what stands behind the addresses and the tags.
func (r *Runner) etherType() field.Value {
	at := ethernetLen
	for range maxTags {
		if t := binary.BigEndian.Uint16(r.data[at-2:]); t != typeTag && t != typeService || r.length < at+tagLen || len(r.data) < at+tagLen {
			break
		}
		at += tagLen
	}
	return why.EtherType(binary.BigEndian.Uint16(r.data[at-2:]))
}
