package cli

import (
	"net/netip"
	"strings"
	"testing"

	"repacket/internal/run"
)

// TestNothingMatched: where nothing is known of the interface, the direction is told.
func TestNothingMatched(t *testing.T) {
	t.Parallel()
	f := newFake(t, rewriteWords...)
	f.kernel.count(run.Count{})
	close(f.kernel.done)
	_, _, stderr := f.run()
	wantText(t, "stderr", stderr, "eth1: native XDP\nrewrite 0 pkts in 0.000 s\n"+
		"nothing matched: only packets that come in on eth1 are looked at (-Q out is for those that leave)\n")
}

// TestWhyNothingMatched: a run that has matched nothing says what is known of the packets.
func TestWhyNothingMatched(t *testing.T) {
	t.Parallel()
	live := run.Traffic{Interface: "eth1", Up: true, Carrier: true}
	with := func(change func(*run.Traffic)) run.Traffic {
		traffic := live
		change(&traffic)
		return traffic
	}
	addrs := func(texts ...string) (all []netip.Addr) {
		for _, text := range texts {
			all = append(all, netip.MustParseAddr(text))
		}
		return all
	}
	for name, tt := range map[string]struct {
		direction string
		traffic   run.Traffic
		want      string
	}{
		"down": {"in", with(func(t *run.Traffic) { t.Up, t.Carrier, t.Filters = false, false, true }), `
nothing matched: eth1 is down
  hint: ip link set eth1 up
`},
		"down by now": {"in", with(func(t *run.Traffic) { t.Up, t.Seen = false, 5 }), `
nothing matched: 5 packets came in on eth1, but none that the rules match
  hint: eth1 is down by now: ip link set eth1 up
`},
		"no carrier": {"in", with(func(t *run.Traffic) { t.Carrier, t.Filters = false, true }), `
nothing matched: eth1 has no carrier: there is no cable, or the other end is down
`},
		"nothing at all": {"in", live, `
nothing matched: no packets came in on eth1
  hint: ip -s link shows on which interfaces packets come and go
`},
		"nothing leaves": {"out", live, `
nothing matched: no packets left by eth1
  hint: ip -s link shows on which interfaces packets come and go
`},
		"the other direction": {"in", with(func(t *run.Traffic) { t.Other = 12 }), `
nothing matched: no packets came in on eth1
  hint: 12 packets left by eth1: -Q out is for those that leave
`},
		"the other direction of out": {"out", with(func(t *run.Traffic) { t.Seen, t.Other = 2, 1 }), `
nothing matched: 2 packets left by eth1, but none that the rules match
  hint: 1 packet came in on eth1: -Q in is for those that come in
  hint: --why says which test of a rule fails, and on which packets
  hint: to see them: tcpdump -nei eth1 -Q out
`},
		"other packets": {"in", with(func(t *run.Traffic) { t.Seen = 1 }), `
nothing matched: 1 packet came in on eth1, but none that the rules match
  hint: --why says which test of a rule fails, and on which packets
  hint: to see them: tcpdump -nei eth1 -Q in
`},
		"not promiscuous": {"in", with(func(t *run.Traffic) { t.Seen, t.Filters = 94, true }), `
nothing matched: 94 packets came in on eth1, but none that the rules match
  hint: eth1 is not in promiscuous mode and may accept no packets for other MAC addresses: ip link set eth1 promisc on
  hint: --why says which test of a rule fails, and on which packets
  hint: to see them: tcpdump -nei eth1 -Q in
`},
		"not promiscuous, but out": {"out", with(func(t *run.Traffic) { t.Seen, t.Filters = 94, true }), `
nothing matched: 94 packets left by eth1, but none that the rules match
  hint: --why says which test of a rule fails, and on which packets
  hint: to see them: tcpdump -nei eth1 -Q out
`},
		"bridge": {"in", with(func(t *run.Traffic) { t.Bridge, t.Ports = true, []string{"p0", "p 1"} }), `
nothing matched: no packets came in on eth1
  hint: eth1 is a bridge: packets between its ports are seen there, not on eth1: -i p0 or -i 'p 1'
`},
		"bridge of many": {"in", with(func(t *run.Traffic) { t.Bridge, t.Ports = true, []string{"a", "b", "c", "d"} }), `
nothing matched: no packets came in on eth1
  hint: eth1 is a bridge: packets between its ports are seen there, not on eth1: -i a or -i b or -i c or …
`},
		"bridge without ports": {"in", with(func(t *run.Traffic) { t.Bridge, t.Carrier = true, false }), `
nothing matched: eth1 has no carrier: there is no cable, or the other end is down
  hint: eth1 is a bridge without ports
`},
		"unresolved": {"out", with(func(t *run.Traffic) { t.Seen, t.Unresolved = 3, addrs("192.0.2.9") }), `
nothing matched: 3 packets left by eth1, but none that the rules match
  hint: ARP found no MAC address of 192.0.2.9: packets sent there do not leave
  hint: --why says which test of a rule fails, and on which packets
  hint: to see them: tcpdump -nei eth1 -Q out
`},
		"unresolved IPv6": {"out", with(func(t *run.Traffic) { t.Seen, t.Unresolved = 3, addrs("2001:db8::9") }), `
nothing matched: 3 packets left by eth1, but none that the rules match
  hint: neighbor discovery found no MAC address of 2001:db8::9: packets sent there do not leave
  hint: --why says which test of a rule fails, and on which packets
  hint: to see them: tcpdump -nei eth1 -Q out
`},
		"many unresolved": {"out", with(func(t *run.Traffic) {
			t.Seen, t.Unresolved = 3, addrs("192.0.2.7", "192.0.2.8", "2001:db8::9", "192.0.2.10")
		}), `
nothing matched: 3 packets left by eth1, but none that the rules match
  hint: ARP and neighbor discovery found no MAC address of 192.0.2.7, 192.0.2.8, 2001:db8::9, 1 more: packets sent there do not leave
  hint: --why says which test of a rule fails, and on which packets
  hint: to see them: tcpdump -nei eth1 -Q out
`},
	} {
		f := newFake(t, "-i", "eth1", "-Q", tt.direction, "if udp then ip_ttl 9")
		f.kernel.count(run.Count{})
		f.kernel.traffic = &tt.traffic
		close(f.kernel.done)
		_, _, stderr := f.run()
		_, got, _ := strings.Cut(stderr, "rewrite 0 pkts in 0.000 s")
		wantText(t, name, got, tt.want)
	}
}

// TestSomethingMatched: then the interface is not asked.
func TestSomethingMatched(t *testing.T) {
	t.Parallel()
	for _, skipped := range [][]run.Skipped{nil, {{Packets: 1, Why: "it is large"}}} {
		f := newFake(t, rewriteWords...)
		f.kernel.count(run.Count{})
		if f.kernel.skipped = skipped; skipped == nil {
			f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
		}
		f.kernel.traffic = &run.Traffic{Interface: "eth1"}
		close(f.kernel.done)
		if _, _, stderr := f.run(); strings.Contains(stderr, "nothing matched") {
			t.Errorf("stderr is %s", stderr)
		}
	}
}
