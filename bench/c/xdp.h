// What the programs here share: the kernel's interface as far as they need it,
// the search for the headers, and the counting.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define inlined static inline __attribute__((always_inline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// Numbers in the byte order of the network, on a little-endian machine.
#define be16(x) ((u16)__builtin_bswap16(x))
#define be32(x) ((u32)__builtin_bswap32(x))

enum { XDP_PASS = 2 };

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*bpf_xdp_get_buff_len)(struct xdp_md *ctx) = (void *)188;

struct counter {
	u64 packets, bytes;
};

struct {
	int (*type)[6]; // BPF_MAP_TYPE_PERCPU_ARRAY
	u32 *key;
	struct counter *value;
	int (*max_entries)[1];
} counters SEC(".maps");

// COUNT says how a packet's bytes are counted: in all of its buffers (2), in
// the first one (1), or the packet not at all (0).
#ifndef COUNT
#define COUNT 2
#endif

// rewritten counts a packet and passes it on.
inlined int rewritten(struct xdp_md *ctx)
{
#if COUNT
#if COUNT == 2
	u64 len = bpf_xdp_get_buff_len(ctx); // first, so that ctx is not needed behind a call
#else
	u64 len = ctx->data_end - ctx->data;
#endif
	u32 rule = 0;
	struct counter *c = bpf_map_lookup_elem(&counters, &rule);

	if (c) {
		c->packets++;
		c->bytes += len;
	}
#endif
	return XDP_PASS;
}

struct ip { // RFC 791
	u8 ver_hl, tos;
	u16 tot_len, id, frag;
	u8 ttl, protocol;
	u16 check;
	u32 src, dest;
};

struct udp { // RFC 768
	u16 src, dest, len, check;
};

struct tcp { // RFC 9293
	u16 src, dest;
	u32 seq, ack_seq;
	u8 hlen, flags;
	u16 window, check, urg_ptr;
};

struct eth { // IEEE 802.3
	u8 dest[6], src[6];
	u16 type;
};

enum { IPV4 = be16(0x0800), VLAN = be16(0x8100), QINQ = be16(0x88a8) };

// ip_of is the header behind the Ethernet header, or behind the tag whose type
// stands where that of the Ethernet header would.
inlined struct ip *ip_of(struct eth *eth)
{
	return (void *)(eth + 1);
}

// find_ip gives what stands before an IPv4 header behind at most two VLAN
// tags, if the header and more bytes behind it are there; else 0.
inlined struct eth *find_ip(struct xdp_md *ctx, u32 more)
{
	void *end = (void *)(u64)ctx->data_end;
	struct eth *eth = (void *)(u64)ctx->data;

	if ((void *)(ip_of(eth) + 1) + more > end)
		return 0;
	if (likely(eth->type == IPV4))
		return eth;
	for (int tags = 0; tags < 2; tags++) {
		if (eth->type != VLAN && eth->type != QINQ)
			return 0;
		eth = (void *)eth + 4;
		if ((void *)(ip_of(eth) + 1) + more > end)
			return 0;
		if (eth->type == IPV4)
			return eth;
	}
	return 0;
}

// find_l4 gives the layer-4 header behind the IPv4 header, if it is that of
// the protocol and its size bytes are there; else 0. The caller has asked
// find_ip for as many bytes more.
inlined void *find_l4(struct xdp_md *ctx, struct eth *eth, u8 protocol, u32 size)
{
	struct ip *ip = ip_of(eth);
	u32 total, len;
	void *l4;

	if (ip->protocol != protocol || ip->frag & be16(0x1fff))
		return 0;
	total = be16(ip->tot_len);
	if (likely(ip->ver_hl == 0x45)) {
		if (unlikely(total < sizeof(*ip) + size) && total)
			return 0;
		return ip + 1;
	}
	len = (ip->ver_hl & 0xf) * 4;
	if (ip->ver_hl >> 4 != 4 || len < sizeof(*ip))
		return 0;
	if (total < len + size && total)
		return 0;
	l4 = (void *)ip + len;
	if (l4 + size > (void *)(u64)ctx->data_end)
		return 0;
	return l4;
}

inlined struct udp *find_udp(struct xdp_md *ctx, struct eth *eth)
{
	return find_l4(ctx, eth, 17, sizeof(struct udp));
}

inlined struct tcp *find_tcp(struct xdp_md *ctx, struct eth *eth)
{
	return find_l4(ctx, eth, 6, sizeof(struct tcp));
}

// folded brings a one's complement sum of 32 bits down to 16 (RFC 1071).
inlined u16 folded(u32 sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	return sum + (sum >> 16);
}
