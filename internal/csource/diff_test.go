package csource

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

var (
	programs = flag.Int("programs", 80, "number of random programs to compare with the reference")
	seed     = flag.Uint64("seed", 1, "where the random programs start")
)

// TestAgreesWithReference runs random programs, built by clang, in the kernel
// on packets that are made for them.
func TestAgreesWithReference(t *testing.T) {
	const frames = 250
	r := rand.New(rand.NewPCG(*seed, 3))
	acted := 0
	for n := 0; n < *programs; {
		p, err := rule.Check(packetgen.Program(r))
		if err != nil {
			continue
		}
		n++
		acted += compare(t, p, r, frames)
	}
	t.Logf("%d programs, %d packets, on %d of them a rule acted: no difference", *programs, *programs*frames, acted)
	if acted < *programs*frames/4 {
		t.Error("too few packets meet a rule")
	}
}

// found are programs and packets on which something was wrong once, or that
// random ones seldom meet.
var found = []string{
	"if tcp then ip_hl 15 ip_check fix tcp_dest 5",         // the header grows over what is set
	"if icmp then icmp_check bad icmp_type 0 icmp_code 0",  // a message of zeros
	"if udp_src 0xffff then udp_src 0",                     // a change that is none
	"if udp_dest 3 or ip_tos 5 or not tcp then ip_ttl 9",   // other packets alike
	"if ip_tot_len 0 then ip_tot_len 20 ip_hl 5 ip_tos 0",  // segmentation offload
	"if ip_ttl 0-9,20-29,40-49,60-69,80-255 then ip_ttl 7", // a list that nears both ends
	"if ip then ip_hl 4 ip_check fix",                      // never acts
}

func TestAgreesOnFound(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for _, text := range found {
		compare(t, checked(t, text), r, 1000)
	}
}

// compare runs a program built by clang on packets made for it: the same bytes
// leave as by the reference, the verdict is always XDP_PASS, and the counters
// say the same. It returns on how many packets a rule acted.
func compare(t *testing.T, p *rule.Program, r *rand.Rand, frames int) (acted int) {
	t.Helper()
	const xdpPass = 2
	l := load(t, p, Options{Fragments: r.IntN(2) == 0})
	defer l.close()
	want := make([]counter, len(p.Written))
	for _, frame := range packetgen.Frames(r, p, frames) {
		ref := reference.Run(p, frame)
		if ref.Index >= 0 {
			acted++
			want[ref.Index].Packets++
			want[ref.Index].Bytes += uint64(len(frame))
		}
		if verdict, out := l.run(t, frame); verdict != xdpPass || !bytes.Equal(out, ref.Frame) {
			t.Fatalf("%s\nin   %x\nwant %x\ngot  %x, verdict %d", p.Source, frame, ref.Frame, out, verdict)
		}
	}
	if got := l.counters(t); !slices.Equal(got, want) {
		t.Fatalf("%s\ncounted %v, want %v", p.Source, got, want)
	}
	return acted
}
