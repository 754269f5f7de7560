/*
 * One tc program for these rules, written by repacket. The first rule that matches acts;
 * what none takes passes on.
 *
 * 0: if vlan_id 100 ip6 then vlan_id 200, ip6_hlim 3, ip6_len 0 reflect
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

/* ICMPv6, RFC 4443. */
struct icmp6_header {
	__u8 type;
	__u8 code;
	__be16 check;
};

_Static_assert(sizeof(struct icmp6_header) == 4, "no padding");

/* An extension header of IPv6, RFC 8200: what all have that can be stepped over. */
struct extension {
	__u8 next;
	__u8 length; /* in 8-byte units, the first one not counted */
	__u8 bytes[6];
};

#define VLAN_ID 0x0fff
#define TYPE_IP6 0x86dd
#define PROTOCOL_TCP 6
#define PROTOCOL_ICMP6 58
#define NO_WAY (59 << 16) /* no next header */

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* What each rule has taken. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
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

/* Whether this is a GSO packet, which will be segmented. */
static __always_inline int is_gso(struct __sk_buff *ctx)
{
	barrier_var(ctx); /* as in tag_offloaded() */
	return ctx->gso_size;
}

/* Whether a VLAN tag stands behind a type. */
static __always_inline int is_tag(__be16 type, const void *tag, const void *end)
{
	return (type == bpf_htons(0x8100) || type == bpf_htons(0x88a8)) && tag + 4 <= end;
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
 * A layer-4 checksum follows what changes under it: with BPF_F_PSEUDO_HDR in
 * the pseudo-header. Without a change it keeps its bytes.
 */
static __always_inline void replace(struct __sk_buff *ctx, __u32 offset, __u64 change, __u64 flags)
{
	__u32 more = fold(change);

	if (more != 0 && more != 0xffff)
		bpf_l4_csum_replace(ctx, offset, 0, bpf_htons(more), flags);
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

/* TCP packets. */
static __always_inline int tcp_packet(struct __sk_buff *ctx, __be16 tci, __u32 l4_offset,
				      struct ip6_header *ip6)
{
	/* if vlan_id 100 ip6 then vlan_id 200, ip6_hlim 3, ip6_len 0 reflect */
	if ((tci & bpf_htons(VLAN_ID)) == bpf_htons(100)) {
		__u64 pseudo = minus(bpf_ntohs(ip6->len));
		__u64 bytes = minus(bpf_ntohs(ip6->len)) + 3 + minus(ip6->hlim);

		if (is_gso(ctx)) /* cannot be rewritten whole */
			return TC_ACT_UNSPEC;
		tci = (tci & ~bpf_htons(VLAN_ID)) | bpf_htons(200);
		ip6->len = 0;
		ip6->hlim = 3;
		/* tcp_check follows ip6_len */
		replace(ctx, l4_offset + 16, pseudo, BPF_F_PSEUDO_HDR);
		bpf_csum_update(ctx, bpf_htons(fold(bytes)));
		retag(ctx, tci);
		count(ctx, 0);
		return bpf_redirect(ctx->ifindex, 0);
	}

	return TC_ACT_UNSPEC;
}

/* ICMPv6 packets. */
static __always_inline int icmp6_packet(struct __sk_buff *ctx, __be16 tci, __u32 l4_offset,
					struct ip6_header *ip6)
{
	/* if vlan_id 100 ip6 then vlan_id 200, ip6_hlim 3, ip6_len 0 reflect */
	if ((tci & bpf_htons(VLAN_ID)) == bpf_htons(100)) {
		__u64 pseudo = minus(bpf_ntohs(ip6->len));
		__u64 bytes = minus(bpf_ntohs(ip6->len)) + 3 + minus(ip6->hlim);

		if (is_gso(ctx)) /* cannot be rewritten whole */
			return TC_ACT_UNSPEC;
		tci = (tci & ~bpf_htons(VLAN_ID)) | bpf_htons(200);
		ip6->len = 0;
		ip6->hlim = 3;
		/* icmp6_check follows ip6_len */
		replace(ctx, l4_offset + 2, pseudo, BPF_F_PSEUDO_HDR);
		bpf_csum_update(ctx, bpf_htons(fold(bytes)));
		retag(ctx, tci);
		count(ctx, 0);
		return bpf_redirect(ctx->ifindex, 0);
	}

	return TC_ACT_UNSPEC;
}

/* All other IPv6 packets. */
static __always_inline int ip6_packet(struct __sk_buff *ctx, __be16 tci,
				      struct ip6_header *ip6)
{
	/* if vlan_id 100 ip6 then vlan_id 200, ip6_hlim 3, ip6_len 0 reflect */
	if ((tci & bpf_htons(VLAN_ID)) == bpf_htons(100)) {
		__u64 bytes = minus(bpf_ntohs(ip6->len)) + 3 + minus(ip6->hlim);

		if (is_gso(ctx)) /* cannot be rewritten whole */
			return TC_ACT_UNSPEC;
		tci = (tci & ~bpf_htons(VLAN_ID)) | bpf_htons(200);
		ip6->len = 0;
		ip6->hlim = 3;
		bpf_csum_update(ctx, bpf_htons(fold(bytes)));
		retag(ctx, tci);
		count(ctx, 0);
		return bpf_redirect(ctx->ifindex, 0);
	}

	return TC_ACT_UNSPEC;
}

/* IPv6 packets, by what they carry. */
static __always_inline int over_ip6(struct __sk_buff *ctx, void *end, __be16 tci, __u32 l3,
				    struct ip6_header *ip6)
{
	__u32 way = way_behind(ctx, l3);
	void *l4 = (void *)ip6 + way_offset(way);

	if (carries6(ip6, way, l4, end, PROTOCOL_TCP, sizeof(struct tcp_header)))
		return tcp_packet(ctx, tci, l3 + way_offset(way), ip6);
	if (carries6(ip6, way, l4, end, PROTOCOL_ICMP6, sizeof(struct icmp6_header)))
		return icmp6_packet(ctx, tci, l3 + way_offset(way), ip6);
	return ip6_packet(ctx, tci, ip6);
}

/* Frames with VLAN tags, by what they carry. */
static __always_inline int tagged_frame(struct __sk_buff *ctx, void *at, void *end,
					__be16 type, __be16 tci, __u32 l3)
{
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
			return TC_ACT_UNSPEC;
		tci = vlan->pcp_dei_id;
	}
	cvlan = (void *)(vlan + 1);
	if (!is_tag(vlan->type, cvlan, end))
		return tagged_frame(ctx, vlan + 1, end, vlan->type, tci, l3);
	return tagged_frame(ctx, cvlan + 1, end, cvlan->type, tci, l3 + 4);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
