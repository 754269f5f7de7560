package csource

import (
	"slices"
	"strings"
	"sync"

	"repacket/internal/field"
)

// snippet is a piece of the program that is written only if it is needed.
type snippet string

// headerOf is the structure of a header, protocolNumber and etherType its
// numbers.
func headerOf(p field.Protocol) snippet       { return snippet("struct " + p.String()) }
func protocolNumber(p field.Protocol) snippet { return snippet("number " + p.String()) }
func etherType(p field.Protocol) snippet      { return snippet("type " + p.String()) }

// The parts that are no function.
const (
	addressMacro snippet = "ADDRESS"
	extension    snippet = "struct extension"
	noWay        snippet = "NO_WAY"
	routedFlag   snippet = "WAY_ROUTED"
	moreFlag     snippet = "WAY_MORE"
	hookXDP      snippet = "XDP"
	hookTC       snippet = "TC"
	ownDraws     snippet = "RANDOM"
	givenDraws   snippet = "DRAWS"
)

// The functions that programs are made of, by name.
const (
	pull            snippet = "pull"
	tagOffloaded    snippet = "tag_offloaded"
	isGSO           snippet = "is_gso"
	isTag           snippet = "is_tag"
	behindTags      snippet = "behind_tags"
	begins          snippet = "begins"
	isARP           snippet = "is_arp"
	headerLength    snippet = "header_length"
	extent          snippet = "extent"
	carries         snippet = "carries"
	extent6         snippet = "extent6"
	wayBehind       snippet = "way_behind"
	wayOffset       snippet = "way_offset"
	carries6        snippet = "carries6"
	findMSS         snippet = "find_mss"
	datagramLength  snippet = "datagram_length"
	wholeDatagram   snippet = "whole_datagram"
	datagramLength6 snippet = "datagram_length6"
	wholeDatagram6  snippet = "whole_datagram6"
	fold            snippet = "fold"
	minus           snippet = "minus"
	adjusted        snippet = "adjusted"
	adjustedUDP     snippet = "adjusted_udp"
	swap            snippet = "swap"
	sumBytes        snippet = "sum_bytes"
	pseudoHeader    snippet = "pseudo_header"
	pseudoHeader6   snippet = "pseudo_header6"
	checksum        snippet = "checksum"
	nonzero         snippet = "nonzero"
	wrong           snippet = "wrong"
	replace         snippet = "replace"
	isPartial       snippet = "is_partial"
	keepOnes        snippet = "keep_ones"
	again           snippet = "again"
	store           snippet = "store"
	retag           snippet = "retag"
	count           snippet = "count"
	draw            snippet = "draw"
	chosen          snippet = "chosen"
	raised          snippet = "raised"
	lowered         snippet = "lowered"
	atLeast         snippet = "at_least"
	atMost          snippet = "at_most"
	flowMix         snippet = "flow_mix"
	flowState       snippet = "flow_state"
	flowState6      snippet = "flow_state6"
	flowNumber      snippet = "flow_number"
	value6          snippet = "value6"
	number6         snippet = "number6"
	number48        snippet = "number48"
	raised6         snippet = raised + "6"
	lowered6        snippet = lowered + "6"
	atLeast6        snippet = atLeast + "6"
	atMost6         snippet = atMost + "6"
)

// function is one of them: what it needs in turn, and its text.
type function struct {
	name  snippet
	needs []snippet
	masks []string // fields whose bits it names
	// args are what it is called with where the arguments are always the same.
	args []param
	// text may have lines that begin with a part in braces: they are written
	// only if that part is needed.
	text string
}

// functions are all of them, each behind those that it needs.
var functions = sync.OnceValue(func() []function {
	return slices.Concat(frameFunctions, ipFunctions, ip6Functions, tcpFunctions, drawFunctions, valueFunctions, sumFunctions, tcFunctions, endFunctions)
})

