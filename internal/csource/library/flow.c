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

/* The same behind an IPv6 header. */
static __noinline void flow_ip6(struct flow *flow, const struct ip6_header *ip6)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		flow->source[i] = ip6->src[i];
		flow->dest[i] = ip6->dest[i];
	}
	flow->protocol = ip6->next;
	flow->ip6 = 1;
}

static __always_inline void flow_ports(struct flow *flow, __u8 protocol, __be16 source, __be16 dest)
{
	flow->protocol = protocol;
	flow->source_port = source;
	flow->dest_port = dest;
}

/*
 * The same for an echo or a timestamp message (RFC 792, RFC 4443): the identifier. It is 0
 * for others, which belong to no flow.
 */
static __always_inline int flow_message(struct xdp_md *ctx, struct flow *flow, __u8 protocol,
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
static __noinline void flow_vlans(struct xdp_md *ctx, __u32 l3, struct flow *flow)
{
	const __be16 *tag;

	barrier_var(ctx); /* or clang adds up where its data is, which the verifier rejects */
	tag = (void *)(long)ctx->data + 14; /* the next one is 4 bytes on */
	if ((void *)(tag + 3) > (void *)(long)ctx->data_end)
		return;
{TC}	if (tag_offloaded(ctx)) {
{TC}		flow->tags = 1;
{TC}		flow->vlan = bpf_htons(ctx->vlan_tci & 0xfff);
{TC}		if (l3 > 14) {
{TC}			flow->tags = 2;
{TC}			flow->cvlan = tag[0] & bpf_htons(0xfff);
{TC}		}
{TC}		return;
{TC}	}
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

/* Makes a flow, as it left behind a rule, what it was before; it is 0 if the rule tracked none. */
static __noinline int restore(struct flow *flow, __u32 rule)
{
	const struct tracked *tracked = bpf_map_lookup_elem(&repacket_flows, flow);

	if (!tracked || tracked->rule != rule)
		return 0;
	*flow = tracked->flow;
	return 1;
}

/* The same for a flow of packets that answer one which a rule tracked. */
static __noinline int answers(struct flow *flow, __u32 rule)
{
	turn(flow);
	if (!restore(flow, rule))
		return 0;
	turn(flow);
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
