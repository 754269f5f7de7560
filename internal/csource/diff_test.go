package csource

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/rulegen"
)

var (
	programs = flag.Int("programs", 80, "number of random programs to compare with the reference")
	seed     = flag.Uint64("seed", 1, "where the random programs start")
)

// TestAgreesWithReference runs random programs, built by clang, in the kernel
// on packets that are made for them, on both links.
func TestAgreesWithReference(t *testing.T) {
	const frames = 250
	r := rand.New(rand.NewPCG(*seed, 3))
	acted := 0
	for n := 0; n < *programs; {
		link := field.Ethernet
		if n%5 == 4 {
			link = field.RawIP
		}
		p, err := rule.Check(style(link, n).Program(r))
		if err != nil {
			continue
		}
		n++
		acted += compare(t, link, p, r, frames)
	}
	t.Logf("%d programs, %d packets, on %d of them a rule acted: no difference", *programs, *programs*frames, acted)
	if acted < *programs*frames/4 {
		t.Error("too few packets meet a rule")
	}
}

// style is that of the nth program. Half of them have all operands.
func style(link field.Link, n int) rulegen.Style {
	all := n%2 == 1
	return rulegen.Style{Link: link, Redirect: []string{elsewhere}, Operands: all, Chance: all}
}

// found are programs and packets on which something was wrong once, or that
// random ones seldom meet.
var found = []string{
	"if tcp then ip_hl 15 ip_check fix tcp_dest 5",           // the header grows over what is set
	"if icmp then icmp_check bad icmp_type 0 icmp_code 0",    // a message of zeros
	"if udp_src 0xffff then udp_src 0",                       // a change that is none
	"if udp_dest 3 or ip_tos 5 or not tcp then ip_ttl 9",     // other packets alike
	"if ip_tot_len 0 then ip_tot_len 20 ip_hl 5 ip_tos 0",    // segmentation offload
	"if ip_ttl 0-9,20-29,40-49,60-69,80-255 then ip_ttl 7",   // a list that nears both ends
	"if ip then ip_hl 4 ip_check fix",                        // never acts
	"if eth_dest 02:00:00:00:05:00/40 then swap eth reflect", // a part of an address
	"if ip6_src 2001:db8::/33,fe80::1-fe80::ffff then ip6_dest ::1 swap tcp",
	"if tcp then tcp_mss 1360 tcp_check fix; if tcp_mss ge 1000 then tcp_mss 999",
	"if tcp then tcp_mss 5 ip6_src ::5",
	"if ip6 then swap ip6, ip6_next 60",
	"if icmp6 then swap ip6 icmp6_check fix; if icmp6 then icmp6_type 0 icmp6_code 0; if ip6_len 0 then ip6_len 7",
	"if vlan_id 0-9,20-29,40-49,60-69,80-4000 then cvlan_pcp 7 else if vlan then vlan_dei on vlan_type 3",
	"if arp_spa 10.0.0.0/9 then arp_tpa 10.0.0.1 arp_op reply, swap eth reflect else drop",
	"if udp then udp_check udp_check ip_src random; if tcp then tcp_check tcp_check ip6_dest +1 tcp_seq -1",
	"if ip then ip_check ip_check ip_ttl -1 ip_id +0xffff ip_dscp +60",
	"if udp_dest ge 60000 then udp_dest -59000 udp_src +0xffff ip_tos random",
	"if udp then ip6_src atleast ::ffff:ffff:ffff, ip6_dest atmost 2001:db8::; if tcp then ip6_src +0xffffffffffffffff ip6_dest -0xffffffffffffffff",
	"if udp then eth_src eth_dest eth_dest eth_src ip6_src ip6_dest ip6_dest ip6_src; if tcp then ip_src ip_dest ip_dest ip_src tcp_src tcp_dest",
	"if eth_src ge 80:00:00:00:00:00 then eth_src +0xffffffffffff eth_dest -0x123456789a else if eth then eth_src atleast 02:00:00:00:00:00 eth_dest random 02:00:00:00:00:00/13",
	"if tcp then ip6_src random 2001:db8::/33, ip6_dest random fe80::ffff:ffff-fe80::1:ffff:fffe; if udp then ip6_src ::/7 ip6_dest random",
	"if ip then ip_src 10.0.0.0/8, ip_dest random 192.0.2.128-192.0.2.200; if arp then arp_sha random arp_tha arp_sha arp_spa +1",
	"if tcp then tcp_syn tcp_ack tcp_ack random tcp_window random 0-65534 tcp_mss random 500-1460",
	"if chance 1/3 chance 1/2 or not chance 99% udp then ip_ttl random; if not chance 1/4294967296 then drop",
	"if ip then ip_hl random ip_tot_len -7 ip_flags random ip_offset +8000",
	"if tcp then ip6_dest random, ip6_src 2001:db8::/47, tcp_check fix; if udp then ip_dest random 10.0.0.0/9 ip_src 172.16.0.0/12 udp_check bad ip_check fix",
	"if udp then ip6_flow hash ip6_dest hash 2001:db8::/33 udp_src hash 49152-65535 udp_check fix; if udp then ip_src hash eth_src hash udp_dest hash; if tcp then tcp_psh hash ip_dest hash 10.0.0.5-10.9.0.0 ip_ttl random; if eth then eth_dest hash vlan_id hash 1-4094; if all then eth_dest hash 02:00:00:00:00:00/7",
	"if ip6 then ip6_src hash fe80::1-fe80::1:0 ip6_flow hash 7-9 ip6_hlim hash; if arp or ip then ip_id hash",
	"if tcp_mss 5 or eth_type vlan then redirect eth9 else if vlan_id 5 tcp then tcp_window 0",
}

