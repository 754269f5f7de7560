package engine

import (
	"fmt"

	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/rule"
)

// Advice is what a user should know before rules are attached to an interface.
type Advice struct {
	Message, Hint string
}

// Advise says what can go wrong with rules at the hook that would be chosen,
// though nothing is wrong with them. The errors are those of hook.Interface and
// hook.Choose, and a *UsageError.
func Advise(cfg Config) ([]Advice, error) {
	i, err := hook.Interface(cfg.Interface)
	if err != nil {
		return nil, err
	}
	choice, err := hook.Choose(cfg.Mode, cfg.Direction, i, needOf(cfg.Program))
	if err != nil {
		return nil, err
	}
	var out []Advice
	for _, w := range choice.Warnings {
		out = append(out, Advice(w))
	}
	if choice.Mode != hook.TC {
		return out, nil
	}
	more, err := atTC(cfg)
	return append(out, more...), err
}

// UsageError is what can never work, whatever the kernel is.
type UsageError struct{ message, hint string }

func (e *UsageError) Error() string { return e.message }

// Hint says what to do instead.
func (e *UsageError) Hint() string { return e.hint }

// atTC says what tc cannot do with some packets, and refuses what it can do with
// none: a TCP packet of this machine leaves with a checksum that is made later,
// so that an exact one cannot reach the wire.
func atTC(cfg Config) ([]Advice, error) {
	var out []Advice
	told := map[string]bool{}
	tell := func(key, message, hint string) {
		if !told[key] {
			told[key] = true
			out = append(out, Advice{message, hint})
		}
	}
	for _, r := range cfg.Program.Rules {
		if r.Verdict == rule.Reflect && cfg.Direction == hook.Out {
			return nil, &UsageError{"reflect is for packets that come in: those that leave are on their way out already", "leave out -Q out"}
		}
		for _, a := range r.Actions {
			name := a.Field.Name
			exact := a.Op == rule.Set && layer4Sum(a.Field)
			switch {
			case exact && name == "tcp_check" && cfg.Direction == hook.Out:
				return nil, &UsageError{
					"an exact tcp_check cannot reach the wire: TCP packets leave with a checksum that is made later",
					"tcp_check bad makes it come out wrong; to set it exactly, rewrite where the packets arrive",
				}
			case exact:
				tell("exact", fmt.Sprintf("packets whose checksum is made later are left alone: %s cannot be set exactly in them", name),
					"whole checksums where the packets are sent: ethtool -K DEVICE tx off")
			case a.Field.Structural:
				tell(name, fmt.Sprintf("packets of segmentation offload are left alone: %s says how they are cut up", name),
					"to have each packet rewritten, switch offload off where they are sent: ethtool -K DEVICE tso off gso off")
			}
		}
	}
	return out, nil
}

// needOf is what a program asks of a hook.
func needOf(p *rule.Program) hook.Need {
	var n hook.Need
	for _, r := range p.Rules {
		n.Sends = n.Sends || r.Verdict == rule.Reflect || r.Verdict == rule.ToInterface
		for _, a := range r.Actions {
			for _, c := range a.Field.Covers {
				n.Sums = n.Sums || c.Check != "ip_check"
			}
			n.Sums = n.Sums || layer4Sum(a.Field)
		}
	}
	return n
}

func layer4Sum(f *field.Field) bool { return f.Kind == field.Checksum && f.Proto != field.IP }

// targets are the numbers of the interfaces that rules redirect to. The kernel
// drops silently what comes from a link without Ethernet and is to go to one
// with it, and what XDP sends to a veth whose peer has no XDP program.
func targets(p *rule.Program, from hook.Iface, mode hook.Mode) (map[string]int, error) {
	out := map[string]int{}
	for _, r := range p.Rules {
		if r.Verdict != rule.ToInterface {
			continue
		}
		to, err := hook.Interface(r.Redirect)
		if err != nil {
			return nil, err
		}
		switch {
		case from.Link == hook.RawIPLink && to.Link != hook.RawIPLink:
			return nil, &hook.ErrUnsupported{
				Interface: from.Name, Mode: mode,
				Reason: fmt.Sprintf("packets of %s have no Ethernet header, and %s needs one: the kernel would drop them", from.Name, to.Name),
			}
		case mode != hook.TC && to.Kind == "veth":
			return nil, &hook.ErrUnsupported{
				Interface: from.Name, Mode: mode,
				Reason: fmt.Sprintf("%s is a veth: what XDP sends there is lost unless its other end has an XDP program", to.Name),
				Advice: "use tc: --hook tc",
			}
		}
		out[r.Redirect] = to.Index
	}
	return out, nil
}
