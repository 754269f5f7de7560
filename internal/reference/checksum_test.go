package reference_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// TestUpdateArithmetic: the example of RFC 1624 section 4 and the edges of
// one's complement, a word from old to new under checksum sum.
func TestUpdateArithmetic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		proto         field.Protocol
		sum, old, new uint16
		want          uint16
	}{
		{"RFC 1624", field.IP, 0xdd2f, 0x5555, 0x3285, 0x0000},
		{"RFC 1624 in TCP", field.TCP, 0xdd2f, 0x5555, 0x3285, 0x0000},
		{"RFC 1624 in ICMP", field.ICMP, 0xdd2f, 0x5555, 0x3285, 0x0000},
		{"RFC 1624 in UDP, where 0 is none", field.UDP, 0xdd2f, 0x5555, 0x3285, 0xffff},
		{"one more", field.TCP, 0x1234, 80, 81, 0x1233},
		{"one less", field.TCP, 0x1234, 81, 80, 0x1235},
		{"from 0", field.TCP, 0x0000, 1, 2, 0xfffe},
		{"from the other 0", field.TCP, 0xffff, 1, 2, 0xfffe},
		{"from UDP's 0", field.UDP, 0xffff, 1, 2, 0xfffe},
		{"UDP without checksum", field.UDP, 0x0000, 1, 2, 0x0000},
		{"to 0", field.IP, 0x0001, 1, 2, 0x0000},
		{"to UDP's 0", field.UDP, 0x0001, 1, 2, 0xffff},
		{"carries around", field.TCP, 0x0001, 1, 3, 0xfffe},
		{"carries around upward", field.TCP, 0xfffe, 3, 1, 0x0001},
		{"up to 0", field.TCP, 0xfffe, 2, 1, 0x0000},
		{"no difference", field.IP, 0xffff, 7, 7, 0xffff},
		{"from zeros to ones is none", field.IP, 0xffff, 0x0000, 0xffff, 0xffff},
		{"from ones to zeros is none", field.IP, 0x0000, 0xffff, 0x0000, 0x0000},
		{"nor in TCP", field.TCP, 0xffff, 0xffff, 0x0000, 0xffff},
		{"nor in UDP", field.UDP, 0xffff, 0x0000, 0xffff, 0xffff},
		{"nor in ICMP", field.ICMP, 0x1234, 0xffff, 0x0000, 0x1234},
		{"from ones to one more", field.TCP, 0x0100, 0xffff, 0x0001, 0x00ff},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame, word, check, actions := wordOf(t, c.proto, c.new)
			put16(frame, word, c.old)
			put16(frame, check, c.sum)
			got := always(t, frame, actions...)
			want := append([]byte(nil), frame...)
			put16(want, word, c.new)
			put16(want, check, c.want)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// wordOf is a packet, where a word under the checksum of proto stands in it
// and the checksum, and the actions that make the word v.
func wordOf(t *testing.T, proto field.Protocol, v uint16) (frame []byte, word, check int, actions []rule.Action) {
	t.Helper()
	switch proto {
	case field.TCP:
		return tcpPacket().build(t), at(proto, 2), at(proto, 16), []rule.Action{set("tcp_dest", uint64(v))}
	case field.UDP:
		return udpPacket().build(t), at(proto, 2), at(proto, 6), []rule.Action{set("udp_dest", uint64(v))}
	case field.ICMP:
		return icmpPacket().build(t), at(proto, 0), at(proto, 2),
			[]rule.Action{set("icmp_type", uint64(v>>8)), set("icmp_code", uint64(v&255))}
	}
	return icmpPacket().build(t), at(field.IP, 4), at(field.IP, 10), []rule.Action{set("ip_id", uint64(v))}
}

// TestNamedChecksums: what an action names is exactly that; the others follow.
func TestNamedChecksums(t *testing.T) {
	t.Parallel()
	p := udpPacket()
	in := p.build(t)
	p.ip.TTL, p.udp.DstPort = 1, 2
	want := p.build(t)
	for _, c := range []struct {
		name    string
		v       uint16
		actions []rule.Action
		at      int
	}{
		{"ip_check", 0xdead, []rule.Action{set("ip_check", 0xdead)}, 24},
		{"ip_check 0", 0, []rule.Action{set("ip_check", 0)}, 24},
		{"udp_check", 0xcafe, []rule.Action{set("udp_check", 0xcafe)}, 40},
		{"udp_check none", 0, []rule.Action{set("udp_check", 0)}, 40},
		{"udp_check all ones", 0xffff, []rule.Action{set("udp_check", 0xffff)}, 40},
	} {
		want := append([]byte(nil), want...)
		put16(want, c.at, c.v)
		got := always(t, in, append(c.actions, set("ip_ttl", 1), set("udp_dest", 2))...)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", c.name, d)
		}
	}
}