func TestAgreesOnFound(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for _, text := range found {
		compare(t, field.Ethernet, checked(t, text), r, 1000)
		compareAt(t, Options{Hook: TC, Interfaces: map[string]int{elsewhere: 9}}, field.Ethernet, checked(t, text), r, 500)
	}
}

// TestAgreesAtTC is the same at the hook tc, as far as a test run goes: tags
// are in the bytes, and checksums are complete.
func TestAgreesAtTC(t *testing.T) {
	r := rand.New(rand.NewPCG(*seed, 4))
	acted := 0
	for n := 0; n < *programs/2; {
		link := field.Link(n % 5 / 4)
		p, err := rule.Check(style(link, n).Program(r))
		if err != nil {
			continue
		}
		n++
		acted += compareAt(t, Options{Hook: TC, Interfaces: map[string]int{elsewhere: 9}}, link, p, r, 250)
	}
	t.Logf("%d programs, a rule acted on %d packets: no difference", *programs/2, acted)
	if acted < *programs*20 {
		t.Error("too few packets meet a rule")
	}
}

// testable reports whether a test run at tc takes a frame.
func testable(frame []byte) bool { return len(frame) >= 34+20 && len(frame) <= 3500 }

// elsewhere is an interface that rules redirect to.
const elsewhere = "eth9"

// verdicts are what programs return: XDP_PASS and so on, TC_ACT_UNSPEC,
// TC_ACT_SHOT, and TC_ACT_REDIRECT.
var verdicts = map[Hook]map[rule.Verdict]uint32{
	XDP: {rule.Pass: 2, rule.Drop: 1, rule.Reflect: 3, rule.ToInterface: 4},
	TC:  {rule.Pass: 1<<32 - 1, rule.Drop: 2, rule.Reflect: 7, rule.ToInterface: 7},
}

// compare runs a program built by clang on packets made for it: the same bytes
// leave as by the reference, the verdict is the same, and the counters say the
// same. It returns on how many packets a rule acted.
func compare(t *testing.T, link field.Link, p *rule.Program, r *rand.Rand, frames int) (acted int) {
	t.Helper()
	return compareAt(t, Options{Fragments: r.IntN(2) == 0, Interfaces: map[string]int{elsewhere: 9}}, link, p, r, frames)
}

// numbers are the random numbers of a packet: random ones, or the highest or
// the lowest there are.
func numbers(r *rand.Rand) reference.Draws {
	switch r.IntN(8) {
	case 0:
		return reference.Zeros
	case 1:
		return func(int) uint32 { return 1<<32 - 1 }
	}
	return reference.Seeded(r.Uint64())
}

// compareAt is compare for any hook.
func compareAt(t *testing.T, o Options, link field.Link, p *rule.Program, r *rand.Rand, frames int) (acted int) {
	t.Helper()
	o.HandedDraws = true
	l := load(t, link, p, o)
	defer l.close()
	want := make([]counter, len(p.Written))
	for _, frame := range packetgen.FramesOn(link, r, p, frames) {
		if o.Hook == TC && !testable(frame) {
			continue
		}
		draws := numbers(r)
		ref := reference.RunDrawn(link, p, frame, draws)
		if ref.Index >= 0 {
			acted++
			want[ref.Index].Packets++
			want[ref.Index].Bytes += uint64(len(frame))
		}
		verdict, out := l.run(t, frame, draws)
		if verdict != verdicts[o.Hook][ref.Verdict] || !bytes.Equal(out, ref.Frame) {
			t.Fatalf("%s\n%s\nin   %x\nwant %x, verdict %d\ngot  %x, verdict %d", l.source, p.Source, frame, ref.Frame, verdicts[o.Hook][ref.Verdict], out, verdict)
		}
	}
	if got := l.counters(t); !slices.Equal(got, want) {
		t.Fatalf("%s\ncounted %v, want %v", p.Source, got, want)
	}
	return acted
}
