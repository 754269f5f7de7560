/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if udp_dest 20000-50000 then udp_dest 443 ip_dest 10.0.0.1 replies tracked
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

/* UDP, RFC 768. */
struct udp_header {
	__be16 src;
	__be16 dest;
	__be16 len;
	__be16 check;
};

_Static_assert(sizeof(struct udp_header) == 8, "no padding");

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
#define IP_OFFSET 0x1fff
#define TYPE_IP 0x0800
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMP 1
#define ADDRESS(a, b, c, d) ((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

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

/* What packets of a flow have in common. */
struct flow {
	__be32 source[4]; /* of IPv4 the first word alone */
	__be32 dest[4];
	__be16 source_port;
	__be16 dest_port;
	__be16 identifier; /* of an ICMP message */
	__u16 message;     /* 0x100 and its type */
	__be16 vlan;
	__be16 cvlan;
	__u16 tags;        /* how many */
	__u8 ip6;
	__u8 protocol;
};

/* Added to the tags of a key: the flow is as it arrived. */
enum { AS_IT_ARRIVED = 0x100 };

/* A flow, and the rule that rewrote it. */
struct tracked {
	struct flow flow;
	__u32 rule;
};

_Static_assert(sizeof(struct tracked) == sizeof(struct flow) + 4, "no padding");

/*
 * The flows that rules have rewritten as they arrived, by what they look like since, and that
 * by what they were: two entries each. The program of the rules and that of their replies have to
 * be given the same map: "bpftool prog load" takes "map name repacket_flows pinned FILE". Where
 * it is full, the kernel evicts flows that have been idle. Unlike Repacket's own table it
 * knows no idle time-outs, counts no evictions, and does not notice where an entry that is being
 * read is given to another flow.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow);
	__type(value, struct tracked);
} repacket_flows SEC(".maps");

/* The flows of the packet at hand: a few of them would be too much for the stack. */
struct scratch {
	struct tracked now;
	struct tracked left;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} repacket_scratch SEC(".maps");

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
 * How far the last address of a source route that has hops left is from the IPv4 header
 * at offset l3 (RFC 791 section 3.1); 0 if there is none. It stands in the pseudo-header.
 * It is not static, so that the verifier looks at it once and not at every call.
 */
__noinline __u32 last_hop(struct xdp_md *ctx, __u32 l3)
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
 * Whether an ICMP message is an error that quotes an IPv4 packet (RFC 792): unreachable,
 * source quench, time exceeded or parameter problem. So many bytes of it count.
 */
static __always_inline int quotes(const __u8 *message, __u32 room, const void *end)
{
	return 8 + sizeof(struct ip_header) <= room &&
	       (const void *)message + 8 + sizeof(struct ip_header) <= end &&
	       (message[0] == 3 || message[0] == 4 || message[0] == 11 || message[0] == 12) &&
	       message[8] >> 4 == 4;
}

/*
 * Whether the quoted packet went on with a whole header of that protocol, of which the
 * quote has 8 bytes: RFC 792 asks for no more.
 */
