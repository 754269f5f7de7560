// Package packetset holds sets of packets: those on which a condition holds. A
// set says which headers its packets may have and which values their fields; so
// it reports whether anything can be in two sets at once, and with that whether a
// condition can hold at all.
//
// Sets are exact, unless working them out takes more steps than a Budget has or
// more states than are kept; then a set holds more packets than it should, never
// fewer. The package knows the table of fields alone.
package packetset

import (
	"math/bits"
	"slices"

	"repacket/internal/field"
)

// Headers is a set of headers: a bit for each field.Protocol. Of the headers of
// one layer field.None is one too: that there is none.
type Headers uint32

// HeadersOf are some headers.
func HeadersOf(list ...field.Protocol) (h Headers) {
	for _, p := range list {
		h |= 1 << p
	}
	return h
}

// Has reports whether p is in h.
func (h Headers) Has(p field.Protocol) bool { return h&(1<<p) != 0 }

// Of is the header of a layer, or field.None.
func (h Headers) Of(layer field.Layer) field.Protocol {
	for p := field.None + 1; h>>p != 0; p++ {
		if h.Has(p) && p.Header().Layer == layer {
			return p
		}
	}
	return field.None
}

// List is the headers, outermost first.
func (h Headers) List() []field.Protocol {
	return slices.DeleteFunc(field.AllProtocols(), func(p field.Protocol) bool { return !h.Has(p) })
}

// stacks is a set of header stacks: a bit for each of layering.all. There are 47 of
// them, and there can be maxStacks.
type stacks [4]uint64

const maxStacks = 64 * len(stacks{})

func (s stacks) and(o stacks) stacks {
	return stacks{s[0] & o[0], s[1] & o[1], s[2] & o[2], s[3] & o[3]}
}

func (s stacks) or(o stacks) stacks {
	return stacks{s[0] | o[0], s[1] | o[1], s[2] | o[2], s[3] | o[3]}
}

func (s stacks) without(o stacks) stacks {
	return stacks{s[0] &^ o[0], s[1] &^ o[1], s[2] &^ o[2], s[3] &^ o[3]}
}

func (s stacks) meets(o stacks) bool { return s.and(o) != stacks{} }

func (s *stacks) add(n int) { s[n/64] |= 1 << (n % 64) }

// each calls do with the place of each stack.
func (s stacks) each(do func(n int)) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			do(64*i + bits.TrailingZeros64(word))
		}
	}
}

// layering is how headers stand on each other.
type layering struct {
	// all are the sets of headers that a packet can have: of each layer one or
	// none, each on what it needs below.
	all []Headers
	// every is all stacks, and having those with a header.
	every  stacks
	having [32]stacks
}

// layers is how the headers of the language stand on each other. Sets of packets do not
// tell apart what ICMP errors quote: Needs alone knows of quoted headers.
var layers = newLayering(field.Protocols(), field.Protocol.Header)

// newLayering works out the stacks of some headers.
func newLayering(list []field.Protocol, header func(field.Protocol) field.Header) *layering {
	l := &layering{all: []Headers{0}}
	for layer := range field.Layers {
		for _, below := range l.all {
			for _, p := range list {
				over := header(p).Over
				if header(p).Layer == layer && (len(over) == 0 || slices.ContainsFunc(over, below.Has)) {
					l.all = append(l.all, below|1<<p)
				}
			}
		}
	}
	if len(l.all) > maxStacks {
		panic("packetset: more header stacks than a set has bits")
	}
	for i, h := range l.all {
		l.every.add(i)
		for _, p := range list {
			if h.Has(p) {
				l.having[p].add(i)
			}
		}
	}
	return l
}

// Exclusive reports whether no packet has both headers.
func Exclusive(p, q field.Protocol) bool { return !layers.having[p].meets(layers.having[q]) }

// headers are the headers of a layer in any of the stacks, field.None among them
// if a stack has none.
func (s stacks) headers(layer field.Layer) (out Headers) {
	s.each(func(n int) { out |= 1 << layers.all[n].Of(layer) })
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
	for i, h := range layers.all {
		for _, k := range Needs(h) {
			list := out[k.Field]
			at := slices.IndexFunc(list, func(n need) bool { return n.in.Equal(k.In) })
			if at < 0 {
				at, list = len(list), append(list, need{in: k.In})
			}
			list[at].stacks.add(i)
			out[k.Field] = list
		}
	}
	return out
}()

