package live

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"repacket/internal/run"
	"repacket/test/testnet"
)

// whys starts rules with --why at a hook, for packets that arrive, lets packets be sent, of which
// so many are awaited, and returns why the first rule has not acted.
func (b *testbed) whys(at run.Hook, text string, packets int, send func()) *run.Why {
	b.t.Helper()
	s := b.startLimited(text, run.Options{Hook: at, Why: true})
	send()
	for range packets {
		if _, err := b.right.Receive(time.Now().Add(patience)); err != nil {
			b.t.Fatal(err)
		}
	}
	counts, err := s.Close()
	if err != nil {
		b.t.Fatal(err)
	}
	return counts.Rules[0].Why
}

// seenText is what was seen where tests have failed.
func seenText(w *run.Why) (texts []string, packets []uint64) {
	for _, m := range w.Missed {
		for _, s := range m.Seen {
			texts, packets = append(texts, m.Text+": "+s.String()), append(packets, s.Packets)
		}
	}
	return texts, packets
}

// TestWhyBehindTags: the value of a tag, and the type behind it, are seen whether the tag lies in the
// packet, as XDP has it, or was taken off, as tc has it.
func TestWhyBehindTags(t *testing.T) {
	b := newTestbed(t)
	lldp := newPacket("udp").tag(layers.EthernetTypeDot1Q).frame()
	binary.BigEndian.PutUint16(lldp[16:], 0x88cc)
	for _, at := range []run.Hook{run.XDP, run.GenericXDP, run.TC} {
		for text, want := range map[string]string{
			"if vlan_id 7":  "vlan_id 7: 1110",
			"if udp_dest 9": "udp_dest 9: lldp",
			"if ip":         "ip: lldp",
		} {
			w := b.whys(at, text, 2, func() {
				for range 2 {
					frame := slices.Clone(lldp)
					binary.BigEndian.PutUint16(frame[14:], 1110)
					fatal(t, b.left.Send(frame))
				}
			})
			if texts, packets := seenText(w); !slices.Equal(texts, []string{want}) || packets[0] != 2 || w.Packets != 2 {
				t.Errorf("%v: %s: seen is %q in %d, of %d, want %q in 2", at, text, texts, packets, w.Packets, want)
			}
		}
	}
}

// TestWhyOfSuperPackets: at tc a GSO packet counts as its segments, as where a rule acts.
func TestWhyOfSuperPackets(t *testing.T) {
	b := newTestbed(t)
	for kind, text := range map[string]string{"tcp": "if tcp_dest 9 then ip_ttl 5", "tcp6": "if arp then arp_op 5", "mss": "if ip_ttl 9"} {
		open, o, err := testnet.Partial(withPayload(kind, superPayload).frame(), superSegment)
		fatal(t, err)
		w := b.whys(run.TC, text, 1, func() { fatal(t, b.left.SendOffloaded(open, o)) })
		if _, packets := seenText(w); !slices.Equal(packets, []uint64{superSegments}) || w.Packets != superSegments {
			t.Errorf("%s: counted in %d, of %d, want %d", text, packets, w.Packets, superSegments)
		}
	}
}
