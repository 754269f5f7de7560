/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if udp then udp_src hash 49152-65535 ip6_flow hash
 * 1: if all then ip_src hash 10.0.0.0/8
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

#define IP_HL 0x0f
#define IP_FLAG_MF 0x2000
#define IP_OFFSET 0x1fff
#define IP6_FLOW 0x000fffff
#define TYPE_IP 0x0800
#define TYPE_IP6 0x86dd
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define NO_WAY (59 << 16) /* no next header */
#define WAY_MORE 0x02000000 /* more fragments follow */
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

/* The length of what the IPv4 header carries. */
static __always_inline __u16 datagram_length(const struct ip_header *ip)
{
	return bpf_ntohs(ip->tot_len) - header_length(ip);
}

/* Whether the datagram is all here; that it is no later fragment is known. */
static __always_inline int whole_datagram(struct xdp_md *ctx, __u32 l3, const struct ip_header *ip)
{
	return !(ip->flags_offset & bpf_htons(IP_FLAG_MF)) && ip->tot_len &&
	       l3 + bpf_ntohs(ip->tot_len) <= bpf_xdp_get_buff_len(ctx);
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
	__u32 more = 0;
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
			return next << 16 | at | more;
		if (headers == 8 || at + sizeof(*header) > limit || (void *)(header + 1) > end)
			return NO_WAY;
		if (next == 44) { /* a fragment; only the first one has what follows */
			if (header->bytes[0] || header->bytes[1] & 0xf8)
				return NO_WAY;
			if (header->bytes[1] & 1)
				more = WAY_MORE;
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

/* One of so many numbers from 0 on, at most 2^32. */
static __always_inline __u32 chosen(__u32 drawn, __u64 many)
{
	return drawn * many >> 32;
}

/* Takes a word into the hash of a flow. */
static __always_inline __u64 flow_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15;
	return hash ^ hash >> 32;
}

/* The hash of a flow: the same for all of its packets. Fragments have no ports. */
static __always_inline __u64 flow_state(const struct ip_header *ip, __u8 protocol, __u32 ports)
{
	__u64 hash = flow_mix(0, (__u64)bpf_ntohl(ip->src) << 32 | bpf_ntohl(ip->dest));

	return flow_mix(hash, (__u64)ports << 32 | protocol);
}

/* The hash of a flow: the same for all of its packets. Fragments have no ports. */
static __always_inline __u64 flow_state6(const struct ip6_header *ip6, __u8 protocol, __u32 ports)
{
	__u64 hash = 0;

#pragma unroll
	for (int i = 0; i < 4; i += 2)
		hash = flow_mix(hash, (__u64)bpf_ntohl(ip6->src[i]) << 32 | bpf_ntohl(ip6->src[i + 1]));
#pragma unroll
	for (int i = 0; i < 4; i += 2)
		hash = flow_mix(hash, (__u64)bpf_ntohl(ip6->dest[i]) << 32 | bpf_ntohl(ip6->dest[i + 1]));
	return flow_mix(hash, (__u64)ports << 32 | protocol);
}

/* A number of the hash: the state, mixed as MurmurHash3 ends. */
static __always_inline __u32 flow_number(__u64 flow, __u64 number)
{
	flow += number * 0x9e3779b97f4a7c15;
	flow = (flow ^ flow >> 33) * 0xff51afd7ed558ccd;
	flow = (flow ^ flow >> 33) * 0xc4ceb9fe1a85ec53;
	return flow >> 32;
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

static __always_inline __be16 adjusted_other(__be16 check, int never_zero, __u64 change)
{
	check = adjusted(check, change);
	return never_zero ? nonzero(check) : check;
}

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

/* The pseudo-header of TCP and UDP (RFC 9293 section 3.1, RFC 768). */
static __always_inline __u64 pseudo_header(const struct ip_header *ip)
{
	return (__u64)ip->src + ip->dest + bpf_htons(ip->protocol) + bpf_htons(datagram_length(ip));
}

/*
 * Whether a checksum is right with the pseudo-header and wrong without. VRRPv3 over IPv4
 * has one by RFC 5798, and none by RFC 9568 section 5.2.8. Its message has at most 255
 * addresses.
 */
static __always_inline int shows_pseudo_header(struct xdp_md *ctx, __u32 l3, const struct ip_header *ip)
{
	__u32 length = datagram_length(ip), sum;

	if (!whole_datagram(ctx, l3, ip) || length > 8 + 255 * 4)
		return 0;
	sum = fold(sum_bytes(ctx, l3 + header_length(ip), length));
	return sum != 0xffff && fold(sum + pseudo_header(ip)) == 0xffff;
}

/*
 * How far the checksum of a protocol without fields of its own is from the header, if
 * that checksum covers the addresses; 0 if there is none. That it lies in the frame
 * the caller checks.
 */
static __always_inline __u32 other_check(struct xdp_md *ctx, __u32 l3, const struct ip_header *ip,
					 const __u8 *l4, const void *end)
{
	__u32 at;

	if (ip->ver_hl >> 4 != 4 || header_length(ip) < sizeof(*ip) || ip->flags_offset & bpf_htons(IP_OFFSET))
		return 0;
	switch (ip->protocol) {
	case 27: /* RDP version 2, RFC 1151 */
		at = 16;
		break;
	case 33: /* DCCP, RFC 4340 */
	case 112: /* VRRPv3 */
	case 136: /* UDP-Lite, RFC 3828 */
		at = 6;
		break;
	case 89: /* OSPFv3, RFC 7949 */
		at = 12;
		break;
	case 139: /* HIP, RFC 7401 */
		at = 4;
		break;
	default:
		return 0;
	}
	if (header_length(ip) + (at < 6 ? 8 : at + 2) > extent(ip))
		return 0;
	if (ip->protocol == 27 && ((const void *)l4 + 18 > end || (l4[0] & 3) != 2))
		return 0;
	if (ip->protocol == 89 && ((const void *)l4 + 14 > end || l4[0] != 3))
		return 0;
	if (ip->protocol == 112 && ((const void *)l4 + 8 > end || l4[0] != 0x31 || !shows_pseudo_header(ctx, l3, ip)))
		return 0;
	if (ip->protocol == 136 && ((const void *)l4 + 8 > end || (!l4[6] && !l4[7]))) /* no checksum */
		return 0;
	return at;
}

static __always_inline void count(struct xdp_md *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets++;
		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
}

/* TCP packets. */
static __always_inline int tcp_packet(struct xdp_md *ctx, struct ip_header *ip,
				      struct tcp_header *tcp)
{
	/* if all then ip_src hash 10.0.0.0/8 */
	__u64 flow = ip->flags_offset & bpf_htons(IP_FLAG_MF) ?
		flow_state(ip, ip->protocol, 0) :
		flow_state(ip, PROTOCOL_TCP, (__u32)bpf_ntohs(tcp->src) << 16 | bpf_ntohs(tcp->dest));
	__u32 new_ip_src = flow_number(flow, 0) >> 8;

	/* ip_check follows ip_src */
	ip->check = adjusted(ip->check, (ADDRESS(10, 0, 0, 0) | new_ip_src) +
					minus(bpf_ntohl(ip->src)));
	/* tcp_check follows ip_src */
	tcp->check = adjusted(tcp->check, (ADDRESS(10, 0, 0, 0) | new_ip_src) +
					  minus(bpf_ntohl(ip->src)));
	ip->src = bpf_htonl(ADDRESS(10, 0, 0, 0) | new_ip_src);
	count(ctx, 1);
	return XDP_PASS;
}

/* UDP packets over IPv4. */
static __always_inline int udp_packet_over_ip(struct xdp_md *ctx, struct ip_header *ip,
					      struct udp_header *udp)
{
	/* if all then ip_src hash 10.0.0.0/8 */
	__u64 flow = ip->flags_offset & bpf_htons(IP_FLAG_MF) ?
		flow_state(ip, ip->protocol, 0) :
		flow_state(ip, PROTOCOL_UDP, (__u32)bpf_ntohs(udp->src) << 16 | bpf_ntohs(udp->dest));
	__u32 new_ip_src = flow_number(flow, 0) >> 8;

	/* ip_check follows ip_src */
	ip->check = adjusted(ip->check, (ADDRESS(10, 0, 0, 0) | new_ip_src) +
					minus(bpf_ntohl(ip->src)));
	/* udp_check follows ip_src */
	udp->check = adjusted_udp(udp->check, (ADDRESS(10, 0, 0, 0) | new_ip_src) +
					      minus(bpf_ntohl(ip->src)));
	ip->src = bpf_htonl(ADDRESS(10, 0, 0, 0) | new_ip_src);
	count(ctx, 1);
	return XDP_PASS;
}

/* All other IPv4 packets. */
static __always_inline int ip_packet(struct xdp_md *ctx, struct ip_header *ip)
{
	/* if all then ip_src hash 10.0.0.0/8 */
	__u64 flow = flow_state(ip, ip->protocol, 0);
	__u32 new_ip_src = flow_number(flow, 0) >> 8;

	/* ip_check follows ip_src */
	ip->check = adjusted(ip->check, (ADDRESS(10, 0, 0, 0) | new_ip_src) +
					minus(bpf_ntohl(ip->src)));
	ip->src = bpf_htonl(ADDRESS(10, 0, 0, 0) | new_ip_src);
	count(ctx, 1);
	return XDP_PASS;
}

/* All other IPv4 packets. */
static __always_inline int ip_packet_2(struct xdp_md *ctx, __be16 *other,
				       int nonzero_other, struct ip_header *ip)
{
	/* if all then ip_src hash 10.0.0.0/8 */
	__u64 flow = flow_state(ip, ip->protocol, 0);
	__u32 new_ip_src = flow_number(flow, 0) >> 8;

	/* ip_check follows ip_src */
	ip->check = adjusted(ip->check, (ADDRESS(10, 0, 0, 0) | new_ip_src) +
					minus(bpf_ntohl(ip->src)));
	/* other_check follows ip_src */
	*other = adjusted_other(*other, nonzero_other, (ADDRESS(10, 0, 0, 0) | new_ip_src) +
						       minus(bpf_ntohl(ip->src)));
	ip->src = bpf_htonl(ADDRESS(10, 0, 0, 0) | new_ip_src);
	count(ctx, 1);
	return XDP_PASS;
}

/* UDP packets over IPv6. */
static __always_inline int udp_packet_over_ip6(struct xdp_md *ctx, __u32 way,
					       struct ip6_header *ip6,
					       struct udp_header *udp)
{
	/* if udp then udp_src hash 49152-65535 ip6_flow hash */
	__u64 flow = way & WAY_MORE ?
		flow_state6(ip6, ip6->next, 0) :
		flow_state6(ip6, PROTOCOL_UDP, (__u32)bpf_ntohs(udp->src) << 16 | bpf_ntohs(udp->dest));
	__u32 new_udp_src = 49152 + chosen(flow_number(flow, 0), 16384);
	__u32 new_ip6_flow = 1 + chosen(flow_number(flow, 0), 1048575);

	/* udp_check follows udp_src */
	udp->check = adjusted_udp(udp->check, new_udp_src + minus(bpf_ntohs(udp->src)));
	udp->src = bpf_htons(new_udp_src);
	ip6->dscp_ecn_flow = (ip6->dscp_ecn_flow & ~bpf_htonl(IP6_FLOW)) | bpf_htonl(new_ip6_flow);
	count(ctx, 0);
	return XDP_PASS;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct xdp_md *ctx, void *end, __u32 l3,
				   struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);

	if (carries(ip, l4, end, PROTOCOL_TCP, sizeof(struct tcp_header)))
		return tcp_packet(ctx, ip, l4);
	if (carries(ip, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet_over_ip(ctx, ip, l4);
	{
		__u32 at = other_check(ctx, l3, ip, l4, end);
		__be16 *other = l4 + at;

		if (at && l4 + 8 <= end && (void *)(other + 1) <= end)
			return ip_packet_2(ctx, other, ip->protocol == 136, ip);
	}
	return ip_packet(ctx, ip);
}

/* IPv6 packets, by what they carry. */
static __always_inline int over_ip6(struct xdp_md *ctx, void *end, __u32 l3,
				    struct ip6_header *ip6)
{
	__u32 way = way_behind(ctx, l3);
	void *l4 = (void *)ip6 + way_offset(way);

	if (carries6(ip6, way, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet_over_ip6(ctx, way, ip6, l4);
	return XDP_PASS;
}

/* Frames, by what they carry. */
static __always_inline int frame(struct xdp_md *ctx, void *at, void *end, __be16 type,
				 __u32 l3)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip(ctx, end, l3, at);
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
