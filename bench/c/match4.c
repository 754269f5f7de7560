// if ip_src 10.1.2.3 ip_dest 10.9.8.7 udp_src 1000 udp_dest 443 then ip_dscp ef
#include "xdp.h"

enum { EF = 46 << 2, ECN = 3 };

SEC("xdp") int match4(struct xdp_md *ctx)
{
	struct eth *eth = find_ip(ctx, sizeof(struct udp));
	struct udp *udp;
	struct ip *ip;
	u32 old;

	if (!eth)
		return XDP_PASS;
	ip = ip_of(eth);
	if (ip->src != be32(0x0a010203) || ip->dest != be32(0x0a090807))
		return XDP_PASS;
	udp = find_udp(ctx, eth);
	if (!udp || udp->src != be16(1000) || udp->dest != be16(443))
		return XDP_PASS;
	old = ip->tos & ~ECN;
	if (old != EF) {
		ip->check = ~folded((u16)~ip->check + 0xffff + ((EF - old) << 8));
		ip->tos = (ip->tos & ECN) | EF;
	}
	return rewritten(ctx);
}
