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
		p, err := rule.Check(packetgen.Style{Link: link, Redirect: []string{elsewhere}}.Program(r))
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
	"if tcp_mss 5 or eth_type vlan then redirect eth9 else if vlan_id 5 tcp then tcp_window 0",
}

func TestAgreesOnFound(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for _, text := range found {
		compare(t, field.Ethernet, checked(t, text), r, 1000)
	}
}

// elsewhere is an interface that rules redirect to.
const elsewhere = "eth9"

// verdicts are what XDP programs return.
var verdicts = map[rule.Verdict]uint32{rule.Pass: 2, rule.Drop: 1, rule.Reflect: 3, rule.ToInterface: 4}

// compare runs a program built by clang on packets made for it: the same bytes
// leave as by the reference, the verdict is the same, and the counters say the
// same. It returns on how many packets a rule acted.
func compare(t *testing.T, link field.Link, p *rule.Program, r *rand.Rand, frames int) (acted int) {
	t.Helper()
	l := load(t, link, p, Options{Fragments: r.IntN(2) == 0, Interfaces: map[string]int{elsewhere: 9}})
	defer l.close()
	want := make([]counter, len(p.Written))
	for _, frame := range packetgen.FramesOn(link, r, p, frames) {
		ref := reference.RunOn(link, p, frame)
		if ref.Index >= 0 {
			acted++
			want[ref.Index].Packets++
			want[ref.Index].Bytes += uint64(len(frame))
		}
		verdict, out := l.run(t, frame)
		if verdict != verdicts[ref.Verdict] || !bytes.Equal(out, ref.Frame) {
			t.Fatalf("%s\n%s\nin   %x\nwant %x, verdict %d\ngot  %x, verdict %d", l.source, p.Source, frame, ref.Frame, verdicts[ref.Verdict], out, verdict)
		}
	}
	if got := l.counters(t); !slices.Equal(got, want) {
		t.Fatalf("%s\ncounted %v, want %v", p.Source, got, want)
	}
	return acted
}
