/*
 * The distance of the option MSS from the TCP header at offset l4, whose
 * datagram ends at limit; 0 if there is none. It is not static, so that the
 * verifier looks at it once and not at every call.
 */
__noinline __u32 find_mss(struct xdp_md *ctx, __u32 l4, __u32 limit)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct tcp_header *tcp;
	__u32 length, next = 0;

	if (l4 > 0x7fff)
		return 0;
	tcp = data + l4;
	if ((void *)(tcp + 1) > end)
		return 0;
	length = (tcp->hlen_res_nonce >> 4) * 4;
	if (l4 + length > limit || (void *)tcp + length > end)
		return 0;
	for (__u32 at = sizeof(*tcp); at + sizeof(struct mss_option) <= 15 * 4; at++) {
		__u8 *option = (void *)tcp + at;

		if (at + sizeof(struct mss_option) > length || (void *)option + sizeof(struct mss_option) > end)
			return 0;
		if (at < next || option[0] == 1) /* inside an option, or no operation */
			continue;
		if (option[0] == 2 && option[1] == sizeof(struct mss_option))
			return at;
		if (option[0] == 0 || option[1] < 2) /* the end of them, or nonsense */
			return 0;
		next = at + option[1];
	}
	return 0;
}
