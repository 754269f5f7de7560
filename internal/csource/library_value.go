package csource

// drawFunctions are where random numbers come from.
var drawFunctions = []function{
	{name: draw, text: `
{RANDOM}/* The random number at a place: no packet asks for one twice. */
{DRAWS}/* The random number at a place, as handed in. */
static __always_inline __u32 draw(__u32 place)
{
{RANDOM}	(void)place;
{RANDOM}	return bpf_get_prandom_u32();
{DRAWS}	__u32 zero = 0;
{DRAWS}	struct draws *draws = bpf_map_lookup_elem(&repacket_draws, &zero);
{DRAWS}
{DRAWS}	return draws ? draws->number[place] : 0;
}
`},
	{name: chosen, text: `
/* One of so many numbers from 0 on, at most 2^32. */
static __always_inline __u32 chosen(__u32 drawn, __u64 many)
{
	return drawn * many >> 32;
}
`},
}

// valueFunctions work out new values.
var valueFunctions = []function{
	{name: raised, text: `
/* So much more, but not above the highest. */
static __always_inline __u64 raised(__u64 value, __u64 by, __u64 highest)
{
	return value + by < highest ? value + by : highest;
}
`},
	{name: lowered, text: `
/* So much less, but not below 0. */
static __always_inline __u64 lowered(__u64 value, __u64 by)
{
	return value > by ? value - by : 0;
}
`},
	{name: atLeast, text: `
static __always_inline __u64 at_least(__u64 value, __u64 lowest)
{
	return value > lowest ? value : lowest;
}
`},
	{name: atMost, text: `
static __always_inline __u64 at_most(__u64 value, __u64 highest)
{
	return value < highest ? value : highest;
}
`},
	{name: number48, text: `
/* The number that an Ethernet address is. */
static __always_inline __u64 number48(const void *address)
{
	typedef const __be16 __attribute__((may_alias)) word;
	word *a = address;

	return (__u64)bpf_ntohs(a[0]) << 32 | (__u32)bpf_ntohs(a[1]) << 16 | bpf_ntohs(a[2]);
}
`},
	{name: value6, text: `
/* A number of 128 bits, as an IPv6 address is one. */
static __always_inline __uint128_t value6(__u64 high, __u64 low)
{
	return (__uint128_t)high << 64 | low;
}
`},
	{name: number6, needs: []snippet{value6}, text: `
/* The number that an IPv6 address is. */
static __always_inline __uint128_t number6(const __be32 *address)
{
	return value6((__u64)bpf_ntohl(address[0]) << 32 | bpf_ntohl(address[1]),
		      (__u64)bpf_ntohl(address[2]) << 32 | bpf_ntohl(address[3]));
}
`},
	{name: raised6, text: `
/* So much more, but not above the highest address. */
static __always_inline __uint128_t raised6(__uint128_t value, __u64 by)
{
	return value + by < value ? ~(__uint128_t)0 : value + by;
}
`},
	{name: lowered6, text: `
/* So much less, but not below 0. */
static __always_inline __uint128_t lowered6(__uint128_t value, __u64 by)
{
	return value > by ? value - by : 0;
}
`},
	{name: atLeast6, text: `
static __always_inline __uint128_t at_least6(__uint128_t value, __uint128_t lowest)
{
	return value > lowest ? value : lowest;
}
`},
	{name: atMost6, text: `
static __always_inline __uint128_t at_most6(__uint128_t value, __uint128_t highest)
{
	return value < highest ? value : highest;
}
`},
}
