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
{WAY_ROUTED}	__u32 routed = 0;
{WAY_MORE}	__u32 more = 0;
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
			return next << 16 | at{WAY_ROUTED} | routed{}{WAY_MORE} | more{};
		if (headers == 8 || at + sizeof(*header) > limit || (void *)(header + 1) > end)
			return NO_WAY;
		if (next == 44) { /* a fragment; only the first one has what follows */
			if (header->bytes[0] || header->bytes[1] & 0xf8)
				return NO_WAY;
{WAY_MORE}			if (header->bytes[1] & 1)
{WAY_MORE}				more = WAY_MORE;
			at += sizeof(*header);
		} else { /* hop-by-hop, routing or destination options */
{WAY_ROUTED}			if (next == 43 && header->bytes[1]) /* segments left */
{WAY_ROUTED}				routed = WAY_ROUTED;
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
