/*
 * One tc program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if ip udp_dest 53 then udp_check fix, ip_ttl 9
 * 1: if tcp then tcp_check bad ip_check bad ip_src 10.0.0.1
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

#define IP_HL 0x0f
#define IP_FLAG_MF 0x2000
#define IP_OFFSET 0x1fff
#define TYPE_IP 0x0800
#define PROTOCOL_TCP 6
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

/* The length of what the IPv4 header carries. */
static __always_inline __u16 datagram_length(const struct ip_header *ip)
{
	return bpf_ntohs(ip->tot_len) - header_length(ip);
}

/* Whether the datagram is all here; that it is no later fragment is known. */
static __always_inline int whole_datagram(struct __sk_buff *ctx, __u32 l3, const struct ip_header *ip)
{
	return !(ip->flags_offset & bpf_htons(IP_FLAG_MF)) && ip->tot_len &&
	       l3 + bpf_ntohs(ip->tot_len) <= ctx->len;
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

/*
 * The sum of bytes of the packet, which may lie in several buffers. That they
 * are in the frame the caller knows. It is not static, so that the verifier
 * looks at it once and not at every call.
 */
__noinline __u32 sum_bytes(struct __sk_buff *ctx, __u64 offset, __u64 length)
{
	__be32 chunk[32] = {}; /* the stack is 512 bytes, for all that call each other */
	__u32 sum = 0;

	for (int i = 0; i < 511 && length >= sizeof(chunk); i++) {
		if (bpf_skb_load_bytes(ctx, offset, chunk, sizeof(chunk)))
			return 0;
		sum = bpf_csum_diff(0, 0, chunk, sizeof(chunk), sum);
		offset += sizeof(chunk);
		length -= sizeof(chunk);
	}
	if (length == 0)
		return sum;
	__builtin_memset(chunk, 0, sizeof(chunk));
	barrier_var(length); /* or clang leaves out the mask, which the verifier needs */
	if (bpf_skb_load_bytes(ctx, offset, chunk, ((length - 1) & (sizeof(chunk) - 1)) + 1))
		return 0;
	return bpf_csum_diff(0, 0, chunk, sizeof(chunk), sum);
}

/* The pseudo-header of TCP and UDP (RFC 9293 section 3.1, RFC 768). */
static __always_inline __u64 pseudo_header(const struct ip_header *ip)
{
	return (__u64)ip->src + ip->dest + bpf_htons(ip->protocol) + bpf_htons(datagram_length(ip));
}

/* What the last hop of a source route is more than the destination for which it stands. */
static __always_inline __u64 stand_in(struct __sk_buff *ctx, __u32 l3, __u32 elsewhere,
				      const struct ip_header *ip)
{
	return elsewhere ? minus(ip->dest) + sum_bytes(ctx, l3 + elsewhere, sizeof(ip->dest)) : 0;
}

/* The checksum that makes a sum 0. */
static __always_inline __be16 checksum(__u64 sum)
{
	__u32 check = 0xffff - fold(sum);

	return check == 0xffff ? 0 : check;
}

/* Wrong by one, and never 0. */
static __always_inline __be16 wrong(__be16 check)
{
	return check == 0xffff ? bpf_htons(1) : bpf_htons(bpf_ntohs(check) + 1);
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

/* Stores two bytes that are not summed up elsewhere. */
static __always_inline void store(struct __sk_buff *ctx, __u32 offset, __be16 value)
{
	bpf_skb_store_bytes(ctx, offset, &value, sizeof(value), BPF_F_RECOMPUTE_CSUM);
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

static __always_inline void count(struct __sk_buff *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets += ctx->gso_segs ? ctx->gso_segs : 1;
		counter->bytes += ctx->len + (tag_offloaded(ctx) ? 4 : 0);
	}
}

/* TCP packets. */
static __always_inline int tcp_packet(struct __sk_buff *ctx, __u32 l3, __u32 elsewhere,
				      __u32 l4_offset, struct ip_header *ip)
{
	/* if tcp then tcp_check bad ip_check bad ip_src 10.0.0.1 */
	if (whole_datagram(ctx, l3, ip) &&
	    header_length(ip) >= sizeof(*ip) &&
	    l3 + header_length(ip) <= ctx->len) {
		__u64 pseudo = ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->src));
		__u32 carried = datagram_length(ip);
		__u64 bytes = ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->src));

		ip->src = bpf_htonl(ADDRESS(10, 0, 0, 1));
		__u64 pseudo_sum = pseudo_header(ip) + stand_in(ctx, l3, elsewhere, ip);
		__u32 length = header_length(ip);
		if (is_partial(ctx, l4_offset + 16)) {
			/* tcp_check follows ip_src */
			replace(ctx, l4_offset + 16, pseudo, BPF_F_PSEUDO_HDR);
			replace(ctx, l4_offset + 16, 1, BPF_F_PSEUDO_HDR);
		} else {
			/* tcp_check bad */
			store(ctx, l4_offset + 16, 0);
			store(ctx, l4_offset + 16, wrong(checksum(sum_bytes(ctx, l4_offset, carried) + pseudo_sum)));
			bpf_csum_level(ctx, BPF_CSUM_LEVEL_RESET);
		}
		bpf_csum_update(ctx, bpf_htons(fold(bytes)));
		/* ip_check bad */
		store(ctx, l3 + 10, 0);
		store(ctx, l3 + 10, wrong(checksum(sum_bytes(ctx, l3, length))));
		count(ctx, 1);
		return TC_ACT_UNSPEC;
	}

	return TC_ACT_UNSPEC;
}

