/*
 * Whether a checksum is right with the pseudo-header and wrong without. VRRPv3 over IPv4
 * has one by RFC 5798, and none by RFC 9568 section 5.2.8. Its message has at most 255
 * addresses.
 */
static __always_inline int shows_pseudo_header(struct xdp_md *ctx, __u32 l3, const struct ip_header *ip)
{
	__u32 length = datagram_length(ip), sum;

	if (!whole_datagram(ctx, l3, ip) || length > 8 + 255 * 4)
		return 0;
	sum = fold(sum_bytes(ctx, l3 + header_length(ip), length));
	return sum != 0xffff && fold(sum + pseudo_header(ip)) == 0xffff;
}

/*
 * How far the checksum of a protocol without fields of its own is from the header, if
 * that checksum covers the addresses; 0 if there is none. That it lies in the frame
 * the caller checks.
 */
static __always_inline __u32 other_check(struct xdp_md *ctx, __u32 l3, const struct ip_header *ip,
					 const __u8 *l4, const void *end)
{
	__u32 at;

	if (ip->ver_hl >> 4 != 4 || header_length(ip) < sizeof(*ip) || ip->flags_offset & bpf_htons(IP_OFFSET))
		return 0;
	switch (ip->protocol) {
	case 27: /* RDP version 2, RFC 1151 */
		at = 16;
		break;
	case 33: /* DCCP, RFC 4340 */
	case 112: /* VRRPv3 */
	case 136: /* UDP-Lite, RFC 3828 */
		at = 6;
		break;
	case 89: /* OSPFv3, RFC 7949 */
		at = 12;
		break;
	case 139: /* HIP, RFC 7401 */
		at = 4;
		break;
	default:
		return 0;
	}
	if (header_length(ip) + (at < 6 ? 8 : at + 2) > extent(ip))
		return 0;
	if (ip->protocol == 27 && ((const void *)l4 + 18 > end || (l4[0] & 3) != 2))
		return 0;
	if (ip->protocol == 89 && ((const void *)l4 + 14 > end || l4[0] != 3))
		return 0;
	if (ip->protocol == 112 && ((const void *)l4 + 8 > end || l4[0] != 0x31 || !shows_pseudo_header(ctx, l3, ip)))
		return 0;
	if (ip->protocol == 136 && ((const void *)l4 + 8 > end || (!l4[6] && !l4[7]))) /* no checksum */
		return 0;
	return at;
}
/*
 * How far the checksum of a protocol without fields of its own is from the header, if
 * that checksum covers the addresses; 0 if there is none. That it lies in the frame
 * the caller checks.
 */
static __always_inline __u32 other_check6(const struct ip6_header *ip6, __u32 way, const __u8 *l4,
					  const void *end)
{
	__u32 at, protocol = way >> 16 & 0xff;

	switch (protocol) {
	case 33: /* DCCP, RFC 4340 */
	case 112: /* VRRPv3, RFC 9568 */
	case 136: /* UDP-Lite, RFC 3828 */
		at = 6;
		break;
	case 89: /* OSPFv3, RFC 5340 */
		at = 12;
		break;
	case 103: /* PIM, RFC 7761 */
		at = 2;
		break;
	case 135: /* mobility header, RFC 6275 */
	case 139: /* HIP, RFC 7401 */
		at = 4;
		break;
	default:
		return 0;
	}
	if (way_offset(way) + (at < 6 ? 8 : at + 2) > extent6(ip6))
		return 0;
	if (protocol == 136 && ((const void *)l4 + 8 > end || (!l4[6] && !l4[7]))) /* no checksum */
		return 0;
	return at;
}
