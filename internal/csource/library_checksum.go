package csource

import "repacket/internal/field"

var sumFunctions = []function{
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
	{name: adjusted, needs: []snippet{fold}, text: `
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
	{name: adjustedUDP, needs: []snippet{adjusted, nonzero}, text: `
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
	__be32 chunk[32] = {}; /* the stack is 512 bytes, for all that call each other */
	__u32 sum = 0;

	for (int i = 0; i < 511 && length >= sizeof(chunk); i++) {
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
	{name: pseudoHeader, needs: []snippet{datagramLength}, args: []param{ipHeader}, text: `
/* The pseudo-header of TCP and UDP (RFC 9293 section 3.1, RFC 768). */
static __always_inline __u64 pseudo_header(const struct ip_header *ip)
{
	return (__u64)ip->src + ip->dest + bpf_htons(ip->protocol) + bpf_htons(datagram_length(ip));
}
`},
	{name: pseudoHeader6, needs: []snippet{headerOf(field.IP6)}, text: `
/* The pseudo-header over IPv6 (RFC 8200 section 8.1). */
static __always_inline __u64 pseudo_header6(const struct ip6_header *ip6, __u8 protocol, __u16 length)
{
	__u64 sum = bpf_htons(protocol) + bpf_htons(length);

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)ip6->src[i] + ip6->dest[i];
	return sum;
}
`},
	{name: checksum, needs: []snippet{fold}, text: `
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
}

// tcFunctions are those of the hook tc, where a layer-4 checksum may be
// offloaded and hardware may have summed up the packet, so that the kernel has
// to be told of each change.
var tcFunctions = []function{
	{name: replace, needs: []snippet{fold}, text: `
/*
 * A layer-4 checksum follows what changes under it: with BPF_F_PSEUDO_HDR in
 * the pseudo-header. Without a change it keeps its bytes.
 */
static __always_inline void replace(struct __sk_buff *ctx, __u32 offset, __u64 change, __u64 flags)
{
	__u32 more = fold(change);

	if (more != 0 && more != 0xffff)
		bpf_l4_csum_replace(ctx, offset, 0, bpf_htons(more), flags);
}
`},
	{name: store, text: `
/* Stores two bytes that are not summed up elsewhere. */
static __always_inline void store(struct __sk_buff *ctx, __u32 offset, __be16 value)
{
	bpf_skb_store_bytes(ctx, offset, &value, sizeof(value), BPF_F_RECOMPUTE_CSUM);
}
`},
	{name: keepOnes, text: `
/*
 * 0xffff and 0 are one number to a checksum. One of 0xffff that two changes
 * leave at 0 has changed by nothing in all, and keeps its bytes.
 */
static __always_inline void keep_ones(struct __sk_buff *ctx, __u32 offset, __be16 was)
{
	__be16 now = 0;

	if (was != 0xffff)
		return;
	bpf_skb_load_bytes(ctx, offset, &now, sizeof(now));
	if (now == 0)
		bpf_skb_store_bytes(ctx, offset, &was, sizeof(was), 0);
}
`},
	{name: isPartial, text: `
/*
 * Whether a layer-4 checksum is offloaded (CHECKSUM_PARTIAL): then the kernel does not
 * touch it for a change under it.
 */
static __always_inline int is_partial(struct __sk_buff *ctx, __u32 offset)
{
	__be16 before = 0, after = 0;

	bpf_skb_load_bytes(ctx, offset, &before, sizeof(before));
	bpf_l4_csum_replace(ctx, offset, 0, 1, 2);
	bpf_skb_load_bytes(ctx, offset, &after, sizeof(after));
	if (before == after)
		return 1;
	bpf_skb_store_bytes(ctx, offset, &before, sizeof(before), 0);
	return 0;
}
`},
	{name: again, text: `
/*
 * Where something lies in the packet, to find it again behind a call that takes
 * the pointers into the packet away.
 */
static __always_inline __u32 offset_of(struct __sk_buff *ctx, const void *at)
{
	return (at - (const void *)(long)ctx->data) & 0x7fff;
}

static __always_inline void *again(struct __sk_buff *ctx, __u32 offset, __u32 size)
{
	void *at = (void *)(long)ctx->data + offset;

	return at + size <= (void *)(long)ctx->data_end ? at : (void *)0;
}
`},
	{name: retag, needs: []snippet{tagOffloaded}, text: `
/* Rewrites the outer VLAN tag, which is offloaded or in the packet. */
static __always_inline void retag(struct __sk_buff *ctx, __be16 tci)
{
	__be16 type = ctx->vlan_proto;

	if (!tag_offloaded(ctx))
		bpf_skb_store_bytes(ctx, 14, &tci, sizeof(tci), 0);
	else if (!bpf_skb_vlan_pop(ctx))
		bpf_skb_vlan_push(ctx, type, bpf_ntohs(tci));
}
`},
}

var endFunctions = []function{
	{name: swap, text: `
/* Two fields change places, both of so many bytes. */
static __always_inline void swap(void *one, void *other, __u32 size)
{
	typedef __be16 __attribute__((may_alias)) word;
	word *a = one, *b = other;

#pragma unroll
	for (__u32 i = 0; i < size / sizeof(word); i++) {
		word kept = a[i];

		a[i] = b[i];
		b[i] = kept;
	}
}
`},
	{name: count, text: `
static __always_inline void count(struct xdp_md *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
{TC}		counter->packets += ctx->gso_segs ? ctx->gso_segs : 1;
{TC}		counter->bytes += bpf_xdp_get_buff_len(ctx) + (tag_offloaded(ctx) ? 4 : 0);
{XDP}		counter->packets++;
{XDP}		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
}
`},
}
