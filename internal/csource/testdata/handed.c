/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if ip chance 1/8 then ip_id random
 *
 * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c repacket.c -o repacket.o
 * section xdp, map repacket_counts: packets and bytes by rule and CPU
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

#define TYPE_IP 0x0800

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

struct draws {
	__u32 number[2];
};

/* The random numbers of the next packet, by their places. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct draws);
} repacket_draws SEC(".maps");

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

/* The random number at a place, as handed in. */
static __always_inline __u32 draw(__u32 place)
{
	__u32 zero = 0;
	struct draws *draws = bpf_map_lookup_elem(&repacket_draws, &zero);

	return draws ? draws->number[place] : 0;
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

/* IPv4 packets. */
static __always_inline int ip_packet(struct xdp_md *ctx, struct ip_header *ip)
{
	/* if ip chance 1/8 then ip_id random */
	if (draw(0) < 536870912u) {
		__u32 new_ip_id = draw(1) >> 16;

		/* ip_check follows ip_id */
		ip->check = adjusted(ip->check, new_ip_id + minus(bpf_ntohs(ip->id)));
		ip->id = bpf_htons(new_ip_id);
		count(ctx, 0);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* Frames, by what they carry. */
static __always_inline int frame(struct xdp_md *ctx, void *at, void *end, __be16 type)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return ip_packet(ctx, at);
	return XDP_PASS;
}

SEC("xdp")
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
	return frame(ctx, data + l3, end, *type);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
