package csource

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// networkBody goes by what an IPv4 or IPv6 header carries.
func (w *writer) networkBody(n *plan.Network, p field.Protocol) string {
	w.structure(p)
	w.use(param(variable(p)))
	text := "\tvoid *l4 = (void *)ip + header_length(ip);\n\n"
	if p == field.IP {
		w.need("carries")
	} else {
		w.need("way_behind")
		w.need("carries6")
		w.use(frameOffset)
		text = "\t__u32 way = way_behind(ctx, l3);\n\tvoid *l4 = (void *)ip6 + way_offset(way);\n\n"
	}
	for _, t := range n.L4 {
		text += w.transport(t, p)
	}
	if n.Summed != nil {
		text += w.summed(*n.Summed, p)
	}
	return text + "\treturn " + w.callOf(w.chains[n.Bare], given{}) + ";\n"
}

// transport goes on with one of the layer-4 headers.
func (w *writer) transport(t plan.Transport, p field.Protocol) string {
	carried := "carries(ip, l4"
	if p == field.IP6 {
		carried = "carries6(ip6, way, l4"
	}
	head := fmt.Sprintf("\tif (%s, end, %s, sizeof(struct %s)))", carried, w.protocol(t.Proto), w.structure(t.Proto))
	ways := t.Ways[:]
	if p == field.IP {
		ways = ways[:1]
	}
	offset := "l3 + header_length(ip)"
	if p == field.IP6 {
		offset = "l3 + way_offset(way)"
	}
	inner := w.ways(ways, given{
		param(variable(t.Proto)): "l4", wayParam: "way", "option": "option", l4Offset: offset,
		"quoted_ip": "quoted", "quoted_ip6": "quoted", "quoted_tcp": "quoted_l4", "quoted_udp": "quoted_l4",
		"quoted_icmp": "quoted_l4", "quoted_icmp6": "quoted_l4",
	})
	if strings.Contains(strings.Join(inner, "\n"), offset) {
		w.use(frameOffset)
	}
	if len(inner) == 1 {
		return head + "\n\t\t" + inner[0] + "\n"
	}
	text := head + " {\n"
	if scans(ways) {
		text += w.scan(p)
	}
	for _, line := range inner {
		text += "\t\t" + line + "\n"
	}
	return text + "\t}\n"
}

// summed goes on with a protocol without fields, of which the checksum covers addresses.
func (w *writer) summed(t plan.Transport, p field.Protocol) string {
	find, protocol, offset := "other_check", "ip->protocol", "l3 + header_length(ip)"
	call := "other_check(ip, l4, end)"
	ways := t.Ways[:1]
	if p == field.IP6 {
		find, protocol, offset = "other_check6", "(way >> 16 & 0xff)", "l3 + way_offset(way)"
		call = "other_check6(ip6, way, l4, end)"
		ways = t.Ways[:]
	}
	w.need(find)
	g := given{otherCheck: "other", neverZero: protocol + " == 136", l4Offset: offset + " + at", wayParam: "way"}
	text := "\t{\n\t\t__u32 at = " + call + ";\n\t\t__be16 *other = l4 + at;\n\n"
	inner := w.ways(ways, g)
	if strings.Contains(strings.Join(inner, "\n"), offset) {
		w.use(frameOffset)
	}
	return text + indented(strings.Join(conditional("at && l4 + 8 <= end && (void *)(other + 1) <= end", inner), "\n"), 2) + "\n\t}\n"
}

func scans(ways []plan.Leaf) bool {
	for _, l := range ways {
		if l.Scans() {
			return true
		}
	}
	return false
}

// scan writes the search for the option MSS.
func (w *writer) scan(p field.Protocol) string {
	w.need("find_mss")
	w.use(frameOffset)
	find := "find_mss(ctx, l3 + header_length(ip), l3 + extent(ip))"
	if p == field.IP6 {
		find = "find_mss(ctx, l3 + way_offset(way), l3 + extent6(ip6))"
	}
	return "\t\t__u32 mss = " + find + ";\n\t\tstruct mss_option *option = l4 + (mss & 63);\n\n"
}

// ways are the lines that go to the chain of the way that a packet has.
func (w *writer) ways(list []plan.Leaf, g given) []string {
	if len(list) == 1 {
		return w.leaf(list[0], g)
	}
	var lines []string
	direct, extended, routed := w.leaf(list[plan.Direct], g), w.leaf(list[plan.Extended], g), w.leaf(list[plan.Routed], g)
	if !slices.Equal(routed, extended) {
		w.need(routedFlag)
		lines = append(lines, conditional("way & WAY_ROUTED", routed)...)
	}
	if !slices.Equal(extended, direct) {
		lines = append(lines, conditional("way_offset(way) > sizeof(*ip6)", extended)...)
	}
	return append(lines, direct...)
}

// leaf are the lines that go to the chain at the end of a way.
func (w *writer) leaf(l plan.Leaf, g given) []string {
	plain := "return " + w.callOf(w.chains[l.Plain], g) + ";"
	if l.Quotes() {
		return append(w.quote(l.Quote, g), plain)
	}
	if !l.Scans() {
		return []string{plain}
	}
	even, odd := "return "+w.callOf(w.chains[l.Even], g)+";", "return "+w.callOf(w.chains[l.Odd], g)+";"
	there := []string{even}
	if odd != even {
		there = append(conditional("mss & 1", []string{odd}), even)
	}
	return append(conditional("mss && (void *)(option + 1) <= end", there), plain)
}

// conditional puts lines behind a condition.
func conditional(cond string, lines []string) []string {
	head, tail := "if ("+cond+")", []string(nil)
	if len(lines) > 1 {
		head, tail = head+" {", []string{"}"}
	}
	out := []string{head}
	for _, l := range lines {
		out = append(out, "\t"+l)
	}
	return append(out, tail...)
}
