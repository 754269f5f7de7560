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
 * What an IPv6 address adds to a sum that stands where another one was. It is no part of its
 * callers, which else keep every word of all their addresses on the stack.
 */
static __noinline __u64 readdressed(const __be32 *now, const __be32 *was)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += bpf_ntohl(now[i]) + minus(bpf_ntohl(was[i]));
	return sum;
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

/* UDP: 0 means that there is no checksum, so 0 is sent as 0xffff (RFC 768). */
static __always_inline __be16 nonzero(__be16 check)
{
	return check ? check : 0xffff;
}

static __always_inline __be16 adjusted_udp(__be16 check, __u64 change)
{
	return check ? nonzero(adjusted(check, change)) : 0;
}

static __always_inline __be16 adjusted_other(__be16 check, int never_zero, __u64 change)
{
	check = adjusted(check, change);
	return never_zero ? nonzero(check) : check;
}

/*
 * The sum of bytes of the packet, which may lie in several buffers. That they
 * are in the frame the caller knows. It is not static, so that the verifier
 * looks at it once and not at every call.
 */
__noinline __u32 sum_bytes(struct xdp_md *ctx, __u64 offset, __u64 length)
{
	__be32 chunk[32] = {}; /* the stack is 512 bytes, for all that call each other */
	__u32 sum = 0;

	for (int i = 0; i < 511 && length >= sizeof(chunk); i++) {
		if (bpf_xdp_load_bytes(ctx, offset, chunk, sizeof(chunk)))
			return 0;
		sum = bpf_csum_diff(0, 0, chunk, sizeof(chunk), sum);
		offset += sizeof(chunk);
		length -= sizeof(chunk);
	}
	if (length == 0)
		return sum;
	__builtin_memset(chunk, 0, sizeof(chunk));
	barrier_var(length); /* or clang leaves out the mask, which the verifier needs */
	if (bpf_xdp_load_bytes(ctx, offset, chunk, ((length - 1) & (sizeof(chunk) - 1)) + 1))
		return 0;
	return bpf_csum_diff(0, 0, chunk, sizeof(chunk), sum);
}

/* The pseudo-header of TCP and UDP (RFC 9293 section 3.1, RFC 768). */
static __always_inline __u64 pseudo_header(const struct ip_header *ip)
{
	return (__u64)ip->src + ip->dest + bpf_htons(ip->protocol) + bpf_htons(datagram_length(ip));
}

/* The pseudo-header over IPv6 (RFC 8200 section 8.1). */
static __always_inline __u64 pseudo_header6(const struct ip6_header *ip6, __u8 protocol, __u16 length)
{
	__u64 sum = bpf_htons(protocol) + bpf_htons(length);

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)ip6->src[i] + ip6->dest[i];
	return sum;
}

/* What the last hop of a source route is more than the destination for which it stands. */
static __always_inline __u64 stand_in(struct xdp_md *ctx, __u32 l3, __u32 elsewhere,
				      const struct ip_header *ip)
{
	return elsewhere ? minus(ip->dest) + sum_bytes(ctx, l3 + elsewhere, sizeof(ip->dest)) : 0;
}

/* What a home address is more than the source for which it stands. */
static __always_inline __u64 stand_in6(struct xdp_md *ctx, __u32 l3, __u32 elsewhere,
				       const struct ip6_header *ip6)
{
	const __be32 *src = ip6->src;

	return elsewhere ? minus(src[0]) + minus(src[1]) + minus(src[2]) + minus(src[3]) +
				   sum_bytes(ctx, l3 + elsewhere, sizeof(ip6->src)) : 0;
}

/* The checksum that makes a sum 0. */
static __always_inline __be16 checksum(__u64 sum)
{
	__u32 check = 0xffff - fold(sum);

	return check == 0xffff ? 0 : check;
}

/* Wrong by one, and never 0. */
static __always_inline __be16 wrong(__be16 check)
{
	return check == 0xffff ? bpf_htons(1) : bpf_htons(bpf_ntohs(check) + 1);
}
