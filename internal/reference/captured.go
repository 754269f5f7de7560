package reference

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// cut is what is known of a packet of which not all bytes were captured (semantics.md 3.12).
//
// Whether a test of missing bytes holds is unknown. So conditions are looked at twice: once
// with each unknown test against the condition, as below a "not" it is where it holds, and once
// with each in favour of it. What comes out both times is known.
type cut struct {
	captured int // bytes
	// unsureFrom: headers from this layer on that were not found may be there.
	unsureFrom field.Layer
	// guess is what unknown tests are taken for.
	guess bool
	// unshown: bytes are missing that show whether a checksum covers the pseudo-header.
	unshown bool
}

// nowhere is behind all layers.
const nowhere = ^field.Layer(0)

// sees reports whether the bytes up to end were captured. If not, they would have said
// which headers there are from a layer on.
func (p *packet) sees(end int, layer field.Layer) bool {
	if end <= p.cut.captured {
		return true
	}
	p.cut.unsureFrom = min(p.cut.unsureFrom, layer)
	return false
}

// seesOptions reports whether the options of a TCP header were captured, or are not all in
// the datagram anyway.
func (p *packet) seesOptions(l4, end int) bool {
	return p.sees(l4+tcpFixed, field.OptionLayer) && p.sees(min(l4+4*int(p.frame[l4+12]>>4), end), field.OptionLayer)
}

// otherwise is the packet with the other guess.
func (p packet) otherwise() packet {
	p.cut.guess = !p.cut.guess
	return p
}

// maybe is the guess whether a header is there that was not found.
func (p packet) maybe(proto field.Protocol) bool {
	return p.cut.guess && proto.Header().Layer >= p.cut.unsureFrom
}

// mayHave is has, or the guess.
func (p packet) mayHave(proto field.Protocol) bool { return p.has(proto) || p.maybe(proto) }

// mayBeWhole is whole, or the guess where the bytes are missing that say so.
func (p packet) mayBeWhole(proto field.Protocol, actions []rule.Action) bool {
	for _, h := range []field.Protocol{field.IP, field.IP6, field.UDP} {
		if at, ok := p.at[h]; ok && at+h.Header().Fixed > p.cut.captured {
			return p.cut.guess
		}
	}
	if !p.has(proto) {
		return p.maybe(proto)
	}
	return p.whole(proto, actions)
}

// captured reports whether all bytes of a field of a header that is there were captured.
func (p packet) captured(f *field.Field) bool {
	return p.at[f.Proto]+f.Byte()+f.Size() <= p.cut.captured
}

// carries reports whether what the actions of r set, read and sum up was captured.
func (p packet) carries(r *rule.Rule) bool {
	if (p.halfCheck() || p.cut.unshown) && (len(r.Actions) > 0 || len(r.Swaps) > 0) {
		return false
	}
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		if !p.captured(src) || !p.captured(dest) {
			return false
		}
	}
	return !slices.ContainsFunc(r.Actions, func(a rule.Action) bool { return !p.carriesAction(a, r.Actions) })
}

// halfCheck reports whether one byte of a checksum was captured and the other was not. That of
// a quoted packet may also end in the middle where the whole message was captured.
func (p packet) halfCheck() bool {
	if p.cut.captured == len(p.frame) {
		return false
	}
	for proto, at := range checkAt {
		if start, ok := p.at[proto]; ok && start+at+1 == p.cut.captured {
			return true
		}
	}
	return p.other.at > 0 && p.other.at+1 == p.cut.captured
}

func (p packet) carriesAction(a rule.Action, all []rule.Action) bool {
	switch {
	case slices.ContainsFunc(a.Needs(), func(f *field.Field) bool { return !p.captured(f) }):
		return false
	case a.Op == operand.Hash:
		return p.carriesFlow()
	case a.Op.Sums() && a.Field.Proto == field.IP:
		l3 := p.at[field.IP]
		return l3+p.headerLenAfter(readIP(p.frame[l3:]), all) <= p.cut.captured
	case a.Op.Sums():
		return p.datagramEnd() <= p.cut.captured
	}
	return true
}

// carriesFlow reports whether what the hash of the flow is made of was captured.
func (p packet) carriesFlow() bool {
	const ports = 4
	if p.cut.unsureFrom <= field.TransportLayer {
		return false
	}
	for _, h := range []field.Protocol{field.TCP, field.UDP} {
		if at, ok := p.at[h]; ok && at+ports > p.cut.captured {
			return false
		}
	}
	return true
}