// TestFix: whatever the checksum was, the one that leaves is what the outside
// library works out, and bad is one more.
func TestFix(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		packet *packet
		field  string
		check  int
		write  func(p *packet)
		also   []rule.Action
	}{
		"tcp":  {tcpPacket(), "tcp_check", 50, func(p *packet) { p.tcp.SYN = true; p.ip.SrcIP[0] = 9 }, []rule.Action{set("tcp_syn", 1), set("ip_src", 0x09000201)}},
		"udp":  {udpPacket(), "udp_check", 40, func(p *packet) { p.udp.DstPort = 9; p.ip.TTL = 9 }, []rule.Action{set("udp_dest", 9), set("ip_ttl", 9)}},
		"icmp": {icmpPacket(), "icmp_check", 36, func(p *packet) { p.icmp.TypeCode = 0 }, []rule.Action{set("icmp_type", 0)}},
		"ip":   {tcpPacket(), "ip_check", 24, func(p *packet) { p.ip.Id = 1 }, []rule.Action{set("ip_id", 1)}},
	} {
		for _, odd := range []string{"odd", "even"} {
			c.packet.payload = []byte(odd)
			in := c.packet.build(t)
			changed := *c.packet
			header := *c.packet.ip
			header.SrcIP = append([]byte(nil), header.SrcIP...)
			changed.ip = &header
			c.write(&changed)
			want := changed.build(t)
			for _, old := range []uint16{get16(in, c.check), 0, 0xffff, 0x1234} {
				put16(in, c.check, old)
				got := always(t, in, append(c.also, sum(c.field, operand.Fix))...)
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s fix, %s length: -want +got\n%s", name, odd, d)
				}
				got = always(t, in, append(c.also, sum(c.field, operand.Bad))...)
				if bad := get16(got, c.check); bad != get16(want, c.check)+1 { // does not wrap here
					t.Errorf("%s bad is %#x, right is %#x", name, bad, get16(want, c.check))
				}
			}
			c.packet = untouched(name)
		}
	}
}

func untouched(name string) *packet {
	return map[string]func() *packet{"tcp": tcpPacket, "udp": udpPacket, "icmp": icmpPacket, "ip": tcpPacket}[name]()
}

// TestFixExampleOfRFC1071: the bytes of its section 3 add up to 0xddf2.
func TestFixExampleOfRFC1071(t *testing.T) {
	t.Parallel()
	p := icmpPacket()
	p.icmp = &layers.ICMPv4{TypeCode: 0x0001, Id: 0xf203, Seq: 0xf4f5}
	p.payload = []byte{0xf6, 0xf7}
	got := always(t, p.build(t), sum("icmp_check", operand.Fix))
	if c := get16(got, 36); c != ^uint16(0xddf2) {
		t.Errorf("the checksum is %#x, want %#x", c, ^uint16(0xddf2))
	}
}

