/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * what none takes passes on.
 *
 * 0: if vlan_id 100 udp_dest 7 then swap eth swap udp reflect
 * 1: if arp_spa 10.0.0.0/8 then drop
 * 2: if eth_dest 02:00:00:00:00:01 then redirect eth1
 *
 * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c repacket.c -o repacket.o
 * section xdp.frags, map repacket_counts: packets and bytes by rule and CPU
 */

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Ethernet, IEEE 802.3. */
struct eth_header {
	__be32 dest_high;
	__be16 dest_low;
	__be16 src_high;
	__be32 src_low;
	__be16 type;
} __attribute__((packed, aligned(2)));

_Static_assert(sizeof(struct eth_header) == 14, "no padding");

/* VLAN tag, IEEE 802.1Q. */
struct vlan_header {
	__be16 pcp_dei_id; /* vlan_pcp, vlan_dei, vlan_id */
	__be16 type;
};

_Static_assert(sizeof(struct vlan_header) == 4, "no padding");

/* Second VLAN tag, IEEE 802.1ad. */
struct cvlan_header {
	__be16 pcp_dei_id; /* cvlan_pcp, cvlan_dei, cvlan_id */
	__be16 type;
};

_Static_assert(sizeof(struct cvlan_header) == 4, "no padding");

/* ARP, RFC 826. */
struct arp_header {
	__u8 bytes_0[6];
	__be16 op;
	__be32 sha_high;
	__be16 sha_low;
	__be16 spa_high;
	__be16 spa_low;
	__be16 tha_high;
	__be32 tha_low;
	__be32 tpa;
};

_Static_assert(sizeof(struct arp_header) == 28, "no padding");

/* IPv4, RFC 791. */
struct ip_header {
	__u8 ver_hl; /* ip_ver, ip_hl */
	__u8 tos; /* ip_dscp, ip_ecn */
	__be16 tot_len;
	__be16 id;
	__be16 flags_offset; /* ip_flags, ip_flag_res, ip_flag_df, ip_flag_mf, ip_offset */
	__u8 ttl;
	__u8 protocol;
	__be16 check;
	__be32 src;
	__be32 dest;
};

_Static_assert(sizeof(struct ip_header) == 20, "no padding");

/* IPv6, RFC 8200. */
struct ip6_header {
	__be32 dscp_ecn_flow; /* ip6_dscp, ip6_ecn, ip6_flow */
	__be16 len;
	__u8 next;
	__u8 hlim;
	__be32 src[4];
	__be32 dest[4];
};

_Static_assert(sizeof(struct ip6_header) == 40, "no padding");

/* UDP, RFC 768. */
struct udp_header {
	__be16 src;
	__be16 dest;
	__be16 len;
	__be16 check;
};

_Static_assert(sizeof(struct udp_header) == 8, "no padding");

/* An extension header of IPv6, RFC 8200: what all have that can be stepped over. */
struct extension {
	__u8 next;
	__u8 length; /* in 8-byte units, the first one not counted */
	__u8 bytes[6];
};

#define VLAN_ID 0x0fff
#define IP_HL 0x0f
#define IP_OFFSET 0x1fff
#define TYPE_ARP 0x0806
#define TYPE_IP 0x0800
#define TYPE_IP6 0x86dd
#define PROTOCOL_UDP 17
#define NO_WAY (59 << 16) /* no next header */
#define INTERFACE_1 3 /* eth1 */

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* What each rule has taken. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct counter);
} repacket_counts SEC(".maps");

/* Whether a VLAN tag stands behind a type. */
static __always_inline int is_tag(__be16 type, const void *tag, const void *end)
{
	return (type == bpf_htons(0x8100) || type == bpf_htons(0x88a8)) && tag + 4 <= end;
}

/* Whether ARP is there and speaks of Ethernet and IPv4 addresses (RFC 826). */
static __always_inline int is_arp(const struct arp_header *arp, const void *end)
{
	const __u8 *is = arp->bytes_0;

	return (const void *)(arp + 1) <= end && is[0] == 0 && is[1] == 1 && is[2] == 8 && is[3] == 0 &&
	       is[4] == 6 && is[5] == 4;
}

/* In bytes, options included. */
static __always_inline __u32 header_length(const struct ip_header *ip)
{
	return (ip->ver_hl & IP_HL) * 4;
}

/*
 * How much of a frame counts from the IPv4 header on. Segmentation offload sends
 * a total length of 0; then all of it does.
 */
static __always_inline __u32 extent(const struct ip_header *ip)
{
	return ip->tot_len ? bpf_ntohs(ip->tot_len) : 0x7fffffff;
}

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

/*
 * How much of a frame counts from the IPv6 header on. Segmentation offload sends
 * a payload length of 0; then all of it does.
 */
static __always_inline __u32 extent6(const struct ip6_header *ip6)
{
	return ip6->len ? sizeof(*ip6) + bpf_ntohs(ip6->len) : 0x7fffffff;
}

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
	__u8 next;

	if (l3 > 22)
		return NO_WAY;
	ip6 = data + l3;
	if ((void *)(ip6 + 1) > end || *(__u8 *)ip6 >> 4 != 6)
		return NO_WAY;
	limit = extent6(ip6);
	next = ip6->next;
