/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if udp chance 1/3 then ip6_src random 2001:db8::/40, eth_src random, udp_check
 * udp_check
 * 1: if tcp then ip6_dest +1 ip6_src 2001:db8:1::/48, eth_dest atmost 02:ff:ff:ff:ff:ff
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

#define TYPE_IP6 0x86dd
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define NO_WAY (59 << 16) /* no next header */
#define WAY_ROUTED 0x01000000 /* a routing header has segments left */

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
	__u32 routed = 0;
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
			return next << 16 | at | routed;
		if (headers == 8 || at + sizeof(*header) > limit || (void *)(header + 1) > end)
			return NO_WAY;
		if (next == 44) { /* a fragment; only the first one has what follows */
			if (header->bytes[0] || header->bytes[1] & 0xf8)
				return NO_WAY;
			at += sizeof(*header);
		} else { /* hop-by-hop, routing or destination options */
			if (next == 43 && header->bytes[1]) /* segments left */
				routed = WAY_ROUTED;
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
 * How far the address of the option Home Address is from the IPv6 header at offset l3,
 * among extension headers that end at offset last (RFC 6275 section 6.3); 0 if there is
 * none. It stands in the pseudo-header. 64 headers and options are looked at. It is not
 * static, so that the verifier looks at it once and not at every call.
 */
__noinline __u32 home_address(struct xdp_md *ctx, __u32 l3, __u32 last)
{
	__u32 at = l3 + sizeof(struct ip6_header), end = at;
	__u8 next, bytes[2];

	if (bpf_xdp_load_bytes(ctx, l3 + 6, &next, sizeof(next)))
		return 0;
	for (int i = 0; i < 64; i++) {
		__u8 kind = next;

		if (at >= end && end >= last)
			return 0;
		if (bpf_xdp_load_bytes(ctx, at < end ? at : end, bytes, sizeof(bytes)))
			return 0;
		if (at < end) { /* an option */
			if (bytes[0] == 0xc9 && bytes[1] == 16 && at + 18 <= end)
				return at + 2 - l3;
			at += bytes[0] ? 2 + bytes[1] : 1;
		} else { /* an extension header; of destination options, which follow it */
			at = end + 2;
			end += kind == 44 ? 8 : (bytes[1] + 1) * 8;
			if (kind != 60)
				at = end;
			next = bytes[0];
		}
	}
	return 0;
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

static __always_inline __u64 at_most(__u64 value, __u64 highest)
{
	return value < highest ? value : highest;
}

/* The number that an Ethernet address is. */
static __always_inline __u64 number48(const void *address)
{
	typedef const __be16 __attribute__((may_alias)) word;
	word *a = address;

	return (__u64)bpf_ntohs(a[0]) << 32 | (__u32)bpf_ntohs(a[1]) << 16 | bpf_ntohs(a[2]);
}

/* A number of 128 bits, as an IPv6 address is one. */
static __always_inline __uint128_t value6(__u64 high, __u64 low)
{
	return (__uint128_t)high << 64 | low;
}

/* The number that an IPv6 address is. */
static __always_inline __uint128_t number6(const __be32 *address)
{
	return value6((__u64)bpf_ntohl(address[0]) << 32 | bpf_ntohl(address[1]),
		      (__u64)bpf_ntohl(address[2]) << 32 | bpf_ntohl(address[3]));
}

/* So much more, but not above the highest address. */
static __always_inline __uint128_t raised6(__uint128_t value, __u64 by)
{
	return value + by < value ? ~(__uint128_t)0 : value + by;
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

static __always_inline void count(struct xdp_md *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets++;
		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
}

/* TCP packets. */
static __always_inline int tcp_packet(struct xdp_md *ctx, struct eth_header *eth,
				      struct ip6_header *ip6, struct tcp_header *tcp)
{
	/*
	 * if tcp then ip6_dest +1 ip6_src 2001:db8:1::/48, eth_dest atmost 02:ff:ff:ff:ff:ff
	 */
	__uint128_t new_ip6_dest = raised6(number6(ip6->dest), 1);
	__u64 new_eth_dest = at_most(number48(&eth->dest_high), 0x02ffffffffff);

	/* tcp_check follows ip6_dest, ip6_src */
	tcp->check = adjusted(tcp->check, (__u32)(new_ip6_dest >> 96) +
					  minus(bpf_ntohl(ip6->dest[0])) +
					  (__u32)(new_ip6_dest >> 64) +
					  minus(bpf_ntohl(ip6->dest[1])) +
					  (__u32)(new_ip6_dest >> 32) +
					  minus(bpf_ntohl(ip6->dest[2])) +
					  (__u32)new_ip6_dest + minus(bpf_ntohl(ip6->dest[3])) +
					  0x20010db8 + minus(bpf_ntohl(ip6->src[0])) +
					  0x00010000 + minus(bpf_ntohl(ip6->src[1]) & 0xffff0000));
	ip6->src[0] = bpf_htonl(0x20010db8);
	ip6->src[1] = (ip6->src[1] & ~bpf_htonl(0xffff0000)) | bpf_htonl(0x00010000);
	ip6->dest[0] = bpf_htonl((__u32)(new_ip6_dest >> 96));
	ip6->dest[1] = bpf_htonl((__u32)(new_ip6_dest >> 64));
	ip6->dest[2] = bpf_htonl((__u32)(new_ip6_dest >> 32));
	ip6->dest[3] = bpf_htonl((__u32)new_ip6_dest);
	eth->dest_high = bpf_htonl((__u32)(new_eth_dest >> 16));
	eth->dest_low = bpf_htons((__u16)new_eth_dest);
	count(ctx, 1);
	return XDP_PASS;
}

/* TCP packets behind a routing header with segments left. */
static __always_inline int tcp_packet_routed(struct xdp_md *ctx, struct eth_header *eth,
					     struct ip6_header *ip6,
					     struct tcp_header *tcp)
{
	/*
	 * if tcp then ip6_dest +1 ip6_src 2001:db8:1::/48, eth_dest atmost 02:ff:ff:ff:ff:ff
	 */
	__uint128_t new_ip6_dest = raised6(number6(ip6->dest), 1);
	__u64 new_eth_dest = at_most(number48(&eth->dest_high), 0x02ffffffffff);

	/* tcp_check follows ip6_src */
	tcp->check = adjusted(tcp->check, 0x20010db8 + minus(bpf_ntohl(ip6->src[0])) +
					  0x00010000 + minus(bpf_ntohl(ip6->src[1]) & 0xffff0000));
	ip6->src[0] = bpf_htonl(0x20010db8);
	ip6->src[1] = (ip6->src[1] & ~bpf_htonl(0xffff0000)) | bpf_htonl(0x00010000);
	ip6->dest[0] = bpf_htonl((__u32)(new_ip6_dest >> 96));
	ip6->dest[1] = bpf_htonl((__u32)(new_ip6_dest >> 64));
	ip6->dest[2] = bpf_htonl((__u32)(new_ip6_dest >> 32));
	ip6->dest[3] = bpf_htonl((__u32)new_ip6_dest);
	eth->dest_high = bpf_htonl((__u32)(new_eth_dest >> 16));
	eth->dest_low = bpf_htons((__u16)new_eth_dest);
	count(ctx, 1);
	return XDP_PASS;
}

/* TCP packets with the option Home Address. */
static __always_inline int tcp_packet_homed(struct xdp_md *ctx, struct eth_header *eth,
					    struct ip6_header *ip6, struct tcp_header *tcp)
{
	/*
	 * if tcp then ip6_dest +1 ip6_src 2001:db8:1::/48, eth_dest atmost 02:ff:ff:ff:ff:ff
	 */
	__uint128_t new_ip6_dest = raised6(number6(ip6->dest), 1);
	__u64 new_eth_dest = at_most(number48(&eth->dest_high), 0x02ffffffffff);

	/* tcp_check follows ip6_dest */
	tcp->check = adjusted(tcp->check, (__u32)(new_ip6_dest >> 96) +
					  minus(bpf_ntohl(ip6->dest[0])) +
					  (__u32)(new_ip6_dest >> 64) +
					  minus(bpf_ntohl(ip6->dest[1])) +
					  (__u32)(new_ip6_dest >> 32) +
					  minus(bpf_ntohl(ip6->dest[2])) +
					  (__u32)new_ip6_dest + minus(bpf_ntohl(ip6->dest[3])));
	ip6->src[0] = bpf_htonl(0x20010db8);
	ip6->src[1] = (ip6->src[1] & ~bpf_htonl(0xffff0000)) | bpf_htonl(0x00010000);
	ip6->dest[0] = bpf_htonl((__u32)(new_ip6_dest >> 96));
	ip6->dest[1] = bpf_htonl((__u32)(new_ip6_dest >> 64));
	ip6->dest[2] = bpf_htonl((__u32)(new_ip6_dest >> 32));
	ip6->dest[3] = bpf_htonl((__u32)new_ip6_dest);
	eth->dest_high = bpf_htonl((__u32)(new_eth_dest >> 16));
	eth->dest_low = bpf_htons((__u16)new_eth_dest);
	count(ctx, 1);
	return XDP_PASS;
}

/* TCP packets with the option Home Address. */
static __always_inline int tcp_packet_homed_2(struct xdp_md *ctx, struct eth_header *eth,
					      struct ip6_header *ip6)
{
	/*
	 * if tcp then ip6_dest +1 ip6_src 2001:db8:1::/48, eth_dest atmost 02:ff:ff:ff:ff:ff
	 */
	__uint128_t new_ip6_dest = raised6(number6(ip6->dest), 1);
	__u64 new_eth_dest = at_most(number48(&eth->dest_high), 0x02ffffffffff);

	ip6->src[0] = bpf_htonl(0x20010db8);
	ip6->src[1] = (ip6->src[1] & ~bpf_htonl(0xffff0000)) | bpf_htonl(0x00010000);
	ip6->dest[0] = bpf_htonl((__u32)(new_ip6_dest >> 96));
	ip6->dest[1] = bpf_htonl((__u32)(new_ip6_dest >> 64));
	ip6->dest[2] = bpf_htonl((__u32)(new_ip6_dest >> 32));
	ip6->dest[3] = bpf_htonl((__u32)new_ip6_dest);
	eth->dest_high = bpf_htonl((__u32)(new_eth_dest >> 16));
	eth->dest_low = bpf_htons((__u16)new_eth_dest);
	count(ctx, 1);
	return XDP_PASS;
}

/* UDP packets. */
static __always_inline int udp_packet(struct xdp_md *ctx, struct eth_header *eth,
				      struct ip6_header *ip6)
{
	/*
	 * if udp chance 1/3 then ip6_src random 2001:db8::/40, eth_src random, udp_check
	 * udp_check
	 */
	if (draw(0) < 1431655766u) {
		__u32 drawn_1 = draw(1);
		__u32 drawn_2 = draw(2);
		__u32 drawn_5 = draw(5);
		__u32 new_ip6_src_1 = drawn_1 >> 8;
		__u32 new_ip6_src_2 = ((__u64)drawn_1 << 32 | drawn_2) >> 8;
		__u32 new_ip6_src_3 = ((__u64)drawn_2 << 32 | draw(3)) >> 8;
		__u32 new_eth_src_high = drawn_5 >> 16;
		__u32 new_eth_src_low = ((__u64)drawn_5 << 32 | draw(6)) >> 16;
		/* udp_check keeps its bytes */

		ip6->src[0] = bpf_htonl(0x20010db8);
		ip6->src[1] = bpf_htonl(new_ip6_src_1);
		ip6->src[2] = bpf_htonl(new_ip6_src_2);
		ip6->src[3] = bpf_htonl(new_ip6_src_3);
		eth->src_high = bpf_htons(new_eth_src_high);
		eth->src_low = bpf_htonl(new_eth_src_low);
		count(ctx, 0);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* IPv6 packets, by what they carry. */
static __always_inline int over_ip6(struct xdp_md *ctx, void *end, __u32 l3,
				    struct eth_header *eth, struct ip6_header *ip6)
{
	__u32 way = way_behind(ctx, l3);
	void *l4 = (void *)ip6 + way_offset(way);
	__u32 elsewhere = way_offset(way) > sizeof(*ip6) ? home_address(ctx, l3, l3 + way_offset(way)) : 0;

	if (carries6(ip6, way, l4, end, PROTOCOL_TCP, sizeof(struct tcp_header))) {
		if (elsewhere) {
			if (way & WAY_ROUTED)
				return tcp_packet_homed_2(ctx, eth, ip6);
			return tcp_packet_homed(ctx, eth, ip6, l4);
		}
		if (way & WAY_ROUTED)
			return tcp_packet_routed(ctx, eth, ip6, l4);
		return tcp_packet(ctx, eth, ip6, l4);
	}
	if (carries6(ip6, way, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet(ctx, eth, ip6);
	return XDP_PASS;
}

/* Frames, by what they carry. */
static __always_inline int frame(struct xdp_md *ctx, void *at, void *end, __be16 type,
				 __u32 l3, struct eth_header *eth)
{
	if (type == bpf_htons(TYPE_IP6) && at + sizeof(struct ip6_header) <= end)
		return over_ip6(ctx, end, l3, eth, at);
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
	return frame(ctx, data + l3, end, *type, l3, data);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
