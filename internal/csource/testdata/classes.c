/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: ping: if icmp_type echo-request then icmp_code 1
 * 1: if tcp_rst on or ip_flag_df on then ip_flag_df off ip_id 0
 * 2: if not ip
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

/* ICMP, RFC 792. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 check;
	__be16 id;
	__be16 seq;
};

_Static_assert(sizeof(struct icmp_header) == 8, "no padding");

#define IP_HL 0x0f
#define IP_FLAG_DF 0x4000
#define IP_OFFSET 0x1fff
#define TCP_RST 0x04
#define TYPE_IP 0x0800
#define PROTOCOL_TCP 6
#define PROTOCOL_ICMP 1

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
static __always_inline int tcp_packet(struct xdp_md *ctx, struct ip_header *ip,
				      struct tcp_header *tcp)
{
	/* if tcp_rst on or ip_flag_df on then ip_flag_df off ip_id 0 */
	if (tcp->flags & TCP_RST || ip->flags_offset & bpf_htons(IP_FLAG_DF)) {
		/* ip_check follows ip_flag_df, ip_id */
		ip->check = adjusted(ip->check, minus(bpf_ntohs(ip->flags_offset) & IP_FLAG_DF) +
						minus(bpf_ntohs(ip->id)));
		ip->id = 0;
		ip->flags_offset &= ~bpf_htons(IP_FLAG_DF);
		count(ctx, 1);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* ICMP packets. */
static __always_inline int icmp_packet(struct xdp_md *ctx, struct ip_header *ip,
				       struct icmp_header *icmp)
{
	/* ping: if icmp_type echo-request then icmp_code 1 */
	if (icmp->type == 8) {
		/* icmp_check follows icmp_code */
		icmp->check = adjusted(icmp->check, 1 + minus(icmp->code));
		icmp->code = 1;
		count(ctx, 0);
		return XDP_PASS;
	}

	/* if tcp_rst on or ip_flag_df on then ip_flag_df off ip_id 0 */
	if (ip->flags_offset & bpf_htons(IP_FLAG_DF)) {
		/* ip_check follows ip_flag_df, ip_id */
		ip->check = adjusted(ip->check, minus(bpf_ntohs(ip->flags_offset) & IP_FLAG_DF) +
						minus(bpf_ntohs(ip->id)));
		ip->id = 0;
		ip->flags_offset &= ~bpf_htons(IP_FLAG_DF);
		count(ctx, 1);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* All other IPv4 packets. */
static __always_inline int ip_packet(struct xdp_md *ctx, struct ip_header *ip)
{
	/* if tcp_rst on or ip_flag_df on then ip_flag_df off ip_id 0 */
	if (ip->flags_offset & bpf_htons(IP_FLAG_DF)) {
		/* ip_check follows ip_flag_df, ip_id */
		ip->check = adjusted(ip->check, minus(bpf_ntohs(ip->flags_offset) & IP_FLAG_DF) +
						minus(bpf_ntohs(ip->id)));
		ip->id = 0;
		ip->flags_offset &= ~bpf_htons(IP_FLAG_DF);
		count(ctx, 1);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* All other packets. */
static __always_inline int other_packet(struct xdp_md *ctx)
{
	/* if not ip */
	count(ctx, 2);
	return XDP_PASS;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct xdp_md *ctx, void *end, struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);

	if (carries(ip, l4, end, PROTOCOL_TCP, sizeof(struct tcp_header)))
		return tcp_packet(ctx, ip, l4);
	if (carries(ip, l4, end, PROTOCOL_ICMP, sizeof(struct icmp_header)))
		return icmp_packet(ctx, ip, l4);
	return ip_packet(ctx, ip);
}

/* Frames, by what they carry. */
static __always_inline int frame(struct xdp_md *ctx, void *at, void *end, __be16 type)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip(ctx, end, at);
	return other_packet(ctx);
}

SEC("xdp.frags")
int repacket(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 l3 = behind_tags(data, end);
	__be16 *type = data + l3 - sizeof(*type);

	if (!l3)
		return XDP_PASS;
	return frame(ctx, data + l3, end, *type);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