#pragma unroll /* or clang may close it without a jump, which Linux 6.1 rejects */
	for (int headers = 0; headers <= 8; headers++) {
		struct extension *header = (void *)ip6 + at;
		int first = headers == 0;

		if (next != 43 && next != 44 && next != 60 && !(next == 0 && first))
			return next << 16 | at;
		if (headers == 8 || at + sizeof(*header) > limit || (void *)(header + 1) > end)
			return NO_WAY;
		if (next == 44) { /* a fragment; only the first one has what follows */
			if (header->bytes[0] || header->bytes[1] & 0xf8)
				return NO_WAY;
			at += sizeof(*header);
		} else { /* hop-by-hop, routing or destination options */
			at += (header->length + 1) * sizeof(*header);
		}
		next = header->next;
	}
	return NO_WAY;
}

static __always_inline __u32 way_offset(__u32 way)
{
	return way & 0x7fff;
}

/*
 * Whether an IPv6 packet goes on with a header of that protocol, and its fixed
 * part lies inside both the frame and what counts of it.
 */
static __always_inline int carries6(const struct ip6_header *ip6, __u32 way, const void *l4,
				    const void *end, __u8 protocol, __u32 fixed)
{
	return (way >> 16 & 0xff) == protocol && way_offset(way) + fixed <= extent6(ip6) &&
	       l4 + fixed <= end;
}

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

static __always_inline void count(struct xdp_md *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets++;
		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
}

/* ARP packets. */
static __noinline int arp_packet(struct xdp_md *ctx, struct eth_header *eth,
				 struct arp_header *arp)
{
	/* if arp_spa 10.0.0.0/8 then drop */
	if ((arp->spa_high & bpf_htons(0xff00)) == bpf_htons(0x0a00)) {
		count(ctx, 1);
		return XDP_DROP;
	}

	/* if eth_dest 02:00:00:00:00:01 then redirect eth1 */
	if (eth->dest_high == bpf_htonl(0x02000000) && eth->dest_low == bpf_htons(0x0001)) {
		count(ctx, 2);
		return bpf_redirect(INTERFACE_1, 0);
	}

	return XDP_PASS;
}

/* All other packets. */
static __noinline int other_packet(struct xdp_md *ctx, struct eth_header *eth)
{
	/* if eth_dest 02:00:00:00:00:01 then redirect eth1 */
	if (eth->dest_high == bpf_htonl(0x02000000) && eth->dest_low == bpf_htons(0x0001)) {
		count(ctx, 2);
		return bpf_redirect(INTERFACE_1, 0);
	}

	return XDP_PASS;
}

/* UDP packets. */
static __noinline int udp_packet(struct xdp_md *ctx, struct eth_header *eth,
				 struct vlan_header *vlan, struct udp_header *udp)
{
	/* if vlan_id 100 udp_dest 7 then swap eth swap udp reflect */
	if ((vlan->pcp_dei_id & bpf_htons(VLAN_ID)) == bpf_htons(100) &&
	    udp->dest == bpf_htons(7)) {
		swap(&eth->src_high, &eth->dest_high, 6);
		swap(&udp->src, &udp->dest, 2);
		count(ctx, 0);
		return XDP_TX;
	}

	/* if eth_dest 02:00:00:00:00:01 then redirect eth1 */
	if (eth->dest_high == bpf_htonl(0x02000000) && eth->dest_low == bpf_htons(0x0001)) {
		count(ctx, 2);
		return bpf_redirect(INTERFACE_1, 0);
	}

	return XDP_PASS;
}

/* Frames without a VLAN tag, by what they carry. */
static __always_inline int untagged_frame(struct xdp_md *ctx, void *at, void *end,
					  __be16 type, struct eth_header *eth)
{
	if (type == bpf_htons(TYPE_ARP) && is_arp(at, end))
		return arp_packet(ctx, eth, at);
	return other_packet(ctx, eth);
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct xdp_md *ctx, void *end, struct eth_header *eth,
				   struct vlan_header *vlan, struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);

	if (carries(ip, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet(ctx, eth, vlan, l4);
	return other_packet(ctx, eth);
}

/* IPv6 packets, by what they carry. */
static __always_inline int over_ip6(struct xdp_md *ctx, void *end, __u32 l3,
				    struct eth_header *eth, struct vlan_header *vlan,
				    struct ip6_header *ip6)
{
	__u32 way = way_behind(ctx, l3);
	void *l4 = (void *)ip6 + way_offset(way);

	if (carries6(ip6, way, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet(ctx, eth, vlan, l4);
	return other_packet(ctx, eth);
}

/* Frames with VLAN tags, by what they carry. */
static __always_inline int tagged_frame(struct xdp_md *ctx, void *at, void *end,
					__be16 type, __u32 l3, struct eth_header *eth,
					struct vlan_header *vlan)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip(ctx, end, eth, vlan, at);
	if (type == bpf_htons(TYPE_IP6) && at + sizeof(struct ip6_header) <= end)
		return over_ip6(ctx, end, l3, eth, vlan, at);
	if (type == bpf_htons(TYPE_ARP) && is_arp(at, end))
		return arp_packet(ctx, eth, at);
	return other_packet(ctx, eth);
}

SEC("xdp.frags")
int repacket(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct eth_header *eth;
	struct vlan_header *vlan;
	__u32 l3 = 18;
	struct cvlan_header *cvlan;

	eth = data;
	vlan = (void *)(eth + 1);
	if ((void *)vlan > end)
		return XDP_PASS;
	if (!is_tag(eth->type, vlan, end))
		return untagged_frame(ctx, eth + 1, end, eth->type, eth);
	cvlan = (void *)(vlan + 1);
	if (!is_tag(vlan->type, cvlan, end))
		return tagged_frame(ctx, vlan + 1, end, vlan->type, l3, eth, vlan);
	return tagged_frame(ctx, cvlan + 1, end, cvlan->type, l3 + 4, eth, vlan);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
