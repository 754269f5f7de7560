package reference_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/oracle"
)

// forRandomCases gives check random valid programs with frames that fit them,
// and what the reference makes of each.
func forRandomCases(t *testing.T, check func(t *rapid.T, p *rule.Program, in []byte, got reference.Result)) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		p, err := rule.Check(packetgen.Program(r))
		if err != nil {
			return
		}
		for _, in := range packetgen.Frames(r, p, 100) {
			check(t, p, in, reference.Run(p, in))
		}
	})
}

// TestOnlyNamedBitsChange: parts 3.4 and 4 of the design.
func TestOnlyNamedBitsChange(t *testing.T) {
	forRandomCases(t, func(t *rapid.T, p *rule.Program, in []byte, got reference.Result) {
		if msg := oracle.StrayBits(p, in, got); msg != "" {
			t.Fatalf("%s\n%s\nin  %x\nout %x", msg, p.Source, in, got.Frame)
		}
	})
}

// TestChecksumsKeepTheirError: by the outside decoder, what was right is
// right, what was wrong by k is wrong by k, fix makes right and bad wrong.
func TestChecksumsKeepTheirError(t *testing.T) {
	compared := 0
	forRandomCases(t, func(t *rapid.T, p *rule.Program, in []byte, got reference.Result) {
		n, msg := oracle.WrongSums(p, in, got)
		compared += n
		if msg != "" {
			t.Fatalf("%s\n%s\nin  %x\nout %x", msg, p.Source, in, got.Frame)
		}
	})
	if compared < 1000 {
		t.Errorf("only %d checksums were compared", compared)
	}
}

// FuzzRun: no text and no bytes make the reference panic, lengthen or shorten
// a frame, change the one it was given, or touch a bit that no action named.
func FuzzRun(f *testing.F) {
	for _, text := range []string{
		"if udp_dest 443 then udp_dest 8080",
		"if all then ip_hl 15 ip_check fix else if not ip_ttl ge 5 then tcp_check bad ip_src 0.0.0.0",
		"if icmp_type 8 or tcp_syn on then icmp_check fix; if ip_flag_mf on",
		"if dport 53,443 then dport 5353 ttl 64 udp_check fix",
	} {
		for _, p := range []*packet{tcpPacket(), udpPacket(), icmpPacket()} {
			f.Add(text, p.build(f))
		}
		f.Add(text, []byte{})
	}
	f.Fuzz(func(t *testing.T, text string, frame []byte) {
		p, err := rule.Check(text)
		if err != nil {
			return
		}
		before := bytes.Clone(frame)
		got := reference.Run(p, frame)
		if !bytes.Equal(before, frame) {
			t.Fatal("the frame that was given is changed")
		}
		if msg := oracle.StrayBits(p, frame, got); msg != "" {
			t.Fatal(msg)
		}
	})
}
