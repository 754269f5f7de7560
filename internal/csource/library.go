package csource

import (
	"slices"

	"repacket/internal/field"
)

// part is a piece of the program that is written only if it is needed.
type part string

// headerOf is the structure of a header, protocolNumber its number.
func headerOf(p field.Protocol) part       { return part("struct " + p.String()) }
func protocolNumber(p field.Protocol) part { return part("number " + p.String()) }

// The parts that are no function.
const (
	addressMacro part = "ADDRESS"
	ipVariable   part = "ip"
)

// The functions that programs are made of, by name.
const (
	findIP         part = "find_ip"
	headerLength   part = "header_length"
	carries        part = "carries"
	datagramLength part = "datagram_length"
	wholeDatagram  part = "whole_datagram"
	fold           part = "fold"
	minus          part = "minus"
	adjusted       part = "adjusted"
	adjustedUDP    part = "adjusted_udp"
	sumBytes       part = "sum_bytes"
	pseudoHeader   part = "pseudo_header"
	checksum       part = "checksum"
	nonzero        part = "nonzero"
	wrong          part = "wrong"
	count          part = "count"
)

// function is one of them: what it needs besides, and its text.
type function struct {
	name  part
	needs []part
	masks []string // fields whose bits it names
	text  string
}

// functions are all of them, each behind those that it needs.
var functions = []function{
	{name: findIP, needs: []part{headerOf(field.IP)}, text: `
/*
 * The offset of the IPv4 header, behind at most two VLAN tags; 0 if there is
 * none of 20 bytes.
 */
static __always_inline __u32 find_ip(void *data, void *end)
{
	__u32 at = 14; /* two addresses, type */

#pragma unroll
	for (int tags = 0; tags <= 2; tags++) {
		__be16 *type = data + at - 2;

		if (data + at > end)
			return 0;
		if (*type == bpf_htons(0x0800))
			return data + at + sizeof(struct ip_header) <= end ? at : 0;
		if (*type != bpf_htons(0x8100) && *type != bpf_htons(0x88a8))
			return 0;
		at += 4;
	}
	return 0;
}
`},
	{name: headerLength, needs: []part{headerOf(field.IP)}, masks: []string{"ip_hl"}, text: `
/* In bytes, options included. */
static __always_inline __u32 header_length(const struct ip_header *ip)
{
	return (ip->ver_hl & IP_HL) * 4;
}
`},
	{name: carries, needs: []part{headerLength}, masks: []string{"ip_offset"}, text: `
/*
 * Whether an IPv4 packet goes on with a header of that protocol: in version 4
 * and the first fragment only, and only if its fixed part lies inside both the
 * frame and the total length. Segmentation offload sends a total length of 0;
 * then the frame alone counts.
 */
static __always_inline int carries(const struct ip_header *ip, const void *l4, const void *end,
				   __u8 protocol, __u32 fixed)
{
	__u32 total = bpf_ntohs(ip->tot_len);

	return ip->ver_hl >> 4 == 4 && header_length(ip) >= sizeof(*ip) &&
	       !(ip->flags_offset & bpf_htons(IP_OFFSET)) && ip->protocol == protocol &&
	       (!total || total >= header_length(ip) + fixed) && l4 + fixed <= end;
}
`},
	{name: datagramLength, needs: []part{headerLength}, text: `
/* The length of what the IPv4 header carries. */
static __always_inline __u16 datagram_length(const struct ip_header *ip)
{
	return bpf_ntohs(ip->tot_len) - header_length(ip);
}
`},
	{name: wholeDatagram, needs: []part{headerOf(field.IP)}, masks: []string{"ip_flag_mf"}, text: `
/* Whether the datagram is all here; that it is no later fragment is known. */
static __always_inline int whole_datagram(struct xdp_md *ctx, __u32 l3, const struct ip_header *ip)
{
	return !(ip->flags_offset & bpf_htons(IP_FLAG_MF)) && ip->tot_len &&
	       l3 + bpf_ntohs(ip->tot_len) <= bpf_xdp_get_buff_len(ctx);
}
`},
	{name: fold, text: `
/*
 * A sum as one of 16 bits: carries are added at the end (RFC 1071). Such sums
 * are numbers modulo 65535, and 0xffff is another 0.
 */
static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (sum >> 16) + (sum & 0xffff);
}
`},
	{name: minus, text: `
/* The opposite of a number in a sum: 2^32 - 1 is 0 modulo 65535. */
static __always_inline __u64 minus(__u32 number)
{
	return 0xffffffff - number;
}
`},
	{name: adjusted, needs: []part{fold}, text: `
/*
 * A checksum less what changes under it (RFC 1624). What was right stays
 * right, what was wrong stays wrong by as much, and without a change it keeps
 * its bytes.
 */
static __always_inline __be16 adjusted(__be16 check, __u64 change)
{
	__u32 was = bpf_ntohs(check);
	__u32 less = fold(change);

	if (less == 0 || less == 0xffff)
		return check;
	return bpf_htons(was < less ? was + 0xffff - less : was - less);
}
`},
	{name: nonzero, text: `
/* UDP: 0 means that there is no checksum, so 0 is sent as 0xffff (RFC 768). */
static __always_inline __be16 nonzero(__be16 check)
{
	return check ? check : 0xffff;
}
`},
	{name: adjustedUDP, needs: []part{adjusted, nonzero}, text: `
static __always_inline __be16 adjusted_udp(__be16 check, __u64 change)
{
	return check ? nonzero(adjusted(check, change)) : 0;
}
`},
	{name: sumBytes, text: `
/*
 * The sum of bytes of the packet, which may lie in several buffers. That they
 * are in the frame the caller knows. It is not static, so that the verifier
 * looks at it once and not at every call.
 */
__noinline __u32 sum_bytes(struct xdp_md *ctx, __u64 offset, __u64 length)
{
	__be32 chunk[64] = {};
	__u32 sum = 0;

	for (int i = 0; i < 255 && length >= sizeof(chunk); i++) {
		if (bpf_xdp_load_bytes(ctx, offset, chunk, sizeof(chunk)))
			return 0;
		sum = bpf_csum_diff(0, 0, chunk, sizeof(chunk), sum);
		offset += sizeof(chunk);
		length -= sizeof(chunk);
	}
	if (length == 0)
		return sum;
	__builtin_memset(chunk, 0, sizeof(chunk));
	barrier_var(length); /* or clang leaves out the mask, which the verifier needs */
	if (bpf_xdp_load_bytes(ctx, offset, chunk, ((length - 1) & (sizeof(chunk) - 1)) + 1))
		return 0;
	return bpf_csum_diff(0, 0, chunk, sizeof(chunk), sum);
}
`},
	{name: pseudoHeader, needs: []part{datagramLength}, text: `
/* What TCP and UDP sum up besides (RFC 9293 section 3.1, RFC 768). */
static __always_inline __u64 pseudo_header(const struct ip_header *ip)
{
	return (__u64)ip->src + ip->dest + bpf_htons(ip->protocol) + bpf_htons(datagram_length(ip));
}
`},
	{name: checksum, needs: []part{fold}, text: `
/* The checksum that makes a sum 0. */
static __always_inline __be16 checksum(__u64 sum)
{
	__u32 check = 0xffff - fold(sum);

	return check == 0xffff ? 0 : check;
}
`},
	{name: wrong, text: `
/* Wrong by one, and never 0. */
static __always_inline __be16 wrong(__be16 check)
{
	return check == 0xffff ? bpf_htons(1) : bpf_htons(bpf_ntohs(check) + 1);
}
`},
	{name: count, text: `
static __always_inline int count(struct xdp_md *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets++;
		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
	return XDP_PASS;
}
`},
}

// need notes that a part is needed, and what it needs itself.
func (w *writer) need(p part) {
	if w.needs[p] {
		return
	}
	w.needs[p] = true
	i := slices.IndexFunc(functions, func(f function) bool { return f.name == p })
	if i < 0 {
		return
	}
	for _, n := range functions[i].needs {
		w.need(n)
	}
	for _, name := range functions[i].masks {
		w.masks[field.MustByName(name)] = true
	}
}

// library are the functions that are needed.
func (w *writer) library() []string {
	var out []string
	for _, f := range functions {
		if w.needs[f.name] {
			out = append(out, f.text[1:])
		}
	}
	return out
}
