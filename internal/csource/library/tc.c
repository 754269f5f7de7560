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
 * 0xffff and 0 are one number to a checksum. One of 0xffff that two changes
 * leave at 0 has changed by nothing in all, and keeps its bytes.
 */
static __always_inline void keep_ones(struct __sk_buff *ctx, __u32 offset, __be16 was)
{
	__be16 now = 0;

	if (was != 0xffff)
		return;
	bpf_skb_load_bytes(ctx, offset, &now, sizeof(now));
	if (now == 0)
		bpf_skb_store_bytes(ctx, offset, &was, sizeof(was), 0);
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

/* Rewrites the outer VLAN tag, which is offloaded or in the packet. */
static __always_inline void retag(struct __sk_buff *ctx, __be16 tci)
{
	__be16 type = ctx->vlan_proto;

	if (!tag_offloaded(ctx))
		bpf_skb_store_bytes(ctx, 14, &tci, sizeof(tci), 0);
	else if (!bpf_skb_vlan_pop(ctx))
		bpf_skb_vlan_push(ctx, type, bpf_ntohs(tci));
}
