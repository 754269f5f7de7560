package engine

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/operand"
	"repacket/internal/rule"
	"repacket/internal/spelling"
)

// Advice is what a user should know before rules are attached to an interface.
type Advice struct {
	// Note: it will do as asked, in a way that may not be expected. Else
	// it is a warning.
	Note          bool
	Message, Hint string
}

// Advice says what can go wrong with rules where they are to go, though nothing is
// wrong with them.
func (s *Site) Advice() []Advice { return s.advice(s.choice) }

// advice is what to tell about a choice of the hook.
func (s *Site) advice(c hook.Choice) []Advice {
	var all []Advice
	for _, w := range c.Warnings {
		all = append(all, Advice{Message: w.Message, Hint: w.Hint})
	}
	if !s.iface.Up {
		all = append(all, Advice{
			Message: s.iface.Name + " is down: the rules see no packets until it is up",
			Hint:    "ip link set " + spelling.InShell(s.iface.Name) + " up",
		})
	}
	all = append(all, s.idle()...)
	all = append(all, s.downOutlets()...)
	all = append(all, s.peerAdvice(c.Mode)...)
	all = append(all, s.loopAdvice()...)
	switch c.Mode {
	case hook.TC:
		all = append(all, s.exactAdvice()...)
		all = append(all, s.badAdvice()...)
		if sets := structural(s.cfg.Program); sets != "" {
			all = append(all, Advice{
				Note: true, Message: "segmentation-offload packets are left alone: " + sets,
				Hint: "to have each packet rewritten, switch offload off where they are sent: ethtool -K DEVICE tso off gso off",
			})
		}
	case hook.Generic:
		if s.cfg.Limit > 0 {
			all = append(all, Advice{
				Note: true, Message: "generic XDP sees a packet of segmentation offload as one: it counts once for -c, and all of it is rewritten",
				Hint: "to have each counted, leave out --hook, or switch offload off where they are sent: ethtool -K DEVICE tso off gso off",
			})
		}
		if sets := structural(s.cfg.Program); sets != "" {
			all = append(all, Advice{
				Message: sets + ", but generic XDP cannot tell segmentation-offload packets from others: they will be cut up wrong",
				Hint:    "leave out --hook, or --hook tc",
			})
		}
	}
	return all
}

// idle tells which rules can act on no packet because it has no Ethernet header.
func (s *Site) idle() []Advice {
	if s.iface.Link != hook.RawIPLink {
		return nil
	}
	below := func(header string) bool { return slices.Contains([]string{"eth", "vlan", "cvlan", "arp"}, header) }
	var all []Advice
	for _, info := range s.cfg.Program.Explanation() {
		if slices.ContainsFunc(info.Cases, func(c rule.Case) bool { return !slices.ContainsFunc(c.Headers, below) }) {
			continue
		}
		all = append(all, Advice{Message: fmt.Sprintf("rule %d can match nothing: packets of %s begin with the IP header", info.Rule, s.iface.Name)})
	}
	return all
}

// exactAdvice tells which checksums a rule sets to a value that some packets
// cannot take.
func (s *Site) exactAdvice() []Advice {
	var told []*field.Field
	var all []Advice
	for _, r := range s.cfg.Program.Rules {
		f := exactSum(r)
		if f == nil || f.Proto == field.ICMP || slices.Contains(told, f) {
			continue // the kernel makes ICMP's when it makes the packet
		}
		told = append(told, f)
		all = append(all, Advice{
			Message: fmt.Sprintf("packets whose checksum is made later are left alone: %s cannot be set exactly in them", f.Name),
			Hint:    "whole checksums where the packets are sent: ethtool -K DEVICE tx off",
		})
	}
	return all
}

// badAdvice tells that a wrong checksum may not be looked at: on interfaces made in
// software, packets of this machine come with sums that are made later, and whoever
// takes them here trusts them. On the wire the sum is wrong.
func (s *Site) badAdvice() []Advice {
	if s.iface.Kind == "" && s.iface.Link != hook.LoopbackLink {
		return nil
	}
	for _, r := range s.cfg.Program.Rules {
		for _, a := range r.Actions {
			if a.Op == operand.Bad && isLayer4Sum(a.Field) && a.Field.Proto != field.ICMP && a.Field.Proto != field.ICMP6 {
				return []Advice{{
					Message: fmt.Sprintf("packets of this machine may have no %s yet: receivers on this machine take them unchecked, it is wrong where they leave it", a.Field.Name),
					Hint:    "whole checksums where the packets are sent: ethtool -K DEVICE tx off",
				}}
			}
		}
	}
	return nil
}

// downOutlets tells which interfaces lose what is redirected to them.
func (s *Site) downOutlets() []Advice {
	var all []Advice
	for _, r := range s.cfg.Program.Rules {
		to, redirects := s.outlets[r.Redirect]
		down := Advice{
			Message: to.Name + " is down: what is redirected to it is lost",
			Hint:    "ip link set " + spelling.InShell(to.Name) + " up",
		}
		if redirects && !to.Up && !slices.Contains(all, down) {
			all = append(all, down)
		}
	}
	return all
}

// structural says which rules set fields that say how packets are cut up, as
// in "rule 1 sets ip_id and tcp_hlen"; "" is none.
func structural(p *rule.Program) string {
	byRule := structuralFields(p)
	var parts []string
	for i, w := range p.Written {
		var names []string
		for _, f := range byRule[i] {
			names = append(names, f.Name)
		}
		if len(names) == 0 {
			continue
		}
		name := w.Name
		if name == "" {
			name = fmt.Sprintf("rule %d", i+1)
		}
		parts = append(parts, name+" sets "+strings.Join(names, " and "))
	}
	return strings.Join(parts, ", ")
}

// structuralFields are, by rule as written, the fields that it sets and that say
// how a packet is cut up.
func structuralFields(p *rule.Program) [][]*field.Field {
	out := make([][]*field.Field, len(p.Written))
	for _, r := range p.Rules {
		for _, a := range r.Actions {
			if a.Field.Structural && !slices.Contains(out[r.Index], a.Field) {
				out[r.Index] = append(out[r.Index], a.Field)
			}
		}
	}
	return out
}
