// if ip udp_src 1000 then udp_dest 5202
#include "xdp.h"

SEC("xdp") int port(struct xdp_md *ctx)
{
	struct eth *eth = find_ip(ctx, sizeof(struct udp));
	struct udp *udp;

	if (!eth)
		return XDP_PASS;
	udp = find_udp(ctx, eth);
	if (!udp || udp->src != be16(1000))
		return XDP_PASS;
	if (udp->check) { // the sum itself and not its complement: so it never becomes 0
		udp->check = folded(udp->check + udp->dest + (u16)~be16(5202));
	}
	udp->dest = be16(5202);
	return rewritten(ctx);
}
