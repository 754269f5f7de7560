package csource

import (
	"fmt"
	"iter"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// entry is the program's function: it finds out which headers are there and
// goes to the routine of that class of packets.
func (w *writer) entry(pl *plan.Program) string {
	w.chains, w.on = map[*plan.Chain]*routine{}, pl.Link
	head := fmt.Sprintf("SEC(%q)\nint %s(struct xdp_md *ctx)\n{\n", w.options.section(), ProgramName)
	if pl.Blind() {
		return head + w.blind(pl.Levels[0].Other) + "}\n"
	}
	w.eachChain(pl)
	w.nameChains(pl)
	return head + w.link(pl) + "}\n"
}

// link is the body of the entry, by what packets begin with.
func (w *writer) link(pl *plan.Program) string {
	if pl.Link == field.RawIP {
		return w.rawEntry(pl.Levels[0])
	}
	levels := make([]*routine, len(pl.Levels))
	for i, l := range pl.Levels {
		levels[i] = w.level(l, i)
	}
	switch r := levels[0]; {
	case !same(levels):
		return w.tagsEntry(levels)
	case r == nil:
		return nothing
	case !r.params[insideType]:
		return w.ethernetEntry(r)
	default:
		return w.frameEntry(r)
	}
}

const nothing = "\t(void)ctx;\n\treturn XDP_PASS;\n"

// blind is the body of a program that looks at no header.
func (w *writer) blind(c *plan.Chain) string {
	if len(c.Steps) == 0 {
		return nothing
	}
	w.params = map[param]bool{}
	return w.steps(c)
}

// eachChain writes the routines of all chains, and notes for which packets
// they are.
func (w *writer) eachChain(pl *plan.Program) {
	for tags, l := range pl.Levels {
		c := plan.Class{Link: pl.Link, Tags: tags}
		for _, n := range []struct {
			network *plan.Network
			l3      field.Protocol
		}{{l.IP, field.IP}, {l.IP6, field.IP6}} {
			if n.network != nil {
				c.L3 = n.l3
				w.networkChains(n.network, c)
			}
		}
		c.L3 = field.ARP
		w.chain(l.ARP, c)
		c.L3 = field.None
		w.chain(l.Other, c)
	}
}

func (w *writer) networkChains(n *plan.Network, c plan.Class) {
	for _, t := range n.L4 {
		c.L4 = t.Proto
		for way, leaf := range waysOver(c.L3, t) {
			c.Way = way
			w.chain(leaf.Plain, c)
			c.MSS = true
			w.chain(leaf.Even, c)
			c.Odd = true
			w.chain(leaf.Odd, c)
			c.MSS, c.Odd = false, false
			w.quoteChains(leaf.Quote, c)
		}
	}
	c.L4, c.Way = field.None, plan.Direct
	w.chain(n.Bare, c)
	if n.Summed == nil {
		return
	}
	c.Summed = true
	for way, leaf := range waysOver(c.L3, *n.Summed) {
		c.Way = way
		w.chain(leaf.Plain, c)
	}
}

// waysOver are the ways that there are from an IP header to another one.
func waysOver(l3 field.Protocol, t plan.Transport) iter.Seq2[plan.Way, plan.Leaf] {
	return func(yield func(plan.Way, plan.Leaf) bool) {
		for way, leaf := range t.Ways {
			way := plan.Way(way)
			if l3 == field.IP && way != plan.Direct && way != plan.Routed {
				continue
			}
			if !yield(way, leaf) {
				return
			}
		}
	}
}

// same reports whether all levels are the same, and need no tag.
func same(levels []*routine) bool {
	for _, r := range levels {
		if r != levels[0] || r != nil && (r.params["vlan"] || r.params["cvlan"] || r.params[outerTCI]) {
			return false
		}
	}
	return true
}

// level gives the routine of packets with so many tags, nil if nothing is done
// with them.
func (w *writer) level(l plan.Level, tags int) *routine {
	if l.ARP == nil && l.IP == nil && l.IP6 == nil {
		return w.chains[l.Other]
	}
	ip, ip6 := w.network(l.IP, field.IP), w.network(l.IP6, field.IP6)
	w.params = map[param]bool{ctxParam: true, inside: true, frameEnd: true, insideType: true}
	body := w.levelBody(l, ip, ip6)
	r := w.routineOf(body)
	r.uses = append(r.uses, plan.Class{Tags: tags})
	c := byTags(r.uses)
	r.name, r.title = strings.TrimPrefix(c.name+"_frame", "_"), "Frames"+c.title+", by what they carry"
	return r
}

// levelBody goes by the type of what the frame carries.
func (w *writer) levelBody(l plan.Level, ip, ip6 *routine) string {
	var b strings.Builder
	at := given{inside: "at", ipHeader: "at", ip6Header: "at", "arp": "at"}
	for _, n := range []struct {
		proto   field.Protocol
		there   bool
		routine *routine
	}{{field.IP, l.IP != nil, ip}, {field.IP6, l.IP6 != nil, ip6}} {
		if n.there {
			fmt.Fprintf(&b, "\tif (type == bpf_htons(%s) && at + sizeof(struct %s) <= end)\n\t\treturn %s;\n",
				w.etherType(n.proto), w.structure(n.proto), w.callOf(n.routine, at))
		}
	}
	if l.ARP != nil {
		w.need("is_arp")
		fmt.Fprintf(&b, "\tif (type == bpf_htons(%s) && is_arp(at, end))\n\t\treturn %s;\n",
			w.etherType(field.ARP), w.callOf(w.chains[l.ARP], at))
	}
	fmt.Fprintf(&b, "\treturn %s;\n", w.callOf(w.chains[l.Other], at))
	return b.String()
}

// network gives the routine that goes by what an IP header carries, or the
// chain if that makes no difference.
func (w *writer) network(n *plan.Network, p field.Protocol) *routine {
	switch {
	case n == nil:
		return nil
	case len(n.L4) == 0:
		return w.chains[n.Bare]
	}
	w.params = map[param]bool{ctxParam: true, frameEnd: true}
	body := w.networkBody(n, p)
	r := w.routineOf(body)
	if r.name == "" {
		r.name, r.title = w.unused("over_"+p.String()), p.Header().Title+" packets, by what they carry"
	}
	return r
}

// unused numbers a name that another routine has.
func (w *writer) unused(name string) string {
	out := name
	for i := 2; ; i++ {
		taken := false
		for _, r := range w.routines {
			taken = taken || r.name == out
		}
		if !taken {
			return out
		}
		out = fmt.Sprintf("%s_%d", name, i)
	}
}

// rawEntry finds the IP header of a packet that begins with it.
func (w *writer) rawEntry(l plan.Level) string {
	w.params = map[param]bool{}
	at := given{ipHeader: "data", ip6Header: "data", frameOffset: "0"}
	body := ""
	for _, n := range []struct {
		network *plan.Network
		proto   field.Protocol
		version int
	}{{l.IP, field.IP, 4}, {l.IP6, field.IP6, 6}} {
		if n.network != nil {
			w.need("begins")
			body += fmt.Sprintf("\tif (begins(data, end, %d, sizeof(struct %s)))\n\t\treturn %s;\n",
				n.version, w.structure(n.proto), w.callOf(w.network(n.network, n.proto), at))
		}
	}
	return w.locals("") + body + "\treturn " + w.callOf(w.chains[l.Other], at) + ";\n"
}

const locals = `	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
`

// locals declare where the packet is. At tc the headers may not be there yet.
func (w *writer) locals(more string) string {
	if w.options.Hook != TC {
		return locals + more + "\n"
	}
	w.need("pull")
	return "\tvoid *data, *end;\n" + more + `
	if (pull(ctx))
		return XDP_PASS;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
`
}

// ethernetEntry goes on with every frame alike.
func (w *writer) ethernetEntry(r *routine) string {
	w.structure(field.Eth)
	w.params = map[param]bool{}
	return w.locals("") + "\tif (data + sizeof(struct eth_header) > end)\n\t\treturn XDP_PASS;\n" +
		"\treturn " + w.callOf(r, given{"eth": "data", outerType: w.frameType("*(__be16 *)(data + 12)")}) + ";\n"
}

// frameType writes the type of a frame, whose tag may be offloaded at tc.
func (w *writer) frameType(inPacket string) string {
	if w.options.Hook == TC {
		w.need("tag_offloaded")
	}
	return "tag_offloaded(ctx) ? (__be16)ctx->vlan_proto : " + inPacket
}

// frameEntry steps over the tags of a frame.
func (w *writer) frameEntry(r *routine) string {
	w.need("behind_tags")
	w.params = map[param]bool{}
	r.name, r.title = "frame", "Frames, by what they carry"
	call := w.callOf(r, given{insideType: "*type", inside: "data + l3", "eth": "data", outerType: w.frameType("*(__be16 *)(data + 12)")})
	tags := ""
	if w.options.Hook == TC {
		w.need("tag_offloaded")
		tags = ", tag_offloaded(ctx) ? 1 : 2"
	}
	return w.locals("\t__u32 l3;\n\t__be16 *type;\n") + `	l3 = behind_tags(data, end` + tags + `);
	type = data + l3 - sizeof(*type);
	if (!l3)
		return XDP_PASS;
	return ` + call + ";\n"
}

// tagsEntry tells frames apart by their tags.
func (w *writer) tagsEntry(levels []*routine) string {
	w.need("is_tag")
	w.structure(field.Eth)
	w.structure(field.VLAN)
	w.params = map[param]bool{}
	outer := "eth->type"
	if w.options.Hook == TC {
		outer = "eth_type"
	}
	calls := []string{
		w.callOf(levels[0], given{insideType: "eth->type", outerType: "eth->type", inside: "eth + 1", frameOffset: "14"}),
		w.callOf(levels[1], given{insideType: "vlan->type", outerType: outer, inside: "vlan + 1", frameOffset: "l3"}),
		w.callOf(levels[2], given{insideType: "cvlan->type", outerType: outer, inside: "cvlan + 1", frameOffset: "l3 + 4"}),
	}
	twice := calls[1] != calls[2]
	declared, used := "\tstruct eth_header *eth;\n\tstruct vlan_header *vlan;\n", strings.Join(calls[1:], "\n")
	var b strings.Builder
	b.WriteString("\teth = data;\n\tvlan = (void *)(eth + 1);\n\tif ((void *)vlan > end)\n\t\treturn XDP_PASS;\n")
	w.outerTag(&b, calls[0], used)
	if strings.Contains(used, "l3") {
		declared += "\t__u32 l3 = 18;\n"
	}
	for _, p := range []param{outerType, outerTCI} {
		if w.options.Hook == TC && strings.Contains(used, string(p)) {
			declared += "\t__be16 " + string(p) + ";\n"
		}
	}
	if twice {
		declared += "\tstruct cvlan_header *cvlan;\n"
		w.structure(field.CVLAN)
		b.WriteString("\tcvlan = (void *)(vlan + 1);\n\tif (!is_tag(vlan->type, cvlan, end))\n\t\treturn " + calls[1] + ";\n")
	}
	return w.locals(declared) + b.String() + "\treturn " + calls[2] + ";\n"
}

// outerTag goes on without a tag, or finds the first one. One that is
// offloaded is taken for one whose type is where the frame's would be.
func (w *writer) outerTag(b *strings.Builder, untagged, used string) {
	without := "if (!is_tag(eth->type, vlan, end))"
	if w.options.Hook != TC {
		b.WriteString("\t" + without + "\n\t\treturn " + untagged + ";\n")
		return
	}
	w.need("tag_offloaded")
	offloaded := "\tif (tag_offloaded(ctx)) {\n\t\tvlan = data + 10;\n"
	in := "\t} else {\n\t\t" + without + "\n\t\t\treturn " + untagged + ";\n"
	for _, v := range []struct {
		name          param
		offloaded, in string
	}{{outerType, "ctx->vlan_proto", "eth->type"}, {outerTCI, "bpf_htons(ctx->vlan_tci)", "vlan->pcp_dei_id"}, {frameOffset, "14", ""}} {
		if !strings.Contains(used, string(v.name)) {
			continue
		}
		offloaded += fmt.Sprintf("\t\t%s = %s;\n", v.name, v.offloaded)
		if v.in != "" {
			in += fmt.Sprintf("\t\t%s = %s;\n", v.name, v.in)
		}
	}
	b.WriteString(offloaded + in + "\t}\n")
}