var ipFunctions = []function{
	{name: headerLength, needs: []snippet{headerOf(field.IP)}, masks: []string{"ip_hl"}, args: []param{ipHeader}, text: `
/* In bytes, options included. */
static __always_inline __u32 header_length(const struct ip_header *ip)
{
	return (ip->ver_hl & IP_HL) * 4;
}
`},
	{name: extent, needs: []snippet{headerOf(field.IP)}, args: []param{ipHeader}, text: `
/*
 * How much of a frame counts from the IPv4 header on. Segmentation offload sends
 * a total length of 0; then all of it does.
 */
static __always_inline __u32 extent(const struct ip_header *ip)
{
	return ip->tot_len ? bpf_ntohs(ip->tot_len) : 0x7fffffff;
}
`},
	{name: carries, needs: []snippet{headerLength, extent}, masks: []string{"ip_offset"}, text: `
/*
 * Whether an IPv4 packet goes on with a header of that protocol: in version 4
 * and the first fragment only, and only if its fixed part lies inside both the
 * frame and what counts of it.
 */
static __always_inline int carries(const struct ip_header *ip, const void *l4, const void *end,
				   __u8 protocol, __u32 fixed)
{
	return ip->ver_hl >> 4 == 4 && header_length(ip) >= sizeof(*ip) &&
	       !(ip->flags_offset & bpf_htons(IP_OFFSET)) && ip->protocol == protocol &&
	       header_length(ip) + fixed <= extent(ip) && l4 + fixed <= end;
}
`},
	{name: datagramLength, needs: []snippet{headerLength}, args: []param{ipHeader}, text: `
/* The length of what the IPv4 header carries. */
static __always_inline __u16 datagram_length(const struct ip_header *ip)
{
	return bpf_ntohs(ip->tot_len) - header_length(ip);
}
`},
	{name: wholeDatagram, needs: []snippet{headerOf(field.IP)}, masks: []string{"ip_flag_mf"}, args: []param{ctxParam, frameOffset, ipHeader}, text: `
/* Whether the datagram is all here; that it is no later fragment is known. */
static __always_inline int whole_datagram(struct xdp_md *ctx, __u32 l3, const struct ip_header *ip)
{
	return !(ip->flags_offset & bpf_htons(IP_FLAG_MF)) && ip->tot_len &&
	       l3 + bpf_ntohs(ip->tot_len) <= bpf_xdp_get_buff_len(ctx);
}
`},
}

var ip6Functions = []function{
	{name: extent6, needs: []snippet{headerOf(field.IP6), extension}, args: []param{ip6Header, frameEnd}, text: `
/*
 * How much of a frame counts from the IPv6 header on. Segmentation offload sends
 * a payload length of 0 with the option for jumbograms (RFC 2675); then all of
 * it does.
 */
static __always_inline __u32 extent6(const struct ip6_header *ip6, const void *end)
{
	const struct extension *options = (const void *)(ip6 + 1);

	if (!ip6->len && ip6->next == 0 && (const void *)(options + 1) <= end &&
	    options->bytes[0] == 0xc2 && options->bytes[1] == 4)
		return 0x7fffffff;
	return sizeof(*ip6) + bpf_ntohs(ip6->len);
}
`},
	{name: wayBehind, needs: []snippet{extent6, noWay}, text: `
/*
 * The way from the IPv6 header at offset l3 to what follows its extension
 * headers, of which at most eight are stepped over (RFC 8200 section 4): the
 * protocol in the upper half, the offset from the IPv6 header in the lower one.
 * It is not static, so that the verifier looks at it once and not at every call.
 */
__noinline __u32 way_behind(struct xdp_md *ctx, __u32 l3)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 at = sizeof(struct ip6_header), limit;
	struct ip6_header *ip6;
{WAY_ROUTED}	__u32 routed = 0;
{WAY_MORE}	__u32 more = 0;
	__u8 next;

	if (l3 > 22)
		return NO_WAY;
	ip6 = data + l3;
	if ((void *)(ip6 + 1) > end || *(__u8 *)ip6 >> 4 != 6)
		return NO_WAY;
	limit = extent6(ip6, end);
	next = ip6->next;
#pragma unroll /* or clang may close it without a jump, which Linux 6.1 rejects */
	for (int headers = 0; headers <= 8; headers++) {
		struct extension *header = (void *)ip6 + at;
		int first = headers == 0;

		if (next != 43 && next != 44 && next != 60 && !(next == 0 && first))
			return next << 16 | at{WAY_ROUTED} | routed{}{WAY_MORE} | more{};
		if (headers == 8 || at + sizeof(*header) > limit || (void *)(header + 1) > end)
			return NO_WAY;
		if (next == 44) { /* a fragment; only the first one has what follows */
			if (header->bytes[0] || header->bytes[1] & 0xf8)
				return NO_WAY;
{WAY_MORE}			if (header->bytes[1] & 1)
{WAY_MORE}				more = WAY_MORE;
			at += sizeof(*header);
		} else { /* hop-by-hop, routing or destination options */
{WAY_ROUTED}			if (next == 43 && header->bytes[1]) /* segments left */
{WAY_ROUTED}				routed = WAY_ROUTED;
			at += (header->length + 1) * sizeof(*header);
		}
		next = header->next;
	}
	return NO_WAY;
}
`},
	{name: wayOffset, text: `
static __always_inline __u32 way_offset(__u32 way)
{
	return way & 0x7fff;
}
`},
	{name: carries6, needs: []snippet{extent6, wayBehind, wayOffset}, text: `
/*
 * Whether an IPv6 packet goes on with a header of that protocol, and its fixed
 * part lies inside both the frame and what counts of it.
 */
static __always_inline int carries6(const struct ip6_header *ip6, __u32 way, const void *l4,
				    const void *end, __u8 protocol, __u32 fixed)
{
	return (way >> 16 & 0xff) == protocol && way_offset(way) + fixed <= extent6(ip6, end) &&
	       l4 + fixed <= end;
}
`},
	{name: datagramLength6, needs: []snippet{wayOffset}, args: []param{ip6Header, wayParam}, text: `
/* The length of what follows the extension headers. */
static __always_inline __u16 datagram_length6(const struct ip6_header *ip6, __u32 way)
{
	return sizeof(*ip6) + bpf_ntohs(ip6->len) - way_offset(way);
}
`},
	{name: wholeDatagram6, needs: []snippet{headerOf(field.IP6), moreFlag}, args: []param{ctxParam, frameOffset, ip6Header, wayParam}, text: `
/* Whether the datagram is all here; that it is no later fragment is known. */
static __always_inline int whole_datagram6(struct xdp_md *ctx, __u32 l3, const struct ip6_header *ip6,
					   __u32 way)
{
	return !(way & WAY_MORE) && ip6->len &&
	       l3 + sizeof(*ip6) + bpf_ntohs(ip6->len) <= bpf_xdp_get_buff_len(ctx);
}
`},
}

