// if all then ip_ttl 64
#include "xdp.h"

SEC("xdp") int ttl(struct xdp_md *ctx)
{
	struct eth *eth = find_ip(ctx, 0);
	struct ip *ip;

	if (!eth)
		return XDP_PASS;
	ip = ip_of(eth);
	if (ip->ttl != 64) {
		ip->check = ~folded((u16)~ip->check + 0xffff + 64 - ip->ttl);
		ip->ttl = 64;
	}
	return rewritten(ctx);
}
