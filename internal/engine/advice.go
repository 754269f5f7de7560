package engine

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/operand"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/spelling"
)

// Advice says what can go wrong with rules where they are to be attached, though
// nothing is wrong with them.
func (s *Prepared) Advice() []run.Advice {
	var all []run.Advice
	for _, side := range s.sides() {
		for _, a := range side.adviceAt(side.choice) {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// offloadOff is a hint.
const offloadOff = "switch offload off where they are sent: ethtool -K DEVICE tso off gso off"

// adviceAt is the advice about a choice of the hook.
func (s *Prepared) adviceAt(c hook.Choice) []run.Advice {
	all := c.Warnings
	if !s.iface.Up {
		all = append(all, isDown(s.iface, "the rules see no packets until it is up"))
	}
	all = slices.Concat(all, s.idle(), s.downOutlets(), s.peerAdvice(c.Hook), s.loopAdvice())
	sets := structural(s.opt.Program)
	switch c.Hook {
	case run.TC:
		all = slices.Concat(all, s.exactAdvice(), s.badAdvice())
		if sets != "" {
			all = append(all, run.Advice{
				Note: true, Message: "segmentation-offload packets are skipped: " + sets,
				Hint: "to have each packet rewritten, " + offloadOff,
			})
		}
	case run.GenericXDP:
		if s.opt.Limit > 0 {
			all = append(all, run.Advice{
				Note: true, Message: "generic XDP sees a packet of segmentation offload as one: it counts once for -c, and all of it is rewritten",
				Hint: "to have each counted, leave out --hook, or " + offloadOff,
			})
		}
		if sets != "" {
			all = append(all, run.Advice{
				Message: sets + ", but generic XDP cannot tell segmentation-offload packets from others: their segments will be wrong",
				Hint:    "leave out --hook, or --hook tc",
			})
		}
	}
	return all
}

func isDown(i hook.Iface, then string) run.Advice {
	return run.Advice{Message: i.Name + " is down: " + then, Hint: "ip link set " + spelling.InShell(i.Name) + " up"}
}

// idle names the rules that can act on no packet because it has no Ethernet header.
func (s *Prepared) idle() []run.Advice {
	if s.iface.Link != hook.RawIPLink {
		return nil
	}
	below := func(header string) bool { return slices.Contains([]string{"eth", "vlan", "cvlan", "arp"}, header) }
	var all []run.Advice
	for _, info := range s.opt.Program.Explanation() {
		if slices.ContainsFunc(info.Cases, func(c rule.Case) bool { return !slices.ContainsFunc(c.Headers, below) }) {
			continue
		}
		all = append(all, run.Advice{Message: fmt.Sprintf("rule %d can match nothing: packets of %s begin with the IP header", info.Rule, s.iface.Name)})
	}
	return all
}

// exactAdvice names the checksums that the rules set or make right, which some packets
// cannot take.
func (s *Prepared) exactAdvice() []run.Advice {
	var all []run.Advice
	for _, message := range s.opt.Program.SkipsOffloaded() {
		all = append(all, run.Advice{Message: message, Hint: rule.WholeSums})
	}
	return all
}

// badAdvice warns that a wrong checksum may go unchecked: on interfaces made in
// software, packets of this machine come with offloaded checksums, which receivers on
// this machine trust. On the wire the sum is wrong.
func (s *Prepared) badAdvice() []run.Advice {
	if s.iface.Kind == "" && s.iface.Link != hook.LoopbackLink {
		return nil
	}
	for _, r := range s.opt.Program.Rules {
		for _, a := range r.Actions {
			if a.Op == operand.Bad && isLayer4Sum(a.Field) && a.Field.Proto != field.ICMP && a.Field.Proto != field.ICMP6 {
				return []run.Advice{{
					Message: fmt.Sprintf("packets of this machine may have no %s yet: receivers on this machine take them unchecked, it is wrong where they leave it", a.Field.Name),
					Hint:    rule.WholeSums,
				}}
			}
		}
	}
	return nil
}

// downOutlets names the interfaces that lose what is redirected to them.
func (s *Prepared) downOutlets() []run.Advice {
	var all []run.Advice
	for _, r := range s.opt.Program.Rules {
		to, redirects := s.outlets[r.Redirect]
		down := isDown(to, "what is redirected to it is lost")
		if redirects && !to.Up && !slices.Contains(all, down) {
			all = append(all, down)
		}
	}
	return all
}

// structural says which rules set fields that segmentation depends on, as in "rule 1
// sets ip_id and tcp_hlen"; "" is none.
func structural(p *rule.Program) string {
	names := make([][]string, len(p.Written))
	for _, r := range p.Rules {
		for _, a := range r.Actions {
			if a.Field.Structural && !slices.Contains(names[r.Index], a.Field.Name) {
				names[r.Index] = append(names[r.Index], a.Field.Name)
			}
		}
	}
	var sets []string
	for i := range p.Written {
		if len(names[i]) > 0 {
			sets = append(sets, ruleName(p, i)+" sets "+strings.Join(names[i], " and "))
		}
	}
	return strings.Join(sets, ", ")
}