// TestZeroSums: of the two zeros UDP writes 0xffff and the others 0x0000, and
// one more than either is 1.
func TestZeroSums(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		packet   *packet
		field    string
		check    int
		right    uint16 // what the sum is made to be
		fix, bad uint16
	}{
		{udpPacket(), "udp_check", 40, 0xffff, 0xffff, 1},
		{tcpPacket(), "tcp_check", 50, 0, 0, 1},
		{icmpPacket(), "icmp_check", 36, 0, 0xffff, 1}, // RFC 1071: both zeros are right, and one of them always
		{udpPacket(), "ip_check", 24, 0, 0, 1},
		{udpPacket(), "udp_check", 40, 0xfffe, 0xfffe, 0xffff},
		{tcpPacket(), "tcp_check", 50, 0xfffe, 0xfffe, 0xffff},
	} {
		steer(t, c.packet, c.check, c.right)
		in := c.packet.build(t)
		if got := get16(in, c.check); got != c.right {
			t.Fatalf("%s: the packet's sum is %#x, want %#x", c.field, got, c.right)
		}
		put16(in, c.check, 0x1111)
		if got := get16(always(t, in, sum(c.field, operand.Fix)), c.check); got != c.fix {
			t.Errorf("%s fix is %#x, want %#x", c.field, got, c.fix)
		}
		if got := get16(always(t, in, sum(c.field, operand.Bad)), c.check); got != c.bad {
			t.Errorf("%s bad is %#x, want %#x", c.field, got, c.bad)
		}
	}
}

// steer changes a word of p (the IP identification, or the first of the
// payload) so that the library works out right as the sum at check.
func steer(t *testing.T, p *packet, check int, right uint16) {
	t.Helper()
	p.payload, p.ip.Id = []byte{0, 0, 'x'}, 0
	now := uint32(get16(p.build(t), check))
	word := now + 0xffff - uint32(right)
	if word > 0xffff {
		word -= 0xffff
	}
	if check == 24 {
		p.ip.Id = uint16(word)
		return
	}
	put16(p.payload, 0, uint16(word))
}

// TestFixWantsWholeDatagrams: where the sum cannot be known the rule does not
// act, and the search goes on.
func TestFixWantsWholeDatagrams(t *testing.T) {
	t.Parallel()
	tcp, udp, icmp := tcpPacket().build(t), udpPacket().build(t), icmpPacket().build(t)
	n := uint16(len(udp) - 14)
	for _, c := range []struct {
		name  string
		frame []byte
		field string
		at    int
		v     uint16
		acts  bool
	}{
		{"whole", udp, "udp_check", 16, n, true},
		{"first fragment", udp, "udp_check", 20, 0x2000, false},
		{"first fragment, TCP", tcp, "tcp_check", 20, 0x2000, false},
		{"later fragment", udp, "udp_check", 20, 0x0001, false},
		{"no total length", tcp, "tcp_check", 16, 0, false},
		{"total length beyond the frame", icmp, "icmp_check", 16, uint16(len(icmp) - 13), false},
		{"total length short of the frame", icmp, "icmp_check", 16, uint16(len(icmp) - 15), true},
		{"total length just the header", icmp, "icmp_check", 16, 28, true},
		{"total length short of the header", icmp, "icmp_check", 16, 27, false},
		{"UDP length and total length differ", udp, "udp_check", 16, n - 1, false},
		{"UDP length too large by one", udp, "udp_check", 38, n - 19, false},
		{"UDP length too small by one", udp, "udp_check", 38, n - 21, false},
		{"of another protocol", udp, "tcp_check", 16, n, false},
		{"IP, first fragment", udp, "ip_check", 20, 0x2000, true},
		{"IP, later fragment", udp, "ip_check", 20, 0x0001, true},
		{"IP, no total length", udp, "ip_check", 16, 0, true},
		{"IP, wrong version", udp, "ip_check", 14, 0x6500, true},
		{"IP, header too short", udp, "ip_check", 14, 0x4400, false},
		{"IP, header as long as the frame", udp[:34+20], "ip_check", 14, 0x4a00, true},
		{"IP, header longer than the frame", udp[:34+19], "ip_check", 14, 0x4a00, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := append([]byte(nil), c.frame...)
			put16(frame, c.at, c.v)
			for _, op := range []operand.Op{operand.Fix, operand.Bad} {
				got := reference.Run(program(
					&rule.Rule{Index: 0, Cond: rule.All{}, Actions: []rule.Action{sum(c.field, op)}},
					&rule.Rule{Index: 1, Cond: rule.All{}},
				), frame)
				if acts := got.Index == 0; acts != c.acts {
					t.Errorf("acts: %v, want %v", acts, c.acts)
				}
				if !c.acts && !got.DryRun {
					t.Error("the search did not go on")
				}
			}
		})
	}
}

