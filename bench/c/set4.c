// if ip_src 10.1.2.3 udp_src 1000 then ip_dscp ef ip_ttl 64 ip_dest 10.9.8.6 udp_dest 5202
#include "xdp.h"

enum { EF = 46 << 2, ECN = 3, TTL = 64, DEST = be32(0x0a090806), PORT = be16(5202) };

SEC("xdp") int set4(struct xdp_md *ctx)
{
	struct eth *eth = find_ip(ctx, sizeof(struct udp));
	struct udp *udp;
	struct ip *ip;
	u32 tos, dest, address, change;

	if (!eth)
		return XDP_PASS;
	ip = ip_of(eth);
	if (ip->src != be32(0x0a010203))
		return XDP_PASS;
	udp = find_udp(ctx, eth);
	if (!udp || udp->src != be16(1000))
		return XDP_PASS;

	// What the address changes in both sums; 0xffff, which is 0 there, is
	// added wherever a difference could come out below 0.
	tos = ip->tos;
	dest = ip->dest;
	address = 2 * 0xffff + (DEST & 0xffff) + (DEST >> 16) - (dest & 0xffff) - (dest >> 16);
	if (udp->check) {
		udp->check = folded(udp->check + 4 * 0xffff - address + 0xffff + udp->dest - PORT);
	}
	change = folded(address + 0xffff + ((EF - (tos & ~ECN)) << 8) + 0xffff + TTL - ip->ttl);
	if (change != 0xffff) {
		ip->check = ~folded((u16)~ip->check + change);
	}
	ip->tos = (tos & ECN) | EF;
	ip->ttl = TTL;
	ip->dest = DEST;
	udp->dest = PORT;
	return rewritten(ctx);
}
