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

/* Whether an ICMPv6 message is an error that quotes an IPv6 packet (RFC 4443). */
static __always_inline int quotes6(const __u8 *message, __u32 room, const void *end)
{
	return 8 + sizeof(struct ip6_header) <= room &&
	       (const void *)message + 8 + sizeof(struct ip6_header) <= end && message[0] >= 1 &&
	       message[0] <= 4 && message[8] >> 4 == 6;
}

/* The same for IPv6, of which no extension header is stepped over. */
static __always_inline int quotes_header6(const struct ip6_header *quoted, const void *l4, __u32 room,
					  const void *end, __u8 protocol, __u32 fixed)
{
	return quoted->next == protocol && sizeof(*quoted) + fixed <= extent6(quoted) &&
	       8 + sizeof(*quoted) + 8 <= room && l4 + 8 <= end;
}
