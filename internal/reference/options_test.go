package reference_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// withOptions is an IPv4 or IPv6 frame whose TCP header has these options; the
// right checksum is worked out by the outside library.
func withOptions(t *testing.T, p *packet, options ...byte) []byte {
	t.Helper()
	p.tcp.Options, p.tcp.Padding = nil, options
	p.tcp.DataOffset = uint8(5 + len(options)/4)
	if p.ip != nil {
		p.ip.IHL = 5
		p.ip.Length = uint16(40 + len(options) + len(p.payload))
	} else {
		p.ip6.Length = uint16(20 + len(options) + len(p.payload))
	}
	return p.build(t, gopacket.SerializeOptions{ComputeChecksums: true})
}

// TestMSS: where the option is, by RFC 9293 section 3.1, and what a rule
// writes there; -1: there is none.
func TestMSS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options []byte
		at      int
	}{
		{"first", []byte{2, 4, 5, 0xb4}, 0},
		{"no options", nil, -1},
		{"behind a no-operation", []byte{1, 2, 4, 5, 0xb4, 1, 1, 1}, 1},
		{"behind two", []byte{1, 1, 2, 4, 5, 0xb4, 0, 0}, 2},
		{"behind three", []byte{1, 1, 1, 2, 4, 5, 0xb4, 0}, 3},
		{"behind a window scale", []byte{3, 3, 7, 2, 4, 5, 0xb4, 0}, 3},
		{"behind timestamps", []byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 2, 4, 5, 0xb4, 0, 0}, 10},
		{"at the end", []byte{1, 1, 1, 1, 2, 4, 5, 0xb4}, 4},
		{"behind the most there can be", append(bytesOf(1, 36), 2, 4, 5, 0xb4), 36},
		{"in forty bytes", append(bytesOf(1, 35), 2, 4, 5, 0xb4, 0), 35},
		{"cut off by one", []byte{1, 1, 1, 1, 1, 2, 4, 5}, -1},
		{"cut off behind its length", []byte{1, 1, 1, 1, 1, 1, 2, 4}, -1},
		{"cut off behind its kind", []byte{1, 1, 1, 1, 1, 1, 1, 2}, -1},
		{"behind the end", []byte{0, 1, 1, 1, 2, 4, 5, 0xb4}, -1},
		{"of length 3", []byte{2, 3, 5, 1, 1, 1, 1, 1}, -1},
		{"of length 3, then a right one", []byte{2, 3, 5, 2, 4, 5, 0xb4, 1}, 3},
		{"of length 6", []byte{2, 6, 5, 0xb4, 1, 1, 1, 1}, -1},
		{"twice", []byte{2, 4, 5, 0xb4, 2, 4, 6, 0xb5}, 0},
		{"behind a length of 0", []byte{3, 0, 1, 1, 2, 4, 5, 0xb4}, -1},
		{"behind a length of 1", []byte{3, 1, 1, 1, 2, 4, 5, 0xb4}, -1},
		{"itself of length 0", []byte{2, 0, 5, 0xb4, 2, 4, 5, 0xb4}, -1},
		{"behind a length that is too long", []byte{3, 9, 1, 1, 2, 4, 5, 0xb4}, -1},
		{"in another option", []byte{253, 8, 2, 4, 5, 0xb4, 1, 1}, -1},
		{"behind a length of 2", []byte{4, 2, 2, 4, 5, 0xb4, 1, 1}, 2},
	} {
		for _, p := range []*packet{tcpPacket(), over6(tcpPacket())} {
			in := withOptions(t, p, c.options...)
			got := reference.Run(only(rule.All{}, set("tcp_mss", 1360)), in)
			if there := got.Rewritten; there != (c.at >= 0) {
				t.Errorf("%s: there %v, want at %d", c.name, there, c.at)
			}
			if c.at < 0 {
				continue
			}
			changed := append([]byte(nil), c.options...)
			put16(changed, c.at+2, 1360)
			if d := cmp.Diff(withOptions(t, p, changed...), got.Frame); d != "" {
				t.Errorf("%s: -want +got\n%s", c.name, d)
			}
		}
	}
}

