/*
 * One XDP program for these rules, written by repacket. The first rule that matches acts;
 * every packet passes on.
 *
 * 0: if all
 *
 * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c repacket.c -o repacket.o
 * section xdp, map repacket_counts: packets and bytes by rule and CPU
 */

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* What each rule has taken. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counter);
} repacket_counts SEC(".maps");

static __always_inline void count(struct xdp_md *ctx, __u32 rule)
{
	struct counter *counter = bpf_map_lookup_elem(&repacket_counts, &rule);

	if (counter) {
		counter->packets++;
		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
}

SEC("xdp")
int repacket(struct xdp_md *ctx)
{
	/* if all */
	count(ctx, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
