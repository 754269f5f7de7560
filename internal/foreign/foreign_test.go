package foreign

import (
	"strings"
	"testing"
)

// lines are of other tools, and what they say; without rules it is who does it.
var lines = []struct {
	typed string
	want  Line
}{
	{"iptables -t nat -A PREROUTING -i eth1 -p udp --dport 443 -j REDIRECT --to-ports 8080", Line{"iptables", "if udp_dest 443 then udp_dest 8080", "eth1", false, true, noConnections}},
	{"-p tcp ! --dport 22 -j DROP", Line{"iptables", "if tcp_dest ne 22 then drop", "", false, false, ""}},
	{"iptables -A OUTPUT -d 2001:db8::1 -j DROP", Line{"iptables", "if ip6_dest 2001:db8::1 then drop", "", true, false, ""}},
	{"iptables -A INPUT -j DROP", Line{Tool: "iptables"}}, // whether for all packets, it does not say
	{"iptables -A INPUT -j MYCHAIN", Line{Tool: "iptables", Note: noJump}},
	{"iptables -A INPUT -m nosuch --nosuch 5 -j DROP", Line{Tool: "iptables"}},
	{"nft add rule inet t prerouting ip6 daddr 2001:db8::1 tcp dport 80 dnat ip6 to [2001:db8::2]:8080", Line{"nft", "if ip6_daddr 2001:db8::1 tcp_dport 80 then ip6_dest 2001:db8::2 tcp_dest 8080", "", false, true, noConnections}},
	{"nft add rule inet t c tcp flags & (syn|ack) == syn drop", Line{Tool: "nft", Note: "each flag is a field of its own, such as tcp_syn, which is on or off"}},
	{"nft add table inet t", Line{Tool: "nft", Note: "only rules are read here, not tables, chains and sets"}},
	{"nft add rule ip t c ip saddr @blocked drop", Line{Tool: "nft", Note: "a named set is a column here: @NAME, and from FILE at the end of the rule"}},
	{"tc filter add dev eth1 ingress matchall action drop", Line{"tc", "if all then drop", "eth1", false, false, ""}},
	{"tc qdisc add dev eth1 root netem loss 1% delay 10ms", Line{Tool: "tc", Interface: "eth1", Out: true, Note: noDelay}},
	{"tc filter add dev eth1 ingress flower ip_proto tcp dst_port 80 action vlan push id 5", Line{Tool: "tc", Interface: "eth1", Note: noHeaders}},
	{"tc filter add dev eth1 egress matchall action pedit ex munge ip ttl add 255", Line{"tc", "if all then ip_ttl -1", "eth1", true, false, ""}},
	{"tcprewrite --portmap=80:8080 --ttl=64", Line{"tcprewrite", "if dport 80 then dport 8080 ip_ttl 64 else if sport 80 then sport 8080 ip_ttl 64 else ip_ttl 64", "", false, false, "tcprewrite changes files, Repacket live packets"}},
	{"tcp,nw_dst=10.0.0.1,actions=set_field:10.0.0.2->ip_dst,normal", Line{"ovs-ofctl", "if tcp ip_dest 10.0.0.1 then ip_dest 10.0.0.2", "", false, false, ""}},
	{"tcpdump -nni eth1 -c 5 udp port 53", Line{"tcpdump", "if udp port 53", "eth1", false, false, ""}},
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	for _, l := range lines {
		got, ok := Recognise(strings.Fields(l.typed))
		if !ok || got != l.want {
			t.Errorf("%s\n is %+v\nwant %+v", l.typed, got, l.want)
		}
	}
}

// TestRulesAreNone: what is a line of Repacket is none of another tool.
func TestRulesAreNone(t *testing.T) {
	t.Parallel()
	for _, typed := range []string{
		"", "if udp", "-i eth1 if udp then ttl 5", "-j if udp", "-c 10 if tcp_syn on", "-f rules.txt", "-d -i eth1", "-i eth1 -Q out -v -q if udp then ttl 5",
		"tcp: if tcp then ttl 5", "nft", "meta", "add rule", "if udp then redirect tc", "-o out.o --emit object if udp",
	} {
		if l, ok := Recognise(strings.Fields(typed)); ok && l.Tool != typed {
			t.Errorf("%s: is a line of %s", typed, l.Tool)
		}
	}
}

// FuzzRecognise: no line takes for ever or panics, and what is written has no verdict that is
// not in it.
func FuzzRecognise(f *testing.F) {
	for _, l := range lines {
		f.Add(l.typed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		l, ok := Recognise(strings.Fields(typed))
		if !ok || l.Tool == "tcpdump" || l.Tool == "tshark" {
			return
		}
		said := strings.ToLower(typed)
		if strings.Contains(" "+l.Rules+" ", " drop ") && !strings.Contains(said, "drop") && !strings.Contains(said, "reject") && !strings.Contains(said, "loss") && !strings.Contains(said, "shot") {
			t.Errorf("%q: nobody asked for drop: %q", typed, l.Rules)
		}
	})
}
