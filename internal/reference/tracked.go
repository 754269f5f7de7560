package reference

import (
	"repacket/internal/field"
	"repacket/internal/rule"
)

// Flows are the flows that rules have tracked, by what they look like behind the rule
// (semantics.md 5.5). The zero value holds none. It has room for any number, and no entry
// is ever idle for long.
type Flows struct {
	entries map[conversation]entry
	// left is what a flow that arrived looked like when it was last entered.
	left map[conversation]conversation
}

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

// headers is a packet, or the one that an ICMP error quotes.
type headers struct {
	packet
	quoted bool
}

func (h headers) proto(p field.Protocol) field.Protocol {
	if h.quoted {
		return field.QuotedHeader(p)
	}
	return p
}

func (h headers) has(p field.Protocol) bool { return h.packet.has(h.proto(p)) }

func (h headers) value(name string) field.Value {
	f := field.MustByName(name)
	if h.quoted {
		f = field.Quoted(f)
	}
	return h.get(f)
}

// conversation is the flow of the packet; ok is false if it belongs to none: it has no IP
// header, or is an ICMP message that asks for no answer. What is quoted has the VLAN tags of
// the error.
func (h headers) conversation() (c conversation, ok bool) {
	switch {
	case h.has(field.IP):
		c.source.address, c.dest.address = h.value("ip_src"), h.value("ip_dest")
		c.protocol = uint8(h.value("ip_protocol").Lo)
	case h.has(field.IP6):
		c.ip6 = true
		c.source.address, c.dest.address = h.value("ip6_src"), h.value("ip6_dest")
		c.protocol = uint8(h.value("ip6_next").Lo)
	default:
		return c, false
	}
	if h.packet.has(field.VLAN) {
		c.tags, c.vlan = 1, h.get(field.MustByName("vlan_id"))
	}
	if h.packet.has(field.CVLAN) {
		c.tags, c.cvlan = 2, h.get(field.MustByName("cvlan_id"))
	}
	for _, proto := range []field.Protocol{field.TCP, field.UDP} {
		if h.has(proto) {
			prefix := proto.Header().Prefix
			c.source.port, c.dest.port = h.value(prefix+"_src"), h.value(prefix+"_dest")
			c.protocol = uint8(proto.Header().Number)
		}
	}
	for _, proto := range []field.Protocol{field.ICMP, field.ICMP6} {
		if h.has(proto) {
			c.protocol = uint8(proto.Header().Number)
			return h.messages(c, proto)
		}
	}
	return c, true
}

// messages adds what tells messages of ICMP apart: the identifier behind the checksum.
func (h headers) messages(c conversation, proto field.Protocol) (_ conversation, ok bool) {
	const identifierAt = 4
	at := h.at[h.proto(proto)]
	c.icmp, c.message = proto, h.frame[at]
	if _, answered := answers[proto][c.message]; !answered || !h.reaches(at+identifierAt+4) {
		return c, false
	}
	c.identifier = field.V(uint64(h.frame[at+identifierAt])<<8 | uint64(h.frame[at+identifierAt+1]))
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
	old, is := f.entries[left]
	switch {
	case is && old == e:
		return true
	case is && !sameClient(old.arrived, e.arrived):
		return false
	}
	if f.entries == nil {
		f.entries, f.left = map[conversation]entry{}, map[conversation]conversation{}
	}
	f.entries[left], f.left[e.arrived] = e, left
	return true
}

// sameClient reports whether two flows come from one end.
func sameClient(a, b conversation) bool {
	return a.source == b.source && a.identifier == b.identifier
}

// restored is what a packet of the other direction becomes that answers a flow of the rule: the
// answer to that flow as it arrived. For an ICMP error that quotes a packet of the flow it is that
// packet as it arrived, for one that quotes an answer which was given the old values that answer
// before. ok is false if there is no such flow.
func (f *Flows) restored(p packet, r *rule.Rule) (_ conversation, ok bool) {
	c, ok := headers{p, r.Quote}.conversation()
	if !ok {
		return c, false
	}
	if r.Reply {
		return f.rewritten(c.reply(), r)
	}
	if !r.Quote {
		c = c.reply()
	}
	e, ok := f.entries[c]
	if !r.Quote {
		e.arrived = e.arrived.reply()
	}
	return e.arrived, ok && e.rule == r.Index
}

// rewritten is the answer to what the rule has made of a flow that arrived; ok is false if it has
// tracked none, or what it looked like belongs to another flow since.
func (f *Flows) rewritten(arrived conversation, r *rule.Rule) (_ conversation, ok bool) {
	left, ok := f.left[arrived]
	return left.reply(), ok && f.entries[left] == entry{arrived, r.Index}
}

// restore is what a field gets by the flow that was found.
func (p packet) restore(f *field.Field) field.Value {
	own := field.Unquote(f)
	switch {
	case own != nil:
		return p.restored.value(own)
	case !p.quotes:
		return p.restored.value(f)
	}
	// The address of an error that comes from the packet's destination, or goes to its source.
	end := field.MustByName(map[string]string{
		"ip_src": "ip_dest", "ip_dest": "ip_src", "ip6_src": "ip6_dest", "ip6_dest": "ip6_src",
	}[f.Name])
	if p.get(f) != p.get(field.Quoted(end)) {
		return p.get(f)
	}
	return p.restored.value(end)
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
	arrived, ok := headers{p, false}.conversation()
	if !ok {
		return true
	}
	p.frame = out
	left, _ := headers{p, false}.conversation()
	return p.flows.enter(left, entry{arrived, r.Index})
}
