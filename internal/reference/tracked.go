package reference

import (
	"repacket/internal/field"
	"repacket/internal/rule"
)

// Flows are the flows that rules have tracked, by what they look like behind the rule
// (semantics.md 5.5). The zero value holds none. It has room for any number, and no entry
// is ever idle for long.
type Flows struct{ entries map[conversation]entry }

// entry is a flow as it arrived, and the rule that acted on it.
type entry struct {
	arrived conversation
	rule    int // Rule.Index
}

// conversation is what all packets of a flow have in common (semantics.md 5.1).
type conversation struct {
	ip6          bool
	tags         int
	vlan, cvlan  field.Value
	protocol     uint8
	source, dest end
	icmp         field.Protocol // ICMP, ICMP6 or None
	message      uint8          // its type
	identifier   field.Value
}

// end is one end of a flow.
type end struct{ address, port field.Value }

// Types of messages that answer each other (RFC 792, RFC 4443).
var answers = map[field.Protocol]map[uint8]uint8{
	field.ICMP:  {8: 0, 0: 8, 13: 14, 14: 13},
	field.ICMP6: {128: 129, 129: 128},
}

// conversation is the flow of the packet; ok is false if it belongs to none: it has no IP
// header, or is an ICMP message that asks for no answer.
func (p packet) conversation() (c conversation, ok bool) {
	value := func(name string) field.Value { return p.get(field.MustByName(name)) }
	switch {
	case p.has(field.IP):
		c.source.address, c.dest.address = value("ip_src"), value("ip_dest")
		c.protocol = uint8(value("ip_protocol").Lo)
	case p.has(field.IP6):
		c.ip6 = true
		c.source.address, c.dest.address = value("ip6_src"), value("ip6_dest")
		c.protocol = uint8(value("ip6_next").Lo)
	default:
		return c, false
	}
	if p.has(field.VLAN) {
		c.tags, c.vlan = 1, value("vlan_id")
	}
	if p.has(field.CVLAN) {
		c.tags, c.cvlan = 2, value("cvlan_id")
	}
	for _, proto := range []field.Protocol{field.TCP, field.UDP} {
		if p.has(proto) {
			prefix := proto.Header().Prefix
			c.source.port, c.dest.port = value(prefix+"_src"), value(prefix+"_dest")
			c.protocol = uint8(proto.Header().Number)
		}
	}
	for _, proto := range []field.Protocol{field.ICMP, field.ICMP6} {
		if p.has(proto) {
			c.protocol = uint8(proto.Header().Number)
			return p.messages(c, proto)
		}
	}
	return c, true
}

// messages adds what tells messages of ICMP apart: the identifier behind the checksum.
func (p packet) messages(c conversation, proto field.Protocol) (_ conversation, ok bool) {
	const identifierAt = 4
	at := p.at[proto]
	c.icmp, c.message = proto, p.frame[at]
	if _, answered := answers[proto][c.message]; !answered || !p.reaches(at+identifierAt+4) {
		return c, false
	}
	c.identifier = field.V(uint64(p.frame[at+identifierAt])<<8 | uint64(p.frame[at+identifierAt+1]))
	return c, true
}

// reply is the flow of the packets that answer c.
func (c conversation) reply() conversation {
	c.source, c.dest = c.dest, c.source
	if c.icmp != field.None {
		c.message = answers[c.icmp][c.message]
	}
	return c
}

// enter notes that a flow, which looks like left behind a rule, arrived as another. It is false
// if another flow that looks the same keeps its entry: one of another client.
func (f *Flows) enter(left conversation, e entry) bool {
	if old, is := f.entries[left]; is && old != e && !sameClient(old.arrived, e.arrived) {
		return false
	}
	if f.entries == nil {
		f.entries = map[conversation]entry{}
	}
	f.entries[left] = e
	return true
}

// sameClient reports whether two flows come from one end.
func sameClient(a, b conversation) bool {
	return a.source == b.source && a.identifier == b.identifier
}

// restored is what a packet of the other direction becomes that answers a flow of the rule: the
// answer to that flow as it arrived. ok is false if it answers none.
func (f *Flows) restored(p packet, r *rule.Rule) (_ conversation, ok bool) {
	c, ok := p.conversation()
	if !ok {
		return c, false
	}
	e, ok := f.entries[c.reply()]
	return e.arrived.reply(), ok && e.rule == r.Index
}

// value is what a field holds in packets of the flow.
func (c conversation) value(f *field.Field) field.Value {
	switch f.Name {
	case "ip_src", "ip6_src":
		return c.source.address
	case "ip_dest", "ip6_dest":
		return c.dest.address
	case "tcp_src", "udp_src":
		return c.source.port
	case "tcp_dest", "udp_dest":
		return c.dest.port
	case "icmp_id":
		return c.identifier
	}
	panic("reference: " + f.Name + " says nothing about a flow that is tracked")
}

// track enters the flow of a packet that a rule rewrites into out, if the rule tracks flows. It is
// false if the packet is to be skipped.
func track(r *rule.Rule, p packet, out []byte) bool {
	if r.Replies != rule.Tracked || r.Restores() {
		return true
	}
	arrived, ok := p.conversation()
	if !ok {
		return true
	}
	p.frame = out
	left, _ := p.conversation()
	return p.flows.enter(left, entry{arrived, r.Index})
}