// TestFixHeaderLengthAsItLeaves: with ip_hl among the actions, ip_check covers
// the header of that length, what else leaves in it included.
func TestFixHeaderLengthAsItLeaves(t *testing.T) {
	t.Parallel()
	in := udpPacket().build(t)
	put16(in, 14, 0x4328) // a broken header length to be repaired
	for _, hl := range []uint64{5, 6, 9} {
		got := always(t, in, set("ip_hl", hl), sum("ip_check", operand.Fix))
		header := append([]byte(nil), in[14:14+4*hl]...)
		header[0] = byte(0x40 | hl)
		put16(header, 10, 0)
		if want := gopacket.FoldChecksum(gopacket.ComputeChecksum(header, 0)); get16(got, 24) != want {
			t.Errorf("ip_hl %d: ip_check is %#x, want %#x", hl, get16(got, 24), want)
		}
	}
	if reference.Run(only(rule.All{}, set("ip_hl", 4), sum("ip_check", operand.Fix)), in).Rewritten {
		t.Error("acts on a header that leaves with a length of 4")
	}
	// The UDP header lies in the longer IP header: its port and its checksum count as they leave.
	in = udpPacket().build(t)
	got := always(t, in, set("ip_hl", 7), set("udp_dest", 1), sum("ip_check", operand.Fix))
	if c := gopacket.FoldChecksum(gopacket.ComputeChecksum(got[14:14+28], 0)); c != 0 {
		t.Errorf("the header that leaves sums to %#x, want 0", c)
	}
}

// TestFixDatagramAsItArrived: no program that passes the checker changes the
// cut of a datagram that it fixes; if one did, the datagram stays where it was.
func TestFixDatagramAsItArrived(t *testing.T) {
	t.Parallel()
	in := icmpPacket().build(t)
	for op, more := range map[operand.Op]uint16{operand.Fix: 0, operand.Bad: 1} {
		got := always(t, in, set("ip_tot_len", 60000), sum("icmp_check", op))
		if get16(got, 36) != get16(in, 36)+more { // does not wrap here
			t.Errorf("icmp_check is %#x, right is %#x", get16(got, 36), get16(in, 36))
		}
	}
}

// TestFragments: the first fragment has the checksum, the others none.
func TestFragments(t *testing.T) {
	t.Parallel()
	whole, want := tcpPacket(), tcpPacket()
	want.ip.SrcIP = []byte{10, 0, 0, 1}
	in, out := whole.build(t), want.build(t)
	sumAt := at(field.TCP, 16)
	put16(in, 20, 0x2000) // more fragments
	if got := always(t, in, set("ip_src", 0x0a000001)); get16(got, sumAt) != get16(out, sumAt) {
		t.Errorf("first fragment: tcp_check is %#x, want %#x", get16(got, sumAt), get16(out, sumAt))
	}
	put16(in, 20, 0x2001)
	if d := cmp.Diff(in[34:], always(t, in, set("ip_src", 0x0a000001))[34:]); d != "" {
		t.Errorf("later fragment: the payload is changed\n%s", d)
	}
}
