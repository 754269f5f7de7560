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

static __always_inline void count(struct xdp_md *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
{TC}		counter->packets += ctx->gso_segs ? ctx->gso_segs : 1;
{TC}		counter->bytes += bpf_xdp_get_buff_len(ctx) + (tag_offloaded(ctx) ? 4 : 0);
{XDP}		counter->packets++;
{XDP}		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
}