// Fact says that a field has one of some values, if its header is there.
type Fact struct {
	Field *field.Field
	In    field.Set
}

// Needs are the values that fields have in packets whose headers are just these:
// with another one, one of the headers would not be looked for (semantics.md 3.6).
func Needs(h Headers) []Fact {
	return slices.Concat(linkNeeds(h), transportNeeds(h), quoteNeeds(h))
}

// linkNeeds are what Ethernet and the tags say: each the type of what follows. On
// a link without Ethernet the version tells what there is.
func linkNeeds(h Headers) []Fact {
	tag := field.NewSet(single(0x8100), single(0x88a8))
	var out []Fact
	inner := "eth_type"
	if h.Has(field.VLAN) {
		out, inner = append(out, fact(inner, tag...)), "vlan_type"
	}
	if h.Has(field.CVLAN) {
		out, inner = append(out, fact(inner, tag...)), "cvlan_type"
	}
	network := h.Of(field.NetworkLayer)
	switch {
	case network == field.None:
	case h.Has(field.Eth):
		out = append(out, fact(inner, single(int(network.Header().Number))))
	case network == field.IP:
		out = append(out, fact("ip_ver", single(4)))
	}
	return out
}

// transportNeeds are what IPv4 and IPv6 say where something follows that is
// looked for: for IPv4 the version is 4, the header length 5 words or more, the
// fragment offset 0, the protocol its own; for IPv6 the next header its own or an
// extension header that is stepped over. What follows lies inside the length; a
// length of 0 is what segmentation offload sends. TCP with an option is a word
// longer than it must be.
func transportNeeds(h Headers) []Fact {
	proto := h.Of(field.TransportLayer)
	if proto == field.None {
		return nil
	}
	length, own := proto.Header().Fixed, single(int(proto.Header().Number))
	var out []Fact
	if option := h.Of(field.OptionLayer); option != field.None {
		length += option.Header().Fixed
		out = append(out, fact("tcp_hlen", between(6, 15)))
	}
	if h.Has(field.IP6) {
		return append(out, fact("ip6_next", own, single(0), between(43, 44), single(60)),
			fact("ip6_len", single(0), between(length, 65535)))
	}
	length += field.IP.Header().Fixed
	return append(out, fact("ip_protocol", own), fact("ip_ver", single(4)), fact("ip_offset", single(0)),
		fact("ip_hl", between(5, 15)), fact("ip_tot_len", single(0), between(length, 65535)))
}

// quoteNeeds are what the message says that quotes a packet, and the quote itself: an
// error; of IPv4 in the quote what transportNeeds says; of IPv6 that no extension header
// stands between, none is stepped over there.
func quoteNeeds(h Headers) []Fact {
	var out []Fact
	switch h.Of(field.QuotedNetworkLayer) {
	case field.None:
		return nil
	case field.QuotedIP:
		out = append(out, fact("icmp_type", field.ICMPErrors...), fact("quoted_ip_ver", single(4)))
	case field.QuotedIP6:
		out = append(out, fact("icmp6_type", field.ICMP6Errors...))
	}
	proto := h.Of(field.QuotedTransportLayer)
	if proto == field.None {
		return out
	}
	length, own := field.Unquoted(proto).Header().Fixed, single(int(proto.Header().Number))
	if h.Has(field.QuotedIP6) {
		return append(out, fact("quoted_ip6_next", own), fact("quoted_ip6_len", single(0), between(length, 65535)))
	}
	length += field.IP.Header().Fixed
	return append(out, fact("quoted_ip_protocol", own), fact("quoted_ip_offset", single(0)),
		fact("quoted_ip_hl", between(5, 15)), fact("quoted_ip_tot_len", single(0), between(length, 65535)))
}

func fact(name string, in ...field.Range) Fact {
	return Fact{field.MustByName(name), field.NewSet(in...)}
}

func single(v int) field.Range { return between(v, v) }

func between(lo, hi int) field.Range {
	return field.Range{Lo: field.V(uint64(lo)), Hi: field.V(uint64(hi))}
}
