/*
 * One tc program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if udp_dest 5201 then ip_src random 10.0.0.0/8
 * 1: if tcp then tcp_check tcp_check tcp_window -1 vlan_id +1
 *
 * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c repacket.c -o repacket.o
 * section tc, map repacket_counts: packets and bytes by rule and CPU
 */

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
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

/* TCP, RFC 9293. */
struct tcp_header {
	__be16 src;
	__be16 dest;
	__be32 seq;
	__be32 ack_seq;
	__u8 hlen_res_nonce; /* tcp_hlen, tcp_res, tcp_nonce */
	__u8 flags; /* tcp_cwr, tcp_ece, tcp_urg, tcp_ack, tcp_psh, tcp_rst, tcp_syn, tcp_fin */
	__be16 window;
	__be16 check;
	__be16 urg_ptr;
};

_Static_assert(sizeof(struct tcp_header) == 20, "no padding");

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
#define TYPE_IP 0x0800
#define TYPE_IP6 0x86dd
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define NO_WAY (59 << 16) /* no next header */
#define ADDRESS(a, b, c, d) ((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* What each rule has taken. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct counter);
} repacket_counts SEC(".maps");

/* Brings the headers to where they can be read and written. */
static __always_inline long pull(struct __sk_buff *ctx)
{
	return bpf_skb_pull_data(ctx, ctx->len < 256 ? ctx->len : 256);
}

/* Whether the outer VLAN tag is offloaded: it is in skb->vlan_tci, not in the packet. */
static __always_inline int tag_offloaded(struct __sk_buff *ctx)
{
	barrier_var(ctx); /* or clang adds up where this is, which the verifier rejects */
	return ctx->vlan_present;
}

/* Whether a VLAN tag stands behind a type. */
static __always_inline int is_tag(__be16 type, const void *tag, const void *end)
{
	return (type == bpf_htons(0x8100) || type == bpf_htons(0x88a8)) && tag + 4 <= end;
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
__noinline __u32 way_behind(struct __sk_buff *ctx, __u32 l3)
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

/* The random number at a place: no packet asks for one twice. */
static __always_inline __u32 draw(__u32 place)
{
	(void)place;
	return bpf_get_prandom_u32();
}

/* So much more, but not above the highest. */
static __always_inline __u64 raised(__u64 value, __u64 by, __u64 highest)
{
	return value + by < highest ? value + by : highest;
}

/* So much less, but not below 0. */
static __always_inline __u64 lowered(__u64 value, __u64 by)
{
	return value > by ? value - by : 0;
}

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

/* The opposite of a number in a sum: 2^32 - 1 is 0 modulo 65535. */
static __always_inline __u64 minus(__u32 number)
{
	return 0xffffffff - number;
}

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

/* Rewrites the outer VLAN tag, which is offloaded or in the packet. */
static __always_inline void retag(struct __sk_buff *ctx, __be16 tci)
{
	__be16 type = ctx->vlan_proto;

	if (!tag_offloaded(ctx))
		bpf_skb_store_bytes(ctx, 14, &tci, sizeof(tci), 0);
	else if (!bpf_skb_vlan_pop(ctx))
		bpf_skb_vlan_push(ctx, type, bpf_ntohs(tci));
}

static __always_inline void count(struct __sk_buff *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets += ctx->gso_segs ? ctx->gso_segs : 1;
		counter->bytes += ctx->len + (tag_offloaded(ctx) ? 4 : 0);
	}
}