static __always_inline int quotes_header(const struct ip_header *quoted, const void *l4, __u32 room,
					 const void *end, __u8 protocol, __u32 fixed)
{
	return header_length(quoted) >= sizeof(*quoted) && !(quoted->flags_offset & bpf_htons(IP_OFFSET)) &&
	       quoted->protocol == protocol && header_length(quoted) + fixed <= extent(quoted) &&
	       8 + header_length(quoted) + 8 <= room && l4 + 8 <= end;
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

/* The room for the flows of a packet. */
static __noinline struct scratch *scratch(void)
{
	__u32 zero = 0;
	struct scratch *scratch = bpf_map_lookup_elem(&repacket_scratch, &zero);

	if (scratch)
		*scratch = (struct scratch){};
	return scratch;
}

/* What packets of a flow have in common behind an IPv4 header. */
static __always_inline void flow_ip(struct flow *flow, const struct ip_header *ip)
{
	flow->source[0] = ip->src;
	flow->dest[0] = ip->dest;
	flow->protocol = ip->protocol;
}

static __always_inline void flow_ports(struct flow *flow, __u8 protocol, __be16 source, __be16 dest)
{
	flow->protocol = protocol;
	flow->source_port = source;
	flow->dest_port = dest;
}

/* The identifiers of the VLAN tags in front of the IP header at offset l3. */
static __noinline void flow_vlans(struct xdp_md *ctx, __u32 l3, struct flow *flow)
{
	const __be16 *tag;

	barrier_var(ctx); /* or clang adds up where its data is, which the verifier rejects */
	tag = (void *)(long)ctx->data + 14; /* the next one is 4 bytes on */
	if ((void *)(tag + 3) > (void *)(long)ctx->data_end)
		return;
	if (l3 > 14) {
		flow->tags = 1;
		flow->vlan = tag[0] & bpf_htons(0xfff);
	}
	if (l3 > 18) {
		flow->tags = 2;
		flow->cvlan = tag[2] & bpf_htons(0xfff);
	}
}

/* Whether so many bytes are the same. */
static __always_inline int same(const void *one, const void *other, __u32 size)
{
	typedef __u32 __attribute__((may_alias)) word;
	const word *a = one, *b = other;
	word differ = 0;

#pragma unroll
	for (__u32 i = 0; i < size / sizeof(word); i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

/*
 * Notes that a flow, as it leaves, arrived as another one. It is 0 if another client has a
 * flow that looks the same: that one stays. Of one client the newest flow wins.
 */
static __noinline int track(struct scratch *flows)
{
	struct tracked *now = &flows->now, *left = &flows->left;
	const struct tracked *old = bpf_map_lookup_elem(&repacket_flows, &left->flow);

	if (old && !same(old, now, sizeof(*now))) {
		const struct flow *other = &old->flow, *flow = &now->flow;

		if (!same(other->source, flow->source, sizeof(flow->source)) ||
		    other->source_port != flow->source_port || other->identifier != flow->identifier)
			return 0;
		old = 0;
	}
	if (!old) {
		bpf_map_update_elem(&repacket_flows, &left->flow, now, BPF_ANY);
		now->flow.tags |= AS_IT_ARRIVED;
		bpf_map_update_elem(&repacket_flows, &now->flow, left, BPF_ANY);
	}
	return 1;
}

/* UDP packets. */
static __always_inline int udp_packet(struct xdp_md *ctx, __u32 l3, struct ip_header *ip,
				      struct udp_header *udp)
{
	/* if udp_dest 20000-50000 then udp_dest 443 ip_dest 10.0.0.1 replies tracked */
	if (bpf_ntohs(udp->dest) >= 20000 && bpf_ntohs(udp->dest) <= 50000) {
		struct scratch *flows = scratch();

		if (!flows)
			return XDP_PASS;
		flows->now.rule = 0;
		flow_ip(&flows->now.flow, ip);
		flow_vlans(ctx, l3, &flows->now.flow);
		flow_ports(&flows->now.flow, PROTOCOL_UDP, udp->src, udp->dest);
		flows->left = flows->now;
		flows->left.flow.dest[0] = bpf_htonl(ADDRESS(10, 0, 0, 1));
		flows->left.flow.dest_port = bpf_htons(443);
		if (!track(flows)) /* it would look like another client's */
			return XDP_PASS;

		/* ip_check follows ip_dest */
		ip->check = adjusted(ip->check, ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->dest)));
		/* udp_check follows udp_dest, ip_dest */
		udp->check = adjusted_udp(udp->check, 443 + minus(bpf_ntohs(udp->dest)) +
						      ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->dest)));
		ip->dest = bpf_htonl(ADDRESS(10, 0, 0, 1));
		udp->dest = bpf_htons(443);
		count(ctx, 0);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* UDP packets with a source route that has hops left. */
static __always_inline int udp_packet_source_routed(struct xdp_md *ctx, __u32 l3,
						    struct ip_header *ip,
						    struct udp_header *udp)
{
	/* if udp_dest 20000-50000 then udp_dest 443 ip_dest 10.0.0.1 replies tracked */
	if (bpf_ntohs(udp->dest) >= 20000 && bpf_ntohs(udp->dest) <= 50000) {
		struct scratch *flows = scratch();

		if (!flows)
			return XDP_PASS;
		flows->now.rule = 0;
		flow_ip(&flows->now.flow, ip);
		flow_vlans(ctx, l3, &flows->now.flow);
		flow_ports(&flows->now.flow, PROTOCOL_UDP, udp->src, udp->dest);
		flows->left = flows->now;
		flows->left.flow.dest[0] = bpf_htonl(ADDRESS(10, 0, 0, 1));
		flows->left.flow.dest_port = bpf_htons(443);
		if (!track(flows)) /* it would look like another client's */
			return XDP_PASS;

		/* ip_check follows ip_dest */
		ip->check = adjusted(ip->check, ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->dest)));
		/* udp_check follows udp_dest */
		udp->check = adjusted_udp(udp->check, 443 + minus(bpf_ntohs(udp->dest)));
		ip->dest = bpf_htonl(ADDRESS(10, 0, 0, 1));
		udp->dest = bpf_htons(443);
		count(ctx, 0);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* ICMP packets. */
static __always_inline int icmp_packet(struct xdp_md *ctx, struct ip_header *ip,
				       struct icmp_header *icmp,
				       struct ip_header *quoted_ip,
				       struct udp_header *quoted_udp)
{
	/* if udp_dest 20000-50000 then udp_dest 443 ip_dest 10.0.0.1 replies tracked */
	if (bpf_ntohs(quoted_udp->src) >= 20000 && bpf_ntohs(quoted_udp->src) <= 50000) {
		/* ip_check follows ip_dest */
		ip->check = adjusted(ip->check, ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->dest)));
		/* icmp_check follows quoted_udp_src */
		icmp->check = adjusted(icmp->check, 443 + minus(bpf_ntohs(quoted_udp->src)));
		/* quoted_ip_check follows quoted_ip_src */
		quoted_ip->check = adjusted(quoted_ip->check, ADDRESS(10, 0, 0, 1) +
							      minus(bpf_ntohl(quoted_ip->src)));
		ip->dest = bpf_htonl(ADDRESS(10, 0, 0, 1));
		quoted_ip->src = bpf_htonl(ADDRESS(10, 0, 0, 1));
		quoted_udp->src = bpf_htons(443);
		count(ctx, 0);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* ICMP packets with its checksum. */
static __always_inline int icmp_packet_with_sum(struct xdp_md *ctx, struct ip_header *ip,
						struct icmp_header *icmp,
						struct ip_header *quoted_ip,
						struct udp_header *quoted_udp)
{
	/* if udp_dest 20000-50000 then udp_dest 443 ip_dest 10.0.0.1 replies tracked */
	if (bpf_ntohs(quoted_udp->src) >= 20000 && bpf_ntohs(quoted_udp->src) <= 50000) {
		/* ip_check follows ip_dest */
		ip->check = adjusted(ip->check, ADDRESS(10, 0, 0, 1) + minus(bpf_ntohl(ip->dest)));
		/* icmp_check follows quoted_ip_src */
		icmp->check = adjusted(icmp->check, bpf_ntohl(quoted_ip->src) +
						    minus(ADDRESS(10, 0, 0, 1)));
		/* quoted_ip_check follows quoted_ip_src */
		quoted_ip->check = adjusted(quoted_ip->check, ADDRESS(10, 0, 0, 1) +
							      minus(bpf_ntohl(quoted_ip->src)));
		/* quoted_udp_check follows quoted_udp_src, quoted_ip_src */
		quoted_udp->check = adjusted_udp(quoted_udp->check, 443 +
								    minus(bpf_ntohs(quoted_udp->src)) +
								    ADDRESS(10, 0, 0, 1) +
								    minus(bpf_ntohl(quoted_ip->src)));
		ip->dest = bpf_htonl(ADDRESS(10, 0, 0, 1));
		quoted_ip->src = bpf_htonl(ADDRESS(10, 0, 0, 1));
		quoted_udp->src = bpf_htons(443);
		count(ctx, 0);
		return XDP_PASS;
	}

	return XDP_PASS;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct xdp_md *ctx, void *end, __u32 l3,
				   struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);
	__u32 elsewhere = header_length(ip) > sizeof(*ip) ? last_hop(ctx, l3) : 0;

	if (carries(ip, l4, end, PROTOCOL_UDP, sizeof(struct udp_header))) {
		if (elsewhere)
			return udp_packet_source_routed(ctx, l3, ip, l4);
		return udp_packet(ctx, l3, ip, l4);
	}
	if (carries(ip, l4, end, PROTOCOL_ICMP, sizeof(struct icmp_header))) {
		__u32 room = extent(ip) - header_length(ip);

		if (quotes(l4, room, end)) {
			struct ip_header *quoted = l4 + 8;
			void *quoted_l4 = (void *)quoted + header_length(quoted);

			if (quotes_header(quoted, quoted_l4, room, end, PROTOCOL_UDP, 8)) {
				if (((struct udp_header *)quoted_l4)->check)
					return icmp_packet_with_sum(ctx, ip, l4, quoted, quoted_l4);
				return icmp_packet(ctx, ip, l4, quoted, quoted_l4);
			}
			return XDP_PASS;
		}
		return XDP_PASS;
	}
	return XDP_PASS;
}

/* Frames, by what they carry. */
static __always_inline int frame(struct xdp_md *ctx, void *at, void *end, __be16 type,
				 __u32 l3)
{
	if (type == bpf_htons(TYPE_IP) && at + sizeof(struct ip_header) <= end)
		return over_ip(ctx, end, l3, at);
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
	return frame(ctx, data + l3, end, *type, l3);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