var tcpFunctions = []function{
	{name: findMSS, needs: []snippet{headerOf(field.TCP), headerOf(field.MSS)}, text: `
/*
 * The distance of the option MSS from the TCP header at offset l4, whose
 * datagram ends at limit; 0 if there is none. It is not static, so that the
 * verifier looks at it once and not at every call.
 */
__noinline __u32 find_mss(struct xdp_md *ctx, __u32 l4, __u32 limit)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct tcp_header *tcp;
	__u32 length, next = 0;

	if (l4 > 0x7fff)
		return 0;
	tcp = data + l4;
	if ((void *)(tcp + 1) > end)
		return 0;
	length = (tcp->hlen_res_nonce >> 4) * 4;
	if (l4 + length > limit || (void *)tcp + length > end)
		return 0;
	for (__u32 at = sizeof(*tcp); at + sizeof(struct mss_option) <= 15 * 4; at++) {
		__u8 *option = (void *)tcp + at;

		if (at + sizeof(struct mss_option) > length || (void *)option + sizeof(struct mss_option) > end)
			return 0;
		if (at < next || option[0] == 1) /* inside an option, or no operation */
			continue;
		if (option[0] == 2 && option[1] == sizeof(struct mss_option))
			return at;
		if (option[0] == 0 || option[1] < 2) /* the end of them, or nonsense */
			return 0;
		next = at + option[1];
	}
	return 0;
}
`},
}

// functionOf finds a function. Other parts need nothing.
func functionOf(p snippet) function {
	for _, f := range functions() {
		if f.name == p {
			return f
		}
	}
	return function{}
}

// need notes that a part is needed, and what it needs itself.
func (w *writer) need(p snippet) {
	if w.needs[p] {
		return
	}
	w.needs[p] = true
	f := functionOf(p)
	for _, n := range f.needs {
		w.need(n)
	}
	for _, name := range f.masks {
		w.masks[field.MustByName(name)] = true
	}
}

// call writes the call of a function whose arguments are always the same.
func (w *writer) call(p snippet) string {
	w.need(p)
	f := functionOf(p)
	args := make([]string, len(f.args))
	for i, a := range f.args {
		w.use(a)
		args[i] = string(a)
	}
	return string(p) + "(" + strings.Join(args, ", ") + ")"
}

// library are the functions that are needed.
func (w *writer) library() []string {
	var out []string
	for _, f := range functions() {
		if w.needs[f.name] {
			out = append(out, w.needed(f.text[1:]))
		}
	}
	return out
}

// needed leaves out what is marked with a part that is not needed: lines that
// begin with it, and what stands between it and {}.
func (w *writer) needed(text string) string {
	for _, p := range []snippet{routedFlag, moreFlag, hookXDP, hookTC, ownDraws, givenDraws} {
		mark := "{" + string(p) + "}"
		for {
			before, after, found := strings.Cut(text, mark)
			if !found {
				break
			}
			line, rest, _ := strings.Cut(after, "\n")
			inside, behind, inLine := strings.Cut(line, "{}")
			switch {
			case inLine && w.needs[p]:
				text = before + inside + behind + "\n" + rest
			case inLine:
				text = before + behind + "\n" + rest
			case w.needs[p]:
				text = before + after
			default:
				text = before + rest
			}
		}
	}
	return text
}
