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

/* One of so many numbers from 0 on, at most 2^32. */
static __always_inline __u32 chosen(__u32 drawn, __u64 many)
{
	return drawn * many >> 32;
}
