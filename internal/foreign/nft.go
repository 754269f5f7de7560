package foreign

import (
	"slices"
	"strings"
)

// nft reads the words behind nft, or those of a rule alone.
func (r *reader) nft() {
	if r.accept("add", "insert", "replace") && !r.accept("rule") {
		r.fail("only rules are read here, not tables, chains and sets")
		return
	}
	if len(r.rest) > 0 && slices.Contains(strings.Fields("ip ip6 inet arp bridge netdev"), r.peek()) && len(r.rest) > 3 && r.isTable() {
		r.next()
	}
	if r.isTable() { // TABLE CHAIN
		r.next()
		chain := strings.ToLower(r.next())
		r.Out = strings.Contains(chain, "output") || strings.Contains(chain, "postrouting") || strings.Contains(chain, "egress")
	}
	if r.accept("handle", "position", "index") {
		r.next()
	}
	for len(r.rest) > 0 && !r.failed {
		r.nftStatement(r.next())
	}
}

// nftProtocols are the words that a match or a statement about a header begins with, and the
// prefixes of its fields here.
var nftProtocols = map[string]string{
	"tcp": "tcp_", "udp": "udp_", "ip": "ip_", "ip6": "ip6_", "icmp": "icmp_", "icmpv6": "icmp6_", "ether": "eth_", "vlan": "vlan_",
	"arp": "arp_", "th": "",
}

// isTable reports whether the next two words name a table and its chain: no match begins with
// them.
func (r *reader) isTable() bool {
	if len(r.rest) < 3 {
		return false
	}
	first, second := r.rest[0], r.rest[1]
	if slices.Contains(strings.Fields("ip ip6 inet arp bridge netdev"), first) {
		return slices.Contains(strings.Fields("filter nat mangle raw route"), second) || first == "inet" || first == "netdev" || first == "bridge"
	}
	_, proto := nftProtocols[first]
	return !proto && !slices.Contains(nftStarts, first) && !slices.Contains(strings.Fields("counter ct limit log drop accept"), first)
}

func (r *reader) nftStatement(w string) {
	if prefix, ok := nftProtocols[w]; ok {
		r.nftField(prefix)
		return
	}
	switch w {
	case "iifname", "iif":
		r.accept("==")
		r.Interface = r.next()
	case "oifname", "oif":
		r.accept("==")
		r.Interface, r.Out = r.next(), true
	case "meta":
		r.nftMeta(r.next())
	case "counter":
		if r.accept("packets") {
			r.rest = r.rest[min(3, len(r.rest)):]
		}
	case "comment":
		r.next()
	case "accept", "return", "continue":
		r.act("pass")
	case "drop", "reject":
		r.act("drop")
	case "redirect":
		if r.accept("to") {
			r.act(r.port("dest"), strings.TrimPrefix(r.next(), ":"))
			r.Mapped, r.Note = true, noConnections
		}
	case "dnat", "snat":
		r.accept("ip", "ip6")
		r.accept("to")
		r.mapped(map[string]string{"dnat": "dest", "snat": "src"}[w], r.next())
	case "fwd":
		r.accept("to")
		r.act("redirect", r.next())
	case "notrack":
	default:
		r.fail(map[string]string{
			"ct": onlyStateful, "masquerade": onlyStateful, "log": noLog, "limit": noRate, "quota": noRate, "dup": noCopy, "jump": noJump, "goto": noJump, "queue": noMarks,
		}[w])
	}
}

func (r *reader) nftMeta(key string) {
	switch key {
	case "l4proto":
		r.proto = strings.ReplaceAll(r.nftValue(), "icmpv6", "icmp6")
	case "nfproto":
		r.cond(map[string]string{"ipv4": "ip", "ipv6": "ip6"}[r.nftValue()])
	case "iifname", "iif", "oifname", "oif":
		r.nftStatement(key)
	default:
		r.fail(noMarks)
	}
}

// nftField reads a match of a field, or a statement that sets one.
func (r *reader) nftField(prefix string) {
	name := r.next()
	if prefix == "tcp_" || prefix == "udp_" {
		r.proto = strings.TrimSuffix(prefix, "_")
	}
	field := prefix + name
	switch {
	case name == "option":
		r.accept("maxseg")
		r.accept("size")
		field = "tcp_mss"
	case prefix == "" && name != "dport" && name != "sport":
		r.fail("")
		return
	}
	if r.accept("set") {
		if r.accept("rt") {
			r.fail("the size is a number here: tcp_mss atmost N, where N is the MTU of the path less 40, for IPv6 less 60")
			return
		}
		if field == "tcp_mss" {
			field += " atmost" // nft never raises it
		}
		r.act(field, r.next())
		return
	}
	if field == "tcp_flags" {
		r.nftFlags()
		return
	}
	op := map[string]string{"!=": " ne", "<": " lt", "<=": " le", ">": " gt", ">=": " ge", "==": "", "ne": " ne", "lt": " lt", "le": " le", "gt": " gt", "ge": " ge", "eq": ""}
	if word, ok := op[r.peek()]; ok {
		r.next()
		field += word
	}
	r.cond(field, r.nftValue())
}

// nftFlags reads flags of TCP: a flag alone holds whatever the others are.
func (r *reader) nftFlags() {
	r.accept("==", "&")
	flag := r.nftValue()
	if strings.Contains(flag, ",") || r.peek() == "/" || strings.HasPrefix(flag, "(") {
		r.fail("each flag is a field of its own, such as tcp_syn, which is on or off")
		return
	}
	r.cond("tcp_"+flag, "on")
}

// nftValue reads a value or a set of values.
func (r *reader) nftValue() string {
	if !strings.HasPrefix(r.peek(), "{") {
		value := r.next()
		if strings.HasPrefix(value, "@") {
			r.fail("a named set is a column here: @NAME, and from FILE at the end of the rule")
		}
		return strings.TrimSuffix(value, ",")
	}
	var list strings.Builder
	for len(r.rest) > 0 {
		w := r.next()
		list.WriteString(w)
		if strings.HasSuffix(w, "}") {
			break
		}
	}
	return strings.Trim(list.String(), "{}, ")
}
