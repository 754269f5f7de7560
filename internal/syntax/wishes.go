package syntax

import "sync"

// repliesElsewhere are words of other tools for what replies does.
const repliesElsewhere = "binat bimap binatted conntrack ct connection keep stateful statefully nat track tracking reply both_ways bothways both_directions bidirectional bidirectionally two_way twoway backward backwards reverse return_path inverse symmetric"

// meansReplies are the words of repliesElsewhere.
var meansReplies = wordSet(repliesElsewhere)

// wishes are words for what Repacket does not do, or does not say in rules, and the tool or
// the flag that does.
var wishes = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for _, w := range []struct{ words, tool string }{
		{"log nflog ulog print trace dump show sniff capture", "packets are counted, not logged: tcpdump -i IFACE shows them, and nft has log"},
		{"mirror tee dup duplicate clone copy span", "packets are not copied: tc can, with its action mirred egress mirror dev OTHER"},
		{"mark fwmark connmark setmark priority classid skb_mark queue", "marks are not in packets: nft sets them with meta mark, tc with its action skbedit"},
		{"delay latency jitter slow netem wait", "packets are not delayed: tc qdisc add dev IFACE root netem delay 100ms"},
		{"reorder", "packets are not reordered: tc qdisc add dev IFACE root netem delay 10ms reorder 25%"},
		{"rate ratelimit police shape throttle bandwidth burst hashlimit quota kbit mbit bps pps limit", "there is no limit of a rate: tc has tbf for packets that leave and police for those that arrive; for a number of packets there is the flag -c"},
		{"state established related invalid ctstate", "rules know no connections: nft has ct state"},
		{"masquerade masq", "an address is set by its field; nft has masquerade, which looks it up"},
		{repliesElsewhere, "rules know no connections: replies, behind the actions, gives what answers a rule its old values back; for all else nft has ct"},
		{"uid owner skuid user process pid cgroup skgid", "packets do not say which process they are of: nft has meta skuid and socket cgroupv2"},
		{"payload string content data bpf u32 regex body", "payload is neither matched nor changed: nft has @th and iptables -m string"},
		{"encap decap push pop tunnel vxlan strip", "headers are neither added nor removed: tc can, with its actions vlan push, vlan pop and tunnel_key"},
		{"count counter stats statistics", "each rule counts its packets, without a word for it: the summary of a run and repacket list tell"},
		{"for duration seconds minutes timeout", "how long rules act is said by the flag --for, as in --for 30s"},
		{"input ingress incoming inbound prerouting", "rules act on packets that arrive: this is the default, -Q in"},
		{"output egress outgoing outbound postrouting", "for packets that leave there is the flag -Q out"},
		{"file infile pcap outfile", "rules work on live packets; the flag -f names a file of rules"},
		{"hook xdp", "where rules are attached is said by the flag --hook"},
	} {
		for word := range wordSet(w.words) {
			out[word] = w.tool
		}
	}
	return out
})
