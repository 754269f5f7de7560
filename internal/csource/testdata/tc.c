/*
 * One tc program for these rules, written by repacket. The first rule that matches acts;
 * what none takes passes on.
 *
 * 0: if ip_dest 192.0.2.1 udp_dest 443 then ip_dest 10.0.0.1 udp_dest 8080
 * 1: if ip6_hlim 1 then drop
 *
 * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c repacket.c -o repacket.o
 * section tc, map repacket_counts: packets and bytes by rule and CPU
 */

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

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

#define IP_HL 0x0f
#define IP_OFFSET 0x1fff
#define TYPE_IP 0x0800
#define TYPE_IP6 0x86dd
#define PROTOCOL_UDP 17
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

/*
 * The offset of what the frame carries, behind at most two VLAN tags. What that
 * is, the two bytes before say. It is 0 if the frame has no header.
 */
static __always_inline __u32 behind_tags(const void *data, const void *end, int most)
{
	__u32 at = 14; /* two addresses, type */

	if (data + at > end)
		return 0;
#pragma unroll
	for (int tags = 0; tags < 2; tags++) {
		const __be16 *type = data + at - sizeof(*type);

		if (tags >= most)
			break;
		if (!is_tag(*type, data + at, end))
			break;
		at += 4;
	}
	return at;
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
 * How far the last address of a source route that has hops left is from the IPv4 header
 * at offset l3 (RFC 791 section 3.1); 0 if there is none. It stands in the pseudo-header.
 * It is not static, so that the verifier looks at it once and not at every call.
 */
__noinline __u32 last_hop(struct __sk_buff *ctx, __u32 l3)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 length, next = 0;
	struct ip_header *ip;

	if (l3 > 22)
		return 0;
	ip = data + l3;
	if ((void *)(ip + 1) > end)
		return 0;
	length = header_length(ip);
	for (__u32 at = sizeof(*ip); at + 7 <= 15 * 4; at++) {
		__u8 *option = (void *)ip + at;

		if (at + 7 > length || (void *)option + 7 > end)
			return 0;
		if (at < next || option[0] == 1) /* inside an option, or no operation */
			continue;
		if (option[0] == 0 || option[1] < 2 || at + option[1] > length) /* the end of them, or nonsense */
			return 0;
		if ((option[0] == 131 || option[0] == 137) && option[1] >= 7 && option[2] <= option[1])
			return at + option[1] - 4;
		next = at + option[1];
	}
	return 0;
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

static __always_inline void count(struct __sk_buff *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets += ctx->gso_segs ? ctx->gso_segs : 1;
		counter->bytes += ctx->len + (tag_offloaded(ctx) ? 4 : 0);
	}
}

/* UDP packets. */
static __always_inline int udp_packet(struct __sk_buff *ctx, __u32 l4_offset,
				      struct ip_header *ip, struct udp_header *udp)
{
	/* if ip_dest 192.0.2.1 udp_dest 443 then ip_dest 10.0.0.1 udp_dest 8080 */
	if (ip->dest == bpf_htonl(ADDRESS(192, 0, 2, 1)) && udp->dest == bpf_htons(443)) {
		__u64 pseudo = ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->dest));
		__u64 own = 8080 + minus(bpf_ntohs(udp->dest));

		/* ip_check follows ip_dest */
		ip->check = adjusted(ip->check, ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->dest)));
		ip->dest = bpf_htonl(ADDRESS(10, 0, 0, 1));
		udp->dest = bpf_htons(8080);
		/* udp_check follows udp_dest */
		replace(ctx, l4_offset + 6, own, BPF_F_MARK_MANGLED_0);
		/* udp_check follows ip_dest */
		replace(ctx, l4_offset + 6, pseudo, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
		count(ctx, 0);
		return TC_ACT_UNSPEC;
	}

	return TC_ACT_UNSPEC;
}

/* UDP packets with a source route that has hops left. */
static __always_inline int udp_packet_source_routed(struct __sk_buff *ctx, __u32 l4_offset,
						    struct ip_header *ip,
						    struct udp_header *udp)
{
	/* if ip_dest 192.0.2.1 udp_dest 443 then ip_dest 10.0.0.1 udp_dest 8080 */
	if (ip->dest == bpf_htonl(ADDRESS(192, 0, 2, 1)) && udp->dest == bpf_htons(443)) {
		__u64 own = 8080 + minus(bpf_ntohs(udp->dest));

		/* ip_check follows ip_dest */
		ip->check = adjusted(ip->check, ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->dest)));
		ip->dest = bpf_htonl(ADDRESS(10, 0, 0, 1));
		udp->dest = bpf_htons(8080);
		/* udp_check follows udp_dest */
		replace(ctx, l4_offset + 6, own, BPF_F_MARK_MANGLED_0);
		count(ctx, 0);
		return TC_ACT_UNSPEC;
	}

	return TC_ACT_UNSPEC;
}

/* All other IPv6 packets. */
static __always_inline int ip6_packet(struct __sk_buff *ctx, struct ip6_header *ip6)
{
	/* if ip6_hlim 1 then drop */
	if (ip6->hlim == 1) {
		count(ctx, 1);
		return TC_ACT_SHOT;
	}

	return TC_ACT_UNSPEC;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct __sk_buff *ctx, void *end, __u32 l3,
				   struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);
	__u32 elsewhere = header_length(ip) > sizeof(*ip) ? last_hop(ctx, l3) : 0;

	if (carries(ip, l4, end, PROTOCOL_UDP, sizeof(struct udp_header))) {
		if (elsewhere)
			return udp_packet_source_routed(ctx, l3 + header_length(ip), ip, l4);
		return udp_packet(ctx, l3 + header_length(ip), ip, l4);
	}
	return TC_ACT_UNSPEC;
}

/* Frames, by what they carry. */
static __always_inline int frame(struct __sk_buff *ctx, void *at, void *end, __be16 type,
				 __u32 l3)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip(ctx, end, l3, at);
	if (type == bpf_htons(TYPE_IP6) && at + sizeof(struct ip6_header) <= end)
		return ip6_packet(ctx, at);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int repacket(struct __sk_buff *ctx)
{
	void *data, *end;
	__u32 l3;
	__be16 *type;

	if (pull(ctx))
		return TC_ACT_UNSPEC;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	l3 = behind_tags(data, end, tag_offloaded(ctx) ? 1 : 2);
	type = data + l3 - sizeof(*type);
	if (!l3)
		return TC_ACT_UNSPEC;
	return frame(ctx, data + l3, end, *type, l3);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
