/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if udp then udp_src udp_dest udp_dest udp_src
 *
 * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c repacket.c -o repacket.o
 * section xdp.frags, map repacket_counts: packets and bytes by rule and CPU
 */

#include <linux/bpf.h>
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

/* An extension header of IPv6, RFC 8200: what all have that can be stepped over. */
struct extension {
	__u8 next;
	__u8 length; /* in 8-byte units, the first one not counted */
	__u8 bytes[6];
};

#define IP_HL 0x0f
#define IP_OFFSET 0x1fff
#define TYPE_IP 0x0800
#define TYPE_IP6 0x86dd
#define PROTOCOL_UDP 17
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

/* Whether a VLAN tag stands behind a type. */
static __always_inline int is_tag(__be16 type, const void *tag, const void *end)
{
	return (type == bpf_htons(0x8100) || type == bpf_htons(0x88a8)) && tag + 4 <= end;
}

/*
 * The offset of what the frame carries, behind at most two VLAN tags. What that
 * is, the two bytes before say. It is 0 if the frame has no header.
 */
static __always_inline __u32 behind_tags(const void *data, const void *end)
{
	__u32 at = 14; /* two addresses, type */

	if (data + at > end)
		return 0;
#pragma unroll
	for (int tags = 0; tags < 2; tags++) {
		const __be16 *type = data + at - sizeof(*type);

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

/* UDP: 0 means that there is no checksum, so 0 is sent as 0xffff (RFC 768). */
static __always_inline __be16 nonzero(__be16 check)
{
	return check ? check : 0xffff;
}

static __always_inline __be16 adjusted_udp(__be16 check, __u64 change)
{
	return check ? nonzero(adjusted(check, change)) : 0;
}

static __always_inline void count(struct xdp_md *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets++;
		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
}

/* UDP packets. */
static __noinline int udp_packet(struct xdp_md *ctx, struct udp_header *udp)
{
	/* if udp then udp_src udp_dest udp_dest udp_src */
	__u32 new_udp_src = bpf_ntohs(udp->dest);
	__u32 new_udp_dest = bpf_ntohs(udp->src);

	/* udp_check follows udp_src, udp_dest */
	udp->check = adjusted_udp(udp->check, new_udp_src + minus(bpf_ntohs(udp->src)) +
					      new_udp_dest + minus(bpf_ntohs(udp->dest)));
	udp->src = bpf_htons(new_udp_src);
	udp->dest = bpf_htons(new_udp_dest);
	count(ctx, 0);
	return XDP_PASS;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct xdp_md *ctx, void *end, struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);

	if (carries(ip, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet(ctx, l4);
	return XDP_PASS;
}

/* IPv6 packets, by what they carry. */
static __always_inline int over_ip6(struct xdp_md *ctx, void *end, __u32 l3,
				    struct ip6_header *ip6)
{
	__u32 way = way_behind(ctx, l3);
	void *l4 = (void *)ip6 + way_offset(way);

	if (carries6(ip6, way, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet(ctx, l4);
	return XDP_PASS;
}

/* Frames, by what they carry. */
static __always_inline int frame(struct xdp_md *ctx, void *at, void *end, __be16 type,
				 __u32 l3)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip(ctx, end, at);
	if (type == bpf_htons(TYPE_IP6) && at + sizeof(struct ip6_header) <= end)
		return over_ip6(ctx, end, l3, at);
	return XDP_PASS;
}

SEC("xdp.frags")
int repacket(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 l3;
	__be16 *type;

	l3 = behind_tags(data, end);
	type = data + l3 - sizeof(*type);
	if (!l3)
		return XDP_PASS;
	return frame(ctx, data + l3, end, *type, l3);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
