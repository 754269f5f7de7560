package rule

import (
	"slices"

	"repacket/internal/field"
)

// headers is a set of headers: a bit for each field.Protocol.
type headers uint16

func (h headers) has(p field.Protocol) bool { return h&(1<<p) != 0 }

// of is the header of a layer, or field.None.
func (h headers) of(layer field.Layer) field.Protocol {
	for p := field.None; h>>p != 0; p++ {
		if h.has(p) && p.Header().Layer == layer {
			return p
		}
	}
	return field.None
}

// list is the headers, outermost first.
func (h headers) list() []field.Protocol {
	return slices.DeleteFunc(field.Protocols(), func(p field.Protocol) bool { return !h.has(p) })
}

// stacks is a set of stacks: a bit for each of allStacks.
type stacks uint64

// allStacks are all sets of headers that a packet can have: of each layer one
// or none, each on what it needs below.
var allStacks = func() []headers {
	all := []headers{0}
	for layer := range field.Layers {
		for _, below := range all {
			for _, p := range field.Protocols() {
				if p.Header().Layer == layer && stands(p, below) {
					all = append(all, below|1<<p)
				}
			}
		}
	}
	if len(all) > 64 {
		panic("rule: the stacks do not fit in 64 bits")
	}
	return all
}()

// stands tells whether p can stand on the headers below.
func stands(p field.Protocol, below headers) bool {
	over := p.Header().Over
	return len(over) == 0 || slices.ContainsFunc(over, below.has)
}

// everyStack is all stacks, and having those with a header.
var (
	everyStack = stacks(1<<(len(allStacks)-1)<<1 - 1)
	having     = func() (out [16]stacks) {
		for i, h := range allStacks {
			for _, p := range h.list() {
				out[p] |= 1 << i
			}
		}
		return out
	}()
)

// layer is the headers of a layer in any of the stacks, as bits; the lowest
// bit (field.None): a stack has none.
func (s stacks) layer(layer field.Layer) headers {
	var out headers
	for i, h := range allStacks {
		if s&(1<<i) != 0 {
			out |= 1 << h.of(layer)
		}
	}
	return out
}

// need says which values a field has in some stacks: with any other value one
// of their headers would not be looked for.
type need struct {
	stacks stacks
	in     field.Set
}

// needs are the rules of semantics.md 3.6, by field.
var needs = func() map[*field.Field][]need {
	out := map[*field.Field][]need{}
	const below = 1<<field.Eth | 1<<field.VLAN | 1<<field.CVLAN
	above := map[headers][]fact{} // what these below a header do not change
	for i, h := range allStacks {
		top := h &^ below
		if _, known := above[top]; !known {
			above[top] = slices.Concat(carriers(top), options(top))
		}
		for _, k := range slices.Concat(links(h), above[top]) {
			list := out[k.f]
			at := slices.IndexFunc(list, func(n need) bool { return n.in.Equal(k.in) })
			if at < 0 {
				at, list = len(list), append(list, need{in: k.in})
			}
			list[at].stacks |= 1 << i
			out[k.f] = list
		}
	}
	return out
}()

// links are what Ethernet and the tags say: each the type of what follows. On
// a link without Ethernet the version tells what there is.
func links(h headers) []fact {
	tag := only(0x8100).Union(only(0x88a8))
	var out []fact
	inner := "eth_type"
	if h.has(field.VLAN) {
		out, inner = append(out, fact{field.MustByName(inner), tag}), "vlan_type"
	}
	if h.has(field.CVLAN) {
		out, inner = append(out, fact{field.MustByName(inner), tag}), "cvlan_type"
	}
	network := h.of(field.NetworkLayer)
	switch {
	case network == field.None:
	case h.has(field.Eth):
		out = append(out, fact{field.MustByName(inner), only(uint64(network.Header().Number))})
	case network == field.IP:
		out = append(out, fact{field.MustByName("ip_ver"), only(4)})
	}
	return out
}

// carriers are what IPv4 and IPv6 say where something follows that is looked
// for: for IPv4 the version is 4, the header length 5 words or more, the
// fragment offset 0, the protocol its own; for IPv6 the next header its own or
// an extension header that is stepped over. What follows lies inside the
// length; a length of 0 is what segmentation offload sends.
func carriers(h headers) []fact {
	transport := h.of(field.TransportLayer).Header()
	if h.of(field.TransportLayer) == field.None {
		return nil
	}
	fixed := transport.Fixed
	if option := h.of(field.OptionLayer); option != field.None {
		fixed += option.Header().Fixed
	}
	own := only(uint64(transport.Number))
	if h.has(field.IP6) {
		return []fact{
			{field.MustByName("ip6_next"), own.Union(only(0)).Union(between(43, 44)).Union(only(60))},
			{field.MustByName("ip6_len"), only(0).Union(between(fixed, 65535))},
		}
	}
	fixed += field.IP.Header().Fixed
	return []fact{
		{field.MustByName("ip_protocol"), own},
		{field.MustByName("ip_ver"), only(4)},
		{field.MustByName("ip_offset"), only(0)},
		{field.MustByName("ip_hl"), between(5, 15)},
		{field.MustByName("ip_tot_len"), only(0).Union(between(fixed, 65535))},
	}
}

// options are what TCP says where it has an option: a word more than it must
// have.
func options(h headers) []fact {
	if h.of(field.OptionLayer) == field.None {
		return nil
	}
	return []fact{{field.MustByName("tcp_hlen"), between(6, 15)}}
}

func only(v uint64) field.Set { return field.One(field.V(v)) }

func between(lo, hi int) field.Set {
	return field.NewSet(field.Range{Lo: field.V(uint64(lo)), Hi: field.V(uint64(hi))})
}
