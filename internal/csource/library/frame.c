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

/* Whether this is a GSO packet, which will be segmented. */
static __always_inline int is_gso(struct __sk_buff *ctx)
{
	barrier_var(ctx); /* as in tag_offloaded() */
	return ctx->gso_size;
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
static __always_inline __u32 behind_tags(const void *data, const void *end{TC}, int most{})
{
	__u32 at = 14; /* two addresses, type */

	if (data + at > end)
		return 0;
#pragma unroll
	for (int tags = 0; tags < 2; tags++) {
		const __be16 *type = data + at - sizeof(*type);

{TC}		if (tags >= most)
{TC}			break;
		if (!is_tag(*type, data + at, end))
			break;
		at += 4;
	}
	return at;
}

/* Whether a packet begins with an IP header of that version and size. */
static __always_inline int begins(const void *data, const void *end, __u8 version, __u32 size)
{
	return data + size <= end && *(const __u8 *)data >> 4 == version;
}

/* Whether ARP is there and speaks of Ethernet and IPv4 addresses (RFC 826). */
static __always_inline int is_arp(const struct arp_header *arp, const void *end)
{
	const __u8 *is = arp->bytes_0;

	return (const void *)(arp + 1) <= end && is[0] == 0 && is[1] == 1 && is[2] == 8 && is[3] == 0 &&
	       is[4] == 6 && is[5] == 4;
}