/* UDP packets. */
static __always_inline int udp_packet(struct __sk_buff *ctx, __u32 l3, __u32 elsewhere,
				      __u32 l4_offset, struct ip_header *ip,
				      struct udp_header *udp)
{
	/* if ip udp_dest 53 then udp_check fix, ip_ttl 9 */
	if (udp->dest == bpf_htons(53) &&
	    whole_datagram(ctx, l3, ip) &&
	    udp->len == bpf_htons(datagram_length(ip))) {
		__u32 carried = datagram_length(ip);

		__u32 ip_at = offset_of(ctx, ip);
		__u32 udp_at = offset_of(ctx, udp);

		if (is_partial(ctx, udp_at + 6)) /* neither that nor a value would reach the wire */
			return TC_ACT_UNSPEC;
		ip = again(ctx, ip_at, sizeof(*ip));
		udp = again(ctx, udp_at, sizeof(*udp));
		if (!ip || !udp)
			return TC_ACT_UNSPEC;
		/* ip_check follows ip_ttl */
		ip->check = adjusted(ip->check, (9 << 8) + minus(ip->ttl << 8));
		ip->ttl = 9;
		__u64 pseudo_sum = pseudo_header(ip) + stand_in(ctx, l3, elsewhere, ip);
		/* udp_check fix */
		store(ctx, l4_offset + 6, 0);
		store(ctx, l4_offset + 6, nonzero(checksum(sum_bytes(ctx, l4_offset, carried) + pseudo_sum)));
		bpf_csum_level(ctx, BPF_CSUM_LEVEL_RESET);
		count(ctx, 0);
		return TC_ACT_UNSPEC;
	}

	return TC_ACT_UNSPEC;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct __sk_buff *ctx, void *end, __u32 l3,
				   struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);
	__u32 elsewhere = header_length(ip) > sizeof(*ip) ? last_hop(ctx, l3) : 0;

	if (carries(ip, l4, end, PROTOCOL_TCP, sizeof(struct tcp_header)))
		return tcp_packet(ctx, l3, elsewhere, l3 + header_length(ip), ip);
	if (carries(ip, l4, end, PROTOCOL_UDP, sizeof(struct udp_header)))
		return udp_packet(ctx, l3, elsewhere, l3 + header_length(ip), ip, l4);
	return TC_ACT_UNSPEC;
}

/* Frames, by what they carry. */
static __always_inline int frame(struct __sk_buff *ctx, void *at, void *end, __be16 type,
				 __u32 l3)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip(ctx, end, l3, at);
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