func bytesOf(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

// TestMSSWantsTheHeader: the whole TCP header lies inside the frame and the
// datagram.
func TestMSSWantsTheHeader(t *testing.T) {
	t.Parallel()
	tcp, tcp6 := withOptions(t, tcpPacket(), 2, 4, 5, 0xb4, 1, 1, 1, 1), withOptions(t, over6(tcpPacket()), 2, 4, 5, 0xb4, 1, 1, 1, 1)
	checkPresence(t, []presence{
		{"frame cut by one", tcp, cut(61), "eth ip tcp"},
		{"frame just enough", tcp, cut(62), "eth ip tcp mss"},
		{"total length too small by one", tcp, put(16, 47), "eth ip tcp"},
		{"total length just enough", tcp, put(16, 48), "eth ip tcp mss"},
		{"total length 0", tcp, put(16, 0), "eth ip tcp mss"},
		{"header length 5", tcp, put(46, 0x5018), "eth ip tcp"},
		{"header length 6", tcp, put(46, 0x6018), "eth ip tcp mss"},
		{"header length 0", tcp, put(46, 0x0018), "eth ip tcp"},
		{"header length beyond the frame", tcp, put(46, 0xf018), "eth ip tcp"},
		{"payload length too small by one", tcp6, put(18, 27), "eth ip6 tcp"},
		{"payload length just enough", tcp6, put(18, 28), "eth ip6 tcp mss"},
		{"UDP", udpPacket().build(t), keep, "eth ip udp"},
	})
}

// TestMSSAndOthers: at an odd place and beside other fields of one sum.
func TestMSSAndOthers(t *testing.T) {
	t.Parallel()
	p := over6(tcpPacket())
	in := withOptions(t, p, 1, 2, 4, 5, 0xb4, 1, 1, 1)
	p.tcp.DstPort, p.tcp.Window = 8080, 1
	want := withOptions(t, p, 1, 2, 4, 0xff, 0x01, 1, 1, 1)
	actions := []rule.Action{set("tcp_mss", 0xff01), set("tcp_dest", 8080), set("tcp_window", 1)}
	if d := cmp.Diff(want, always(t, in, actions...)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	put16(in, 70, 0x4321)
	if d := cmp.Diff(want, always(t, in, append(actions, sum("tcp_check", operand.Fix))...)); d != "" {
		t.Errorf("fix: -want +got\n%s", d)
	}
}

// TestSwaps: the two fields change places; no sum but that of a packet on its
// way through segments changes.
func TestSwaps(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		for _, proto := range []field.Protocol{field.Eth, field.IP, field.IP6, field.TCP, field.UDP} {
			p := kind.make()
			in := p.build(t)
			got := reference.Run(program(&rule.Rule{Cond: rule.All{}, Swaps: []rule.Swap{{Proto: proto}}}), in)
			switch proto {
			case field.Eth:
				p.eth.SrcMAC, p.eth.DstMAC = p.eth.DstMAC, p.eth.SrcMAC
			case field.IP:
				if p.ip != nil {
					p.ip.SrcIP, p.ip.DstIP = p.ip.DstIP, p.ip.SrcIP
				}
			case field.IP6:
				if p.ip6 != nil {
					p.ip6.SrcIP, p.ip6.DstIP = p.ip6.DstIP, p.ip6.SrcIP
				}
			case field.TCP:
				if p.tcp != nil {
					p.tcp.SrcPort, p.tcp.DstPort = p.tcp.DstPort, p.tcp.SrcPort
				}
			case field.UDP:
				if p.udp != nil {
					p.udp.SrcPort, p.udp.DstPort = p.udp.DstPort, p.udp.SrcPort
				}
			}
			if d := cmp.Diff(p.build(t), got.Frame); d != "" {
				t.Errorf("swap %s in %s: -want +got\n%s", proto, name, d)
			}
			if acts := got.Rewritten; acts != reference.Run(only(rule.Has{Proto: proto}), in).DryRun {
				t.Errorf("swap %s in %s: acts %v", proto, name, acts)
			}
		}
	}
}

// TestEcho: several swaps and a set in one rule, as an echo server has them.
func TestEcho(t *testing.T) {
	t.Parallel()
	p := udpPacket()
	in := p.build(t)
	p.eth.SrcMAC, p.eth.DstMAC = p.eth.DstMAC, p.eth.SrcMAC
	p.ip.SrcIP, p.ip.DstIP, p.ip.TTL = p.ip.DstIP, p.ip.SrcIP, 64
	p.udp.SrcPort, p.udp.DstPort = p.udp.DstPort, p.udp.SrcPort
	got := reference.Run(program(&rule.Rule{
		Cond:    is("udp_dest", 443),
		Actions: []rule.Action{set("ip_ttl", 64)},
		Swaps:   []rule.Swap{{Proto: field.Eth}, {Proto: field.IP}, {Proto: field.UDP}},
		Verdict: rule.Reflect,
	}), in)
	want := reference.Result{Frame: p.build(t), Verdict: rule.Reflect, Rewritten: true}
	if d := cmp.Diff(want, got, butActed); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestVerdicts: what becomes of a packet, and what counts as looking.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	frame := udpPacket().build(t)
	for _, c := range []struct {
		rule rule.Rule
		want reference.Result
	}{
		{rule.Rule{}, reference.Result{DryRun: true}},
		{rule.Rule{Verdict: rule.Drop}, reference.Result{Verdict: rule.Drop, Rewritten: true}},
		{rule.Rule{Verdict: rule.Reflect}, reference.Result{Verdict: rule.Reflect, Rewritten: true}},
		{rule.Rule{Verdict: rule.ToInterface, Redirect: "eth7"}, reference.Result{Verdict: rule.ToInterface, Redirect: "eth7", Rewritten: true}},
		{rule.Rule{Actions: []rule.Action{set("udp_src", 1000)}}, reference.Result{Rewritten: true}},
	} {
		c.rule.Cond, c.want.Frame = is("udp_dest", 443), frame
		if d := cmp.Diff(c.want, reference.Run(program(&c.rule), frame), butActed); d != "" {
			t.Errorf("%v: -want +got\n%s", c.rule.Verdict, d)
		}
		c.rule.Cond = is("udp_dest", 444)
		none := reference.Result{Rule: -1, Index: -1, Frame: frame, Passed: 1}
		if d := cmp.Diff(none, reference.Run(program(&c.rule), frame)); d != "" {
			t.Errorf("%v, no match: -want +got\n%s", c.rule.Verdict, d)
		}
	}
}
