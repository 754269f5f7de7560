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

/* The length of what the IPv4 header carries. */
static __always_inline __u16 datagram_length(const struct ip_header *ip)
{
	return bpf_ntohs(ip->tot_len) - header_length(ip);
}

/* Whether the datagram is all here; that it is no later fragment is known. */
static __always_inline int whole_datagram(struct xdp_md *ctx, __u32 l3, const struct ip_header *ip)
{
	return !(ip->flags_offset & bpf_htons(IP_FLAG_MF)) && ip->tot_len &&
	       l3 + bpf_ntohs(ip->tot_len) <= bpf_xdp_get_buff_len(ctx);
}
