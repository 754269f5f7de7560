/* So much more, but not above the highest. */
static __always_inline __u64 raised(__u64 value, __u64 by, __u64 highest)
{
	return value + by < highest ? value + by : highest;
}

/* So much less, but not below 0. */
static __always_inline __u64 lowered(__u64 value, __u64 by)
{
	return value > by ? value - by : 0;
}

static __always_inline __u64 at_least(__u64 value, __u64 lowest)
{
	return value > lowest ? value : lowest;
}

static __always_inline __u64 at_most(__u64 value, __u64 highest)
{
	return value < highest ? value : highest;
}

/* Takes a word into the hash of a flow. */
static __always_inline __u64 flow_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15;
	return hash ^ hash >> 32;
}

/* The hash of a flow: the same for all of its packets. Fragments have no ports. */
static __always_inline __u64 flow_state(const struct ip_header *ip, __u8 protocol, __u32 ports)
{
	__u64 hash = flow_mix(0, (__u64)bpf_ntohl(ip->src) << 32 | bpf_ntohl(ip->dest));

	return flow_mix(hash, (__u64)ports << 32 | protocol);
}

/* The hash of a flow: the same for all of its packets. Fragments have no ports. */
static __always_inline __u64 flow_state6(const struct ip6_header *ip6, __u8 protocol, __u32 ports)
{
	__u64 hash = 0;

#pragma unroll
	for (int i = 0; i < 4; i += 2)
		hash = flow_mix(hash, (__u64)bpf_ntohl(ip6->src[i]) << 32 | bpf_ntohl(ip6->src[i + 1]));
#pragma unroll
	for (int i = 0; i < 4; i += 2)
		hash = flow_mix(hash, (__u64)bpf_ntohl(ip6->dest[i]) << 32 | bpf_ntohl(ip6->dest[i + 1]));
	return flow_mix(hash, (__u64)ports << 32 | protocol);
}

/* A number of the hash: the state, mixed as MurmurHash3 ends. */
static __always_inline __u32 flow_number(__u64 flow, __u64 number)
{
	flow += number * 0x9e3779b97f4a7c15;
	flow = (flow ^ flow >> 33) * 0xff51afd7ed558ccd;
	flow = (flow ^ flow >> 33) * 0xc4ceb9fe1a85ec53;
	return flow >> 32;
}

/* The number that an Ethernet address is. */
static __always_inline __u64 number48(const void *address)
{
	typedef const __be16 __attribute__((may_alias)) word;
	word *a = address;

	return (__u64)bpf_ntohs(a[0]) << 32 | (__u32)bpf_ntohs(a[1]) << 16 | bpf_ntohs(a[2]);
}

/* A number of 128 bits, as an IPv6 address is one. */
static __always_inline __uint128_t value6(__u64 high, __u64 low)
{
	return (__uint128_t)high << 64 | low;
}

/* The number that an IPv6 address is. */
static __always_inline __uint128_t number6(const __be32 *address)
{
	return value6((__u64)bpf_ntohl(address[0]) << 32 | bpf_ntohl(address[1]),
		      (__u64)bpf_ntohl(address[2]) << 32 | bpf_ntohl(address[3]));
}

/* So much more, but not above the highest address. */
static __always_inline __uint128_t raised6(__uint128_t value, __u64 by)
{
	return value + by < value ? ~(__uint128_t)0 : value + by;
}

/* So much less, but not below 0. */
static __always_inline __uint128_t lowered6(__uint128_t value, __u64 by)
{
	return value > by ? value - by : 0;
}

static __always_inline __uint128_t at_least6(__uint128_t value, __uint128_t lowest)
{
	return value > lowest ? value : lowest;
}

static __always_inline __uint128_t at_most6(__uint128_t value, __uint128_t highest)
{
	return value < highest ? value : highest;
}
