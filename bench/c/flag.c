// if ip tcp_syn on then tcp_ece on
#include "xdp.h"

enum { SYN = 0x02, ECE = 0x40 };

SEC("xdp") int flag(struct xdp_md *ctx)
{
	struct eth *eth = find_ip(ctx, sizeof(struct tcp));
	struct tcp *tcp;

	if (!eth)
		return XDP_PASS;
	tcp = find_tcp(ctx, eth);
	if (!tcp || !(tcp->flags & SYN))
		return XDP_PASS;
	if (!(tcp->flags & ECE)) {
		u32 sum = (u16)~tcp->check + (ECE << 8);

		tcp->check = ~(sum + (sum >> 16)); // two words: one carry at most
		tcp->flags |= ECE;
	}
	return rewritten(ctx);
}