/* UDP packets. */
static __noinline int udp_packet(struct __sk_buff *ctx, __u32 l4_offset,
				 struct ip_header *ip, struct udp_header *udp)
{
	/* if udp_dest 5201 then ip_src random 10.0.0.0/8 */
	if (udp->dest == bpf_htons(5201)) {
		__u32 new_ip_src = draw(0) >> 8;
		__u64 pseudo = (ADDRESS(10, 0, 0, 0) | new_ip_src) + minus(bpf_ntohl(ip->src));

		/* ip_check follows ip_src */
		ip->check = adjusted(ip->check, (ADDRESS(10, 0, 0, 0) | new_ip_src) +
						minus(bpf_ntohl(ip->src)));
		ip->src = bpf_htonl(ADDRESS(10, 0, 0, 0) | new_ip_src);
		/* udp_check follows ip_src */
		replace(ctx, l4_offset + 6, pseudo, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
		count(ctx, 0);
		return TC_ACT_UNSPEC;
	}

	return TC_ACT_UNSPEC;
}

/* TCP packets. */
static __noinline int tcp_packet(struct __sk_buff *ctx, __be16 tci, struct tcp_header *tcp)
{
	/* if tcp then tcp_check tcp_check tcp_window -1 vlan_id +1 */
	/* tcp_check keeps its bytes */
	__u32 new_tcp_window = lowered(bpf_ntohs(tcp->window), 1);
	__u32 new_vlan_id = raised(bpf_ntohs(tci) & VLAN_ID, 1, 4095);
	__u64 bytes = new_tcp_window + minus(bpf_ntohs(tcp->window));

	__u32 tcp_at = offset_of(ctx, tcp);

	if (is_partial(ctx, tcp_at + 16)) /* neither that nor a value would reach the wire */
		return TC_ACT_UNSPEC;
	tcp = again(ctx, tcp_at, sizeof(*tcp));
	if (!tcp)
		return TC_ACT_UNSPEC;
	tcp->window = bpf_htons(new_tcp_window);
	tci = (tci & ~bpf_htons(VLAN_ID)) | bpf_htons(new_vlan_id);
	bpf_csum_update(ctx, bpf_htons(fold(bytes)));
	bpf_csum_level(ctx, BPF_CSUM_LEVEL_RESET); /* it may be wrong now */
	retag(ctx, tci);
	count(ctx, 1);
	return TC_ACT_UNSPEC;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct __sk_buff *ctx, void *end, __u32 l3,
				   struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);

	if (carries(ip, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet(ctx, l3 + header_length(ip), ip, l4);
	return TC_ACT_UNSPEC;
}

/* Frames without a VLAN tag, by what they carry. */
static __always_inline int untagged_frame(struct __sk_buff *ctx, void *at, void *end,
					  __be16 type, __u32 l3)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip(ctx, end, l3, at);
	return TC_ACT_UNSPEC;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip_2(struct __sk_buff *ctx, void *end, __be16 tci, __u32 l3,
				     struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);

	if (carries(ip, l4, end, PROTOCOL_TCP, sizeof(struct tcp_header)))
		return tcp_packet(ctx, tci, l4);
	if (carries(ip, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet(ctx, l3 + header_length(ip), ip, l4);
	return TC_ACT_UNSPEC;
}

/* IPv6 packets, by what they carry. */
static __always_inline int over_ip6(struct __sk_buff *ctx, void *end, __be16 tci, __u32 l3,
				    struct ip6_header *ip6)
{
	__u32 way = way_behind(ctx, l3);
	void *l4 = (void *)ip6 + way_offset(way);

	if (carries6(ip6, way, l4, end, PROTOCOL_TCP, sizeof(struct tcp_header)))
		return tcp_packet(ctx, tci, l4);
	return TC_ACT_UNSPEC;
}

/* Frames with VLAN tags, by what they carry. */
static __always_inline int tagged_frame(struct __sk_buff *ctx, void *at, void *end,
					__be16 type, __be16 tci, __u32 l3)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip_2(ctx, end, tci, l3, at);
	if (type == bpf_htons(TYPE_IP6) && at + sizeof(struct ip6_header) <= end)
		return over_ip6(ctx, end, tci, l3, at);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int repacket(struct __sk_buff *ctx)
{
	void *data, *end;
	struct eth_header *eth;
	struct vlan_header *vlan;
	__u32 l3 = 18;
	__be16 tci;
	struct cvlan_header *cvlan;

	if (pull(ctx))
		return TC_ACT_UNSPEC;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	vlan = (void *)(eth + 1);
	if ((void *)vlan > end)
		return TC_ACT_UNSPEC;
	if (tag_offloaded(ctx)) {
		vlan = data + 10;
		tci = bpf_htons(ctx->vlan_tci);
		l3 = 14;
	} else {
		if (!is_tag(eth->type, vlan, end))
			return untagged_frame(ctx, eth + 1, end, eth->type, 14);
		tci = vlan->pcp_dei_id;
	}
	cvlan = (void *)(vlan + 1);
	if (!is_tag(vlan->type, cvlan, end))
		return tagged_frame(ctx, vlan + 1, end, vlan->type, tci, l3);
	return tagged_frame(ctx, cvlan + 1, end, cvlan->type, tci, l3 + 4);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
