// if ip_src 10.0.0.0/8 then ip_dscp af31
#include "xdp.h"

enum { AF31 = 26 << 2, ECN = 3 };

SEC("xdp") int source(struct xdp_md *ctx)
{
	struct eth *eth = find_ip(ctx, 0);
	struct ip *ip;
	u32 old;

	if (!eth)
		return XDP_PASS;
	ip = ip_of(eth);
	if ((ip->src & be32(0xff000000)) != be32(0x0a000000))
		return XDP_PASS;
	old = ip->tos & ~ECN;
	if (old != AF31) {
		// (AF31 - old) * 256 is the change of the first word, in the order of memory
		ip->check = ~folded((u16)~ip->check + 0xffff + ((AF31 - old) << 8));
		ip->tos = (ip->tos & ECN) | AF31;
	}
	return rewritten(ctx);
}
