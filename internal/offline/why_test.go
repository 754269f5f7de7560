package offline_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"repacket/internal/field"
	"repacket/internal/offline"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/why"
)

func asksWhy(o *offline.Options) { o.Why = true }

// TestWhy: over many batches and workers, each test has failed first as often as the reference says, and
// each packet counts once for each rule.
func TestWhy(t *testing.T) {
	const rules = "if udp_dest 443 then udp_dest 8080 else if tcp ip_ttl gt 5 tcp_syn on then tcp_syn off else if icmp then drop"
	const packets = 5000
	p := check(t, rules)
	tests := why.Tests(p)
	frames := packetgen.FramesOn(field.Ethernet, rand.New(rand.NewPCG(16, 4)), p, packets)
	want := map[string]uint64{}
	for _, f := range frames {
		for _, m := range reference.Why(field.Ethernet, p, tests, f, len(f), reference.Run(p, f)) {
			want[tests[m.Test].Text+[...]string{" header", " field", " test"}[m.Miss]]++
		}
	}
	_, counts, _, err := session(t, rules, file(t, frames), asksWhy)
	if err != nil {
		t.Fatal(err)
	}
	short := uint64(0) // frames that are none
	for _, f := range frames {
		if len(f) < 14 {
			short++
		}
	}
	for i, c := range counts.Rules {
		if c.Why.Packets != packets-short {
			t.Errorf("rule %d: %d packets, want %d", i+1, c.Why.Packets, packets-short)
		}
		for _, m := range c.Why.Missed {
			key := m.Text + " " + m.Failed
			if want[key] -= m.Packets; want[key] != 0 {
				t.Errorf("%s: %d too few", key, int64(want[key]))
			}
			delete(want, key)
		}
	}
	for key, n := range want {
		t.Errorf("%s: %d are missing", key, n)
	}
}

// TestWhyOfCutPackets: a test of bytes that were not captured is not false, and of a packet whose
// headers were not captured nothing is said (semantics.md 3.13).
func TestWhyOfCutPackets(t *testing.T) {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<18, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	// The destination port is at 36, the length at 38; the protocol of IPv4 at 23.
	for _, captured := range []int{42, 38, 37, 20} {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: captured, Length: 42}, udp()[:captured]); err != nil {
			t.Fatal(err)
		}
	}
	_, counts, _, err := session(t, "if udp_len 8 and udp_dest 53", b.Bytes(), asksWhy)
	if err != nil {
		t.Fatal(err)
	}
	missed := counts.Rules[0].Why.Missed
	// All of 42 and 38 bytes have another port. Whether 37 bytes do says the upper half of the port: 443 is
	// 0x01bb, 53 is 0x0035. 20 bytes say nothing.
	if len(missed) != 1 || missed[0].Text != "udp_dest 53" || missed[0].Packets != 3 || missed[0].Seen[0].Value != field.V(443) || missed[0].Seen[0].Packets != 2 {
		t.Errorf("%+v", missed)
	}
	if len(counts.Skipped) != 1 || counts.Skipped[0].Packets != 1 {
		t.Errorf("skipped %+v", counts.Skipped)
	}
}
