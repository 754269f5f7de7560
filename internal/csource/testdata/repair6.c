/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if ip6_src 2001:db8::/32 udp then udp_check fix, ip6_dest 2001:db8::1
 *
 * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c repacket.c -o repacket.o
 * section xdp.frags, map repacket_counts: packets and bytes by rule and CPU
 */

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

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

#define TYPE_IP6 0x86dd
#define PROTOCOL_UDP 17
#define NO_WAY (59 << 16) /* no next header */
#define WAY_ROUTED 0x01000000 /* a routing header has segments left */
#define WAY_MORE 0x02000000 /* more fragments follow */

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
			return next << 16 | at | routed | more;
		if (headers == 8 || at + sizeof(*header) > limit || (void *)(header + 1) > end)
			return NO_WAY;
		if (next == 44) { /* a fragment; only the first one has what follows */
			if (header->bytes[0] || header->bytes[1] & 0xf8)
				return NO_WAY;
			if (header->bytes[1] & 1)
				more = WAY_MORE;
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

/* The length of what follows the extension headers. */
static __always_inline __u16 datagram_length6(const struct ip6_header *ip6, __u32 way)
{
	return sizeof(*ip6) + bpf_ntohs(ip6->len) - way_offset(way);
}

/* Whether the datagram is all here; that it is no later fragment is known. */
static __always_inline int whole_datagram6(struct xdp_md *ctx, __u32 l3, const struct ip6_header *ip6,
					   __u32 way)
{
	return !(way & WAY_MORE) && ip6->len &&
	       l3 + sizeof(*ip6) + bpf_ntohs(ip6->len) <= bpf_xdp_get_buff_len(ctx);
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

/* UDP: 0 means that there is no checksum, so 0 is sent as 0xffff (RFC 768). */
static __always_inline __be16 nonzero(__be16 check)
{
	return check ? check : 0xffff;
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

/* The pseudo-header over IPv6 (RFC 8200 section 8.1). */
static __always_inline __u64 pseudo_header6(const struct ip6_header *ip6, __u8 protocol, __u16 length)
{
	__u64 sum = bpf_htons(protocol) + bpf_htons(length);

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)ip6->src[i] + ip6->dest[i];
	return sum;
}

/* What a home address is more than the source for which it stands. */
static __always_inline __u64 stand_in6(struct xdp_md *ctx, __u32 l3, __u32 elsewhere,
				       const struct ip6_header *ip6)
{
	const __be32 *src = ip6->src;

	return elsewhere ? minus(src[0]) + minus(src[1]) + minus(src[2]) + minus(src[3]) +
				   sum_bytes(ctx, l3 + elsewhere, sizeof(ip6->src)) : 0;
}

/* The checksum that makes a sum 0. */
static __always_inline __be16 checksum(__u64 sum)
{
	__u32 check = 0xffff - fold(sum);

	return check == 0xffff ? 0 : check;
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
static __always_inline int udp_packet(struct xdp_md *ctx, __u32 l3, __u32 way,
				      __u32 elsewhere, struct ip6_header *ip6,
				      struct udp_header *udp)
{
	/* if ip6_src 2001:db8::/32 udp then udp_check fix, ip6_dest 2001:db8::1 */
	if (ip6->src[0] == bpf_htonl(0x20010db8) &&
	    whole_datagram6(ctx, l3, ip6, way) &&
	    udp->len == bpf_htons(datagram_length6(ip6, way))) {
		ip6->dest[0] = bpf_htonl(0x20010db8);
		ip6->dest[1] = 0;
		ip6->dest[2] = 0;
		ip6->dest[3] = bpf_htonl(0x00000001);
		/* udp_check fix */
		udp->check = 0;
		udp->check = nonzero(checksum(sum_bytes(ctx, l3 + way_offset(way), datagram_length6(ip6, way)) +
					      pseudo_header6(ip6, PROTOCOL_UDP, datagram_length6(ip6, way)) +
					      stand_in6(ctx, l3, elsewhere, ip6)));
		count(ctx, 0);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* IPv6 packets, by what they carry. */
static __always_inline int over_ip6(struct xdp_md *ctx, void *end, __u32 l3,
				    struct ip6_header *ip6)
{
	__u32 way = way_behind(ctx, l3);
	void *l4 = (void *)ip6 + way_offset(way);
	__u32 elsewhere = way_offset(way) > sizeof(*ip6) ? home_address(ctx, l3, l3 + way_offset(way)) : 0;

	if (carries6(ip6, way, l4, end, PROTOCOL_UDP, sizeof(struct udp_header))) {
		if (way & WAY_ROUTED)
			return XDP_PASS;
		return udp_packet(ctx, l3, way, elsewhere, ip6, l4);
	}
	return XDP_PASS;
}

/* Frames, by what they carry. */
static __always_inline int frame(struct xdp_md *ctx, void *at, void *end, __be16 type,
				 __u32 l3)
{
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
