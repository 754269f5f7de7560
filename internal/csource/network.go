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
	inner := ""
	for _, t := range n.L4 {
		inner += w.transport(t, p)
	}
	if n.Summed != nil {
		inner += w.summed(*n.Summed, p)
	}
	if strings.Contains(inner, string(addressAt)) {
		text = strings.TrimSuffix(text, "\n") + w.findElsewhere(p) + "\n"
	}
	return text + inner + "\treturn " + w.callOf(w.chains[n.Bare], given{}) + ";\n"
}

// findElsewhere finds the address of the pseudo-header that stands behind the IP header.
func (w *writer) findElsewhere(p field.Protocol) string {
	find, call := "last_hop", "header_length(ip) > sizeof(*ip) ? last_hop(ctx, l3) : 0"
	if p == field.IP6 {
		find, call = "home_address", "way_offset(way) > sizeof(*ip6) ? home_address(ctx, l3, l3 + way_offset(way)) : 0"
	}
	w.need(find)
	w.use(frameOffset)
	return "\t__u32 elsewhere = " + call + ";\n"
}

// transport goes on with one of the layer-4 headers.
func (w *writer) transport(t plan.Transport, p field.Protocol) string {
	carried := "carries(ip, l4"
	if p == field.IP6 {
		carried = "carries6(ip6, way, l4"
	}
	head := fmt.Sprintf("\tif (%s, end, %s, sizeof(struct %s)))", carried, w.protocol(t.Proto), w.structure(t.Proto))
	offset := "l3 + header_length(ip)"
	if p == field.IP6 {
		offset = "l3 + way_offset(way)"
	}
	inner := w.ways(t, p, given{
		param(variable(t.Proto)): "l4", wayParam: "way", "option": "option", l4Offset: offset, addressAt: "elsewhere",
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
	if scans(t) {
		text += w.scan(p)
	}
	for _, line := range inner {
		text += indented(line, 2) + "\n"
	}
	return text + "\t}\n"
}

// summed goes on with a protocol without fields, of which the checksum covers addresses.
func (w *writer) summed(t plan.Transport, p field.Protocol) string {
	find, protocol, offset := "other_check", "ip->protocol", "l3 + header_length(ip)"
	call := "other_check(ctx, l3, ip, l4, end)"
	if p == field.IP6 {
		find, protocol, offset = "other_check6", "(way >> 16 & 0xff)", "l3 + way_offset(way)"
		call = "other_check6(ip6, way, l4, end)"
	}
	w.need(find)
	if p == field.IP {
		w.use(frameOffset)
	}
	g := given{otherCheck: "other", neverZero: protocol + " == 136", l4Offset: offset + " + at", wayParam: "way"}
	text := "\t{\n\t\t__u32 at = " + call + ";\n\t\t__be16 *other = l4 + at;\n\n"
	inner := w.ways(t, p, g)
	if strings.Contains(strings.Join(inner, "\n"), offset) {
		w.use(frameOffset)
	}
	return text + indented(strings.Join(conditional("at && l4 + 8 <= end && (void *)(other + 1) <= end", inner), "\n"), 2) + "\n\t}\n"
}

func scans(t plan.Transport) bool { return slices.ContainsFunc(t.Ways[:], plan.Leaf.Scans) }

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
func (w *writer) ways(t plan.Transport, l3 field.Protocol, g given) []string {
	lines := map[plan.Way][]string{}
	for way, leaf := range waysOver(l3, t) {
		lines[way] = w.leaf(leaf, g)
	}
	direct := lines[plan.Direct]
	if l3 == field.IP {
		return unless("elsewhere", lines[plan.Routed], direct)
	}
	homed, extended := w.unlessRouted(lines[plan.HomedRouted], lines[plan.Homed]), w.unlessRouted(lines[plan.Routed], lines[plan.Extended])
	// What is behind extension headers alone comes first.
	out := unless("elsewhere", homed, extended)
	out = out[:len(out)-len(lines[plan.Extended])]
	return append(out, unless("way_offset(way) > sizeof(*ip6)", lines[plan.Extended], direct)...)
}

// unlessRouted are the lines for packets that have a routing header with segments left,
// and for others.
func (w *writer) unlessRouted(routed, others []string) []string {
	if !slices.Equal(routed, others) {
		w.need(routedFlag)
	}
	return unless("way & WAY_ROUTED", routed, others)
}

// unless puts other lines behind those for a condition, if they are not the same.
func unless(cond string, lines, others []string) []string {
	if slices.Equal(lines, others) {
		return others
	}
	return append(conditional(cond, lines), others...)
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
		out = append(out, indented(l, 1))
	}
	return append(out, tail...)
}
