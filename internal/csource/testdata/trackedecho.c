/*
 * One tc program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if icmp then swap ip icmp_id 7 replies tracked
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
#define PROTOCOL_ICMP 1

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

/* Two fields change places, both of so many bytes. */
static __always_inline void swap(void *one, void *other, __u32 size)
{
	typedef __be16 __attribute__((may_alias)) word;
	word *a = one, *b = other;

#pragma unroll
	for (__u32 i = 0; i < size / sizeof(word); i++) {
		word kept = a[i];

		a[i] = b[i];
		b[i] = kept;
	}
}

static __always_inline void count(struct __sk_buff *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets += ctx->gso_segs ? ctx->gso_segs : 1;
		counter->bytes += ctx->len + (tag_offloaded(ctx) ? 4 : 0);
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

/*
 * The same for an echo or a timestamp message (RFC 792, RFC 4443): the identifier. It is 0
 * for others, which belong to no flow.
 */
static __always_inline int flow_message(struct __sk_buff *ctx, struct flow *flow, __u8 protocol,
					const void *message)
{
	__u8 type;

	barrier_var(ctx); /* as in flow_vlans() */
	if (message + 8 > (void *)(long)ctx->data_end)
		return 0;
	type = *(const __u8 *)message;
	if (protocol == 58 ? type != 128 && type != 129 : type != 8 && type != 0 && type != 13 && type != 14)
		return 0;
	flow->protocol = protocol;
	flow->message = 0x100 | type; /* not 0, as without a header */
	flow->identifier = *(const __be16 *)(message + 4);
	return 1;
}

/* The identifiers of the VLAN tags in front of the IP header at offset l3. */
static __noinline void flow_vlans(struct __sk_buff *ctx, __u32 l3, struct flow *flow)
{
	const __be16 *tag;

	barrier_var(ctx); /* or clang adds up where its data is, which the verifier rejects */
	tag = (void *)(long)ctx->data + 14; /* the next one is 4 bytes on */
	if ((void *)(tag + 3) > (void *)(long)ctx->data_end)
		return;
	if (tag_offloaded(ctx)) {
		flow->tags = 1;
		flow->vlan = bpf_htons(ctx->vlan_tci & 0xfff);
		if (l3 > 14) {
			flow->tags = 2;
			flow->cvlan = tag[0] & bpf_htons(0xfff);
		}
		return;
	}
	if (l3 > 14) {
		flow->tags = 1;
		flow->vlan = tag[0] & bpf_htons(0xfff);
	}
	if (l3 > 18) {
		flow->tags = 2;
		flow->cvlan = tag[2] & bpf_htons(0xfff);
	}
}

/* Makes a flow that of the packets which answer it. */
static __always_inline void turn(struct flow *flow)
{
	swap(flow->source, flow->dest, sizeof(flow->source));
	swap(&flow->source_port, &flow->dest_port, sizeof(flow->source_port));
	switch (flow->message) { /* the types that answer each other */
	case 0x100:
	case 0x108:
		flow->message ^= 0 ^ 8;
		break;
	case 0x10d:
	case 0x10e:
		flow->message ^= 13 ^ 14;
		break;
	case 0x180:
	case 0x181:
		flow->message ^= 128 ^ 129;
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

/* Makes a flow of answers, as answers() has left it, what it was before; it is 0 if there is none. */
static __noinline int was_answered(struct flow *flow, __u32 rule)
{
	const struct tracked *left, *tracked;

	turn(flow);
	flow->tags |= AS_IT_ARRIVED;
	left = bpf_map_lookup_elem(&repacket_flows, flow);
	if (!left)
		return 0;
	flow->tags &= ~AS_IT_ARRIVED;
	tracked = bpf_map_lookup_elem(&repacket_flows, &left->flow);
	if (!tracked || tracked->rule != rule || !same(&tracked->flow, flow, sizeof(*flow)))
		return 0; /* it looks like another flow by now */
	*flow = left->flow;
	turn(flow);
	return 1;
}

/* ICMP packets. */
static __always_inline int icmp_packet(struct __sk_buff *ctx, __u32 l3, __u32 l4_offset,
				       struct ip_header *ip, struct icmp_header *icmp)
{
	/* if icmp then swap ip icmp_id 7 replies tracked */
	if (icmp->type == 0 || icmp->type == 8 || (icmp->type >= 13 && icmp->type <= 14)) {
		struct scratch *flows = scratch();

		if (!flows)
			return TC_ACT_UNSPEC;
		flows->now.rule = 0;
		flow_ip(&flows->now.flow, ip);
		flow_vlans(ctx, l3, &flows->now.flow);
		int belongs = flow_message(ctx, &flows->now.flow, PROTOCOL_ICMP, icmp);

		flows->left = flows->now;
		swap(&flows->left.flow.source[0], &flows->left.flow.dest[0], 4);
		flows->left.flow.identifier = bpf_htons(7);

		__u64 own = 7 + minus(bpf_ntohs(icmp->id));

		if (belongs && !track(flows)) /* it would look like another client's */
			return TC_ACT_UNSPEC;

		swap(&ip->src, &ip->dest, 4);
		icmp->id = bpf_htons(7);
		/* icmp_check follows icmp_id */
		replace(ctx, l4_offset + 2, own, 0);
		count(ctx, 0);
		return TC_ACT_UNSPEC;
	}

	return TC_ACT_UNSPEC;
}

/* ICMP packets that quote ICMP. */
static __always_inline int icmp_packet_quoting_icmp(struct __sk_buff *ctx, __u32 l3,
						    struct ip_header *ip,
						    struct ip_header *quoted_ip,
						    struct icmp_header *quoted_icmp)
{
	/* if icmp then swap ip icmp_id 7 replies tracked */
	if (quoted_icmp->type == 0 ||
	    quoted_icmp->type == 8 ||
	    (quoted_icmp->type >= 13 && quoted_icmp->type <= 14)) {
		struct scratch *flows = scratch();

		if (!flows)
			return TC_ACT_UNSPEC;
		flow_ip(&flows->left.flow, quoted_ip);
		flow_vlans(ctx, l3, &flows->left.flow);
		if (flow_message(ctx, &flows->left.flow, PROTOCOL_ICMP, quoted_icmp) &&
				    was_answered(&flows->left.flow, 0)) {
			__u32 new_quoted_icmp_id = bpf_ntohs(flows->left.flow.identifier);
			__u32 new_quoted_ip_dest = bpf_ntohl(flows->left.flow.dest[0]);
			__u32 new_ip_src = bpf_ntohl(ip->src) == bpf_ntohl(quoted_ip->dest) ?
				bpf_ntohl(flows->left.flow.dest[0]) :
				bpf_ntohl(ip->src);
			__u32 new_quoted_ip_src = bpf_ntohl(flows->left.flow.source[0]);
			__u32 new_ip_dest = bpf_ntohl(ip->dest) == bpf_ntohl(quoted_ip->src) ?
				bpf_ntohl(flows->left.flow.source[0]) :
				bpf_ntohl(ip->dest);

			/* ip_check follows ip_src, ip_dest */
			ip->check = adjusted(ip->check, new_ip_src + minus(bpf_ntohl(ip->src)) +
							new_ip_dest + minus(bpf_ntohl(ip->dest)));
			/* quoted_ip_check follows quoted_ip_dest, quoted_ip_src */
			quoted_ip->check = adjusted(quoted_ip->check, new_quoted_ip_dest +
								      minus(bpf_ntohl(quoted_ip->dest)) +
								      new_quoted_ip_src +
								      minus(bpf_ntohl(quoted_ip->src)));
			/* quoted_icmp_check follows quoted_icmp_id */
			quoted_icmp->check = adjusted(quoted_icmp->check, new_quoted_icmp_id +
									  minus(bpf_ntohs(quoted_icmp->id)));
			quoted_icmp->id = bpf_htons(new_quoted_icmp_id);
			quoted_ip->dest = bpf_htonl(new_quoted_ip_dest);
			ip->src = bpf_htonl(new_ip_src);
			quoted_ip->src = bpf_htonl(new_quoted_ip_src);
			ip->dest = bpf_htonl(new_ip_dest);
			count(ctx, 0);
			return TC_ACT_UNSPEC;
		}
	}

	return TC_ACT_UNSPEC;
}

/* IPv4 packets, by what they carry. */
static __always_inline int over_ip(struct __sk_buff *ctx, void *end, __u32 l3,
				   struct ip_header *ip)
{
	void *l4 = (void *)ip + header_length(ip);

	if (carries(ip, l4, end, PROTOCOL_ICMP, sizeof(struct icmp_header))) {
		__u32 room = extent(ip) - header_length(ip);

		if (quotes(l4, room, end)) {
			struct ip_header *quoted = l4 + 8;
			void *quoted_l4 = (void *)quoted + header_length(quoted);

			if (quotes_header(quoted, quoted_l4, room, end, PROTOCOL_ICMP, 8))
				return icmp_packet_quoting_icmp(ctx, l3, ip, quoted, quoted_l4);
			return TC_ACT_UNSPEC;
		}
		return icmp_packet(ctx, l3, l3 + header_length(ip), ip, l4);
	}
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
