package reference_test

import (
	"math/rand/v2"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/oracle"
	"repacket/test/rulegen"
)

// exchanging are rules that make a reply of a packet: source and destination exchanged, an echo request
// for an echo reply.
const exchanging = `
if ip tcp then swap ip swap tcp
if ip6 tcp then swap ip6 swap tcp
if ip udp then swap ip swap udp
if ip6 udp then swap ip6 swap udp
if icmp_type 8 then swap ip icmp_type 0
if icmp_type 0 then swap ip icmp_type 8
if icmp_type 13 then swap ip icmp_type 14
if icmp_type 14 then swap ip icmp_type 13
if icmp6_type 128 then swap ip6 icmp6_type 129
if icmp6_type 129 then swap ip6 icmp6_type 128
if icmp or icmp6 then drop
if ip then swap ip
if ip6 then swap ip6`

// flowFields are what a flow is known by (semantics.md 5.1).
var flowFields = []string{
	"ip_src", "ip_dest", "ip6_src", "ip6_dest", "tcp_src", "tcp_dest", "udp_src", "udp_dest", "icmp_id", "vlan_id", "cvlan_id",
}

// TestRepliesBecomeTheOriginalExchanged: the reply to what a rule has rewritten gets the flow of the packet
// before that, exchanged, by an outside decoder; its checksums stay as right or wrong, and no other bit
// changes.
func TestRepliesBecomeTheOriginalExchanged(t *testing.T) {
	t.Parallel()
	exchange, err := rule.Check(exchanging)
	if err != nil {
		t.Fatal(err)
	}
	seeds, undone, changed := 3000, 0, 0
	if testing.Short() {
		seeds /= 5
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 15))
		style := rulegen.Style{Link: field.Link(r.IntN(2)), Operands: true, Chance: true, OnlyPass: true, Replies: true}
		s := style.Source(r)
		p, err := s.Check()
		if err != nil || p.Replies == nil {
			continue
		}
		for _, in := range packetgen.FramesOn(style.Link, r, p, 60) {
			there := reference.RunDrawn(style.Link, p, in, reference.Seeded(r.Uint64()))
			if there.Acted == nil || there.Acted.Replies == rule.NoReplies {
				continue
			}
			asked, reply := reference.RunOn(style.Link, exchange, in), reference.RunOn(style.Link, exchange, there.Frame)
			if asked.Acted == nil || asked.Verdict == rule.Drop { // a message of ICMP that is none of a flow
				continue
			}
			back := reference.RunOn(style.Link, p.Replies, reply.Frame)
			for _, name := range flowFields {
				f := field.MustByName(name)
				want, _ := oracle.Read(style.Link, asked.Frame, f)
				got, _ := oracle.Read(style.Link, back.Frame, f)
				if got != want {
					t.Fatalf("%s\n%v%s is %s, want %s\nin    %x\nout   %x\nreply %x\nback  %x", s.Text, s.Files, name, got, want, in, there.Frame, reply.Frame, back.Frame)
				}
			}
			msg := oracle.StrayBitsOn(style.Link, reply.Frame, back)
			if msg == "" {
				_, msg = oracle.WrongSumsOn(style.Link, reply.Frame, back)
			}
			if msg != "" {
				t.Fatalf("%s\n%s\nreply %x\nback  %x", s.Text, msg, reply.Frame, back.Frame)
			}
			undone++
			if back.Acted != nil {
				changed++
			}
		}
	}
	t.Logf("%d replies, %d changed", undone, changed)
	if changed < 2*seeds {
		t.Errorf("%d replies, %d changed: that shows little", undone, changed)
	}
}
