package reference_test

import (
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// Extension headers as RFC 8200 section 4 draws them. The first byte is the
// number of the header itself, so that they can be put one behind the other:
// behind and chain move it to the header before.
var (
	hopByHop   = []byte{0, 0, 1, 4, 0, 0, 0, 0}  // PadN
	options    = []byte{60, 0, 1, 4, 0, 0, 0, 0} // PadN
	longer     = append([]byte{60, 1, 1, 12}, make([]byte, 12)...)
	atomic     = []byte{44, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef} // RFC 6946
	firstFrag  = []byte{44, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef}
	laterFrag  = []byte{44, 0, 0, 8, 0xde, 0xad, 0xbe, 0xef}
	reserved   = []byte{44, 0xff, 0, 6, 0xde, 0xad, 0xbe, 0xef} // not a length, not an offset
	arrived    = append([]byte{43, 2, 0, 0, 0, 0, 0, 0}, waypoint...)
	onItsWay   = append([]byte{43, 2, 0, 1, 0, 0, 0, 0}, waypoint...)
	segments   = append([]byte{43, 2, 4, 1, 0, 0, 0, 0}, waypoint...) // RFC 8754
	mobility   = []byte{135, 0, 0, 0, 0, 0, 0, 0}
	esp        = []byte{50, 0, 0, 0, 0, 0, 0, 0}
	noNext     = []byte{59, 0, 0, 0, 0, 0, 0, 0}
	jumboFirst = []byte{0, 0, 0xc2, 4, 0, 1, 0, 0} // RFC 2675
	jumboLater = []byte{0, 1, 1, 0, 1, 0, 0xc2, 4, 0, 1, 0, 0, 0, 0, 0, 0}
)

var waypoint = []byte(net.ParseIP("2001:db8:7::7"))

// chain is an untagged frame of UDP behind extension headers.
func chain(t *testing.T, extensions ...[]byte) []byte {
	t.Helper()
	p := over6(udpPacket())
	if len(extensions) > 0 {
		p.behind(extensions[0][0], extensions...)
	}
	return p.build(t)
}

// TestPresenceBehindIPv6 holds the reference to semantics.md 3.6.
func TestPresenceBehindIPv6(t *testing.T) {
	t.Parallel()
	udp, tcp, icmp6 := chain(t), over6(tcpPacket()).build(t), icmp6Packet().build(t)
	n := uint16(len(udp) - 54)
	checkPresence(t, []presence{
		{"UDP", udp, keep, "eth ip6 udp"},
		{"TCP", tcp, keep, "eth ip6 tcp mss"},
		{"ICMPv6", icmp6, keep, "eth ip6 icmp6"},
		{"IPv6 cut by one", udp, cut(53), "eth"},
		{"IPv6 alone", udp, cut(54), "eth ip6"},
		{"UDP cut by one", udp, cut(61), "eth ip6"},
		{"UDP header and no more", udp, cut(62), "eth ip6 udp"},
		{"TCP cut by one", tcp, cut(73), "eth ip6"},
		{"TCP without its options", tcp, cut(74), "eth ip6 tcp"},
		{"TCP with its options", tcp, cut(78), "eth ip6 tcp mss"},
		{"ICMPv6 cut by one", icmp6, cut(57), "eth ip6"},
		{"ICMPv6 header and no more", icmp6, cut(58), "eth ip6 icmp6"},
		{"version 4", udp, put(14, 0x4290), "eth ip6"},
		{"version 7", udp, put(14, 0x7290), "eth ip6"},
		{"payload length too small by one", udp, put(18, 7), "eth ip6"},
		{"payload length just enough", udp, put(18, 8), "eth ip6 udp"},
		{"payload length 0", udp, put(18, 0), "eth ip6 udp"},
		{"payload length as long as the frame", udp, put(18, n), "eth ip6 udp"},
		{"payload length beyond the frame", udp, put(18, 65535), "eth ip6 udp"},
		{"ICMPv4", udp, put(20, 0x013d), "eth ip6"},
		{"no next header", udp, put(20, 0x3b3d), "eth ip6"},
		{"UDP called ICMPv6", udp, put(20, 0x3a3d), "eth ip6 icmp6"},
		{"ICMPv6 over IPv4", udpPacket().build(t), put(22, 0x3d3a), "eth ip"},
	})
}

// TestExtensionHeaders: which are stepped over (RFC 8200 section 4).
func TestExtensionHeaders(t *testing.T) {
	t.Parallel()
	eight, nine := slices.Repeat([][]byte{options}, 8), slices.Repeat([][]byte{options}, 9)
	const there, away = "eth ip6 udp", "eth ip6"
	for _, c := range []struct {
		name       string
		extensions [][]byte
		want       string
	}{
		{"hop-by-hop", [][]byte{hopByHop}, there},
		{"destination options", [][]byte{options}, there},
		{"longer than 8 bytes", [][]byte{longer}, there},
		{"routing", [][]byte{arrived}, there},
		{"routing, segments left", [][]byte{onItsWay}, there},
		{"atomic fragment", [][]byte{atomic}, there},
		{"first fragment", [][]byte{firstFrag}, there},
		{"later fragment", [][]byte{laterFrag}, away},
		{"reserved bits of a fragment", [][]byte{reserved}, there},
		{"in the order of RFC 8200 section 4.1", [][]byte{hopByHop, options, arrived, atomic, options}, there},
		{"in another order", [][]byte{options, atomic, options, arrived, longer}, there},
		{"twice", [][]byte{atomic, atomic, arrived, onItsWay}, there},
		{"a later fragment behind others", [][]byte{hopByHop, options, laterFrag}, away},
		{"hop-by-hop not first", [][]byte{options, hopByHop}, away},
		{"hop-by-hop twice", [][]byte{hopByHop, hopByHop}, away},
		{"mobility", [][]byte{mobility}, away},
		{"ESP", [][]byte{esp}, away},
		{"no next header", [][]byte{noNext}, away},
		{"unknown behind known", [][]byte{hopByHop, mobility}, away},
		{"eight", eight, there},
		{"nine", nine, away},
		{"eight with hop-by-hop", append([][]byte{hopByHop}, eight[1:]...), there},
		{"nine with hop-by-hop", append([][]byte{hopByHop}, eight...), away},
	} {
		if got := present(field.Ethernet, chain(t, c.extensions...)); got != c.want {
			t.Errorf("%s: there are %q, want %q", c.name, got, c.want)
		}
	}
}

// TestExtensionHeadersCutOff: what is stepped over, and the header behind it,
// lie inside the frame and ip6_len.
func TestExtensionHeadersCutOff(t *testing.T) {
	t.Parallel()
	long, two := chain(t, longer), chain(t, options, atomic)
	checkPresence(t, []presence{
		{"no room for its length", long, cut(61), "eth ip6"},
		{"itself cut off", long, cut(69), "eth ip6"},
		{"UDP behind it cut by one", long, cut(77), "eth ip6"},
		{"all there", long, cut(78), "eth ip6 udp"},
		{"payload length ends in it", long, put(18, 15), "eth ip6"},
		{"payload length ends in UDP", long, put(18, 23), "eth ip6"},
		{"payload length just enough", long, put(18, 24), "eth ip6 udp"},
		{"a length beyond the frame", long, put(54, 0x11ff), "eth ip6"},
		{"a length that hits another UDP header", long, put(54, 0x1102), "eth ip6 udp"},
		{"the second cut off", two, cut(69), "eth ip6"},
		{"behind the second cut off", two, cut(77), "eth ip6"},
		{"both there", two, cut(78), "eth ip6 udp"},
	})
}

// TestNoPayloadLength: with a payload length of 0 the frame alone counts, with the
// option for jumbograms and without.
func TestNoPayloadLength(t *testing.T) {
	t.Parallel()
	none := put(18, 0)
	other := append([]byte(nil), jumboFirst...)
	other[3] = 5
	optionsLike := append([]byte(nil), jumboFirst...)
	optionsLike[0] = 60
	checkPresence(t, []presence{
		{"jumbogram", chain(t, jumboFirst), none, "eth ip6 udp"},
		{"behind more extension headers", chain(t, jumboFirst, options, atomic), none, "eth ip6 udp"},
		{"with a payload length", chain(t, jumboFirst), keep, "eth ip6 udp"},
		{"with a payload length that is short", chain(t, jumboFirst), put(18, 15), "eth ip6"},
		{"not the first option", chain(t, jumboLater), none, "eth ip6 udp"},
		{"of another length", chain(t, other), none, "eth ip6 udp"},
		{"no jumbo option", chain(t, hopByHop), none, "eth ip6 udp"},
		{"in destination options", chain(t, optionsLike), none, "eth ip6 udp"},
		{"cut off", chain(t, jumboFirst), func(b []byte) []byte { return none(b)[:61] }, "eth ip6"},
		{"UDP cut off", chain(t, jumboFirst), func(b []byte) []byte { return none(b)[:69] }, "eth ip6"},
	})
	// The arithmetic is kept: only what the rule changes counts.
	in := none(chain(t, jumboFirst))
	got := always(t, in, set("udp_dest", 444))
	if get16(got, 68) != get16(in, 68)-1 { // does not wrap here
		t.Errorf("udp_check is %#x, want %#x", get16(got, 68), get16(in, 68)-1)
	}
}

// TestRawIP: a link without Ethernet begins with the IP header, which its
// first four bits tell.
func TestRawIP(t *testing.T) {
	t.Parallel()
	udp, tcp6 := udpPacket().build(t)[14:], over6(tcpPacket()).build(t)[14:]
	for _, c := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"IPv4", udp, "ip udp"},
		{"IPv6", tcp6, "ip6 tcp mss"},
		{"nothing", nil, ""},
		{"IPv4 cut by one", udp[:19], ""},
		{"IPv4 alone", udp[:20], "ip"},
		{"IPv6 cut by one", tcp6[:39], ""},
		{"IPv6 alone", tcp6[:40], "ip6"},
		{"version 5", append([]byte{0x55}, udp[1:]...), ""},
		{"an Ethernet frame", udpPacket().build(t), ""},
	} {
		if got := present(field.RawIP, c.frame); got != c.want {
			t.Errorf("%s: there are %q, want %q", c.name, got, c.want)
		}
	}
	p := over6(tcpPacket())
	in := p.build(t)
	p.ip6.SrcIP, p.tcp.DstPort = address6(5), 80
	prog := only(rule.All{}, rule.Action{Field: field.MustByName("ip6_src"), Value: wide(5)}, set("tcp_dest", 80))
	if d := cmp.Diff(p.build(t)[14:], reference.RunOn(field.RawIP, prog, in[14:]).Frame); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestExtendedSums: behind extension headers ip6_next is in no checksum.
func TestExtendedSums(t *testing.T) {
	t.Parallel()
	for _, maker := range []func() *packet{func() *packet { return over6(tcpPacket()) }, func() *packet { return over6(udpPacket()) }, icmp6Packet} {
		p := maker().behind(0, hopByHop, longer)
		in := p.build(t)
		want := append([]byte(nil), in...)
		want[20] = 60
		if d := cmp.Diff(want, always(t, in, set("ip6_next", 60))); d != "" {
			t.Errorf("ip6_next: -want +got\n%s", d)
		}
		p.ip6.DstIP = address6(7)
		got := always(t, in, rule.Action{Field: field.MustByName("ip6_dest"), Value: wide(7)})
		if d := cmp.Diff(p.build(t), got); d != "" {
			t.Errorf("ip6_dest: -want +got\n%s", d)
		}
	}
}

// TestRoutedSums: while segments are left ip6_dest is in no checksum and
// ip6_src is, alone and when they change places; the outside library takes the
// last destination from the routing header.
func TestRoutedSums(t *testing.T) {
	t.Parallel()
	for _, extension := range [][]byte{onItsWay, segments} {
		p := over6(tcpPacket()).behind(43, extension)
		right := func(what string, got []byte) {
			t.Helper()
			pkt := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
			tcp := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
			if err := tcp.SetNetworkLayerForChecksum(pkt.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
			if err, res := tcp.VerifyChecksum(); err != nil || !res.Valid {
				t.Errorf("%s: %v %+v", what, err, res)
			}
		}
		in := routedSum(t, p)
		right("as it arrived", in)
		got := always(t, in, rule.Action{Field: field.MustByName("ip6_dest"), Value: wide(9)})
		right("ip6_dest", got)
		if d := cmp.Diff(in[54:], got[54:]); d != "" {
			t.Errorf("ip6_dest changes what follows: %s", d)
		}
		right("ip6_src", always(t, in, rule.Action{Field: field.MustByName("ip6_src"), Value: wide(9)}))
		swap := reference.Run(program(&rule.Rule{Cond: rule.All{}, Swaps: []rule.Swap{{Proto: field.IP6}}}), in)
		right("swap ip6", swap.Frame)
		if d := cmp.Diff(slices.Concat(in[38:54], in[22:38]), swap.Frame[22:54]); d != "" {
			t.Errorf("swap ip6: -want +got\n%s", d)
		}
	}
	// Of several routing headers one with segments left is enough.
	in := chain(t, arrived, onItsWay)
	if got := always(t, in, rule.Action{Field: field.MustByName("ip6_dest"), Value: wide(9)}); get16(got, len(in)-23-2) != get16(in, len(in)-23-2) {
		t.Error("the second routing header is not looked at")
	}
}

// routedSum builds p with the checksum that the last destination asks for; the
// library takes the first one, because it builds from the inside out.
func routedSum(t *testing.T, p *packet) []byte {
	t.Helper()
	next := p.ip6.DstIP
	p.ip6.DstIP = waypoint
	in := p.build(t)
	copy(in[38:54], next)
	return in
}

// TestFix6: whatever the checksum was, the one that leaves over IPv6 is what
// the outside library works out, and bad is one more.
func TestFix6(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make  func() *packet
		check int
	}{
		"tcp_check":   {func() *packet { return over6(tcpPacket()) }, 16},
		"udp_check":   {func() *packet { return over6(udpPacket()) }, 6},
		"icmp6_check": {icmp6Packet, 2},
	} {
		for _, extensions := range [][][]byte{nil, {hopByHop, longer, arrived}, {atomic}} {
			for _, payload := range []string{"odd", "even"} {
				p := c.make()
				p.payload = []byte(payload)
				if extensions != nil {
					p.behind(extensions[0][0], extensions...)
				}
				in := append(p.build(t), 0xaa, 0xbb) // behind the datagram
				p.ip6.SrcIP, p.ip6.TrafficClass = address6(3), p.ip6.TrafficClass&3|46<<2
				want := append(p.build(t), 0xaa, 0xbb)
				at := 54 + len(p.between) + c.check
				for _, old := range []uint16{get16(in, at), 0, 0xffff, 0x1234} {
					put16(in, at, old)
					also := []rule.Action{{Field: field.MustByName("ip6_src"), Value: wide(3)}, set("ip6_dscp", 46)}
					if d := cmp.Diff(want, always(t, in, append(also, sum(name, operand.Fix))...)); d != "" {
						t.Errorf("%s fix, %s length: -want +got\n%s", name, payload, d)
					}
					if got := get16(always(t, in, append(also, sum(name, operand.Bad))...), at); got != get16(want, at)+1 { // does not wrap here
						t.Errorf("%s bad is %#x, right is %#x", name, got, get16(want, at))
					}
				}
			}
		}
	}
}

// TestFix6WantsWholeDatagrams: where the sum cannot be known the rule does not
// act, and the search goes on.
func TestFix6WantsWholeDatagrams(t *testing.T) {
	t.Parallel()
	udp, tcp, icmp6 := chain(t), over6(tcpPacket()).build(t), icmp6Packet().build(t)
	n := uint16(len(udp) - 54)
	for _, c := range []struct {
		name  string
		frame []byte
		field string
		edit  func([]byte) []byte
		acts  bool
	}{
		{"whole", udp, "udp_check", keep, true},
		{"behind extension headers", chain(t, hopByHop, arrived, atomic), "udp_check", keep, true},
		{"first fragment", chain(t, firstFrag), "udp_check", keep, false},
		{"a fragment in a fragment", chain(t, firstFrag, atomic), "udp_check", keep, false},
		{"later fragment", chain(t, laterFrag), "udp_check", keep, false},
		{"segments left", chain(t, onItsWay), "udp_check", keep, false},
		{"jumbogram", chain(t, jumboFirst), "udp_check", put(18, 0), false},
		{"jumbo option and a length", chain(t, jumboFirst), "udp_check", keep, true},
		{"payload length beyond the frame", tcp, "tcp_check", put(18, uint16(len(tcp)-53)), false},
		{"payload length short of the frame", tcp, "tcp_check", put(18, uint16(len(tcp)-55)), true},
		{"payload length just the header", icmp6, "icmp6_check", put(18, 4), true},
		{"payload length short of the header", icmp6, "icmp6_check", put(18, 3), false},
		{"UDP length and payload length differ", udp, "udp_check", put(18, n-1), false},
		{"UDP length too large by one", udp, "udp_check", put(58, n+1), false},
		{"UDP length too small by one", udp, "udp_check", put(58, n-1), false},
		{"UDP length over the extension headers", chain(t, options), "udp_check", put(66, n+8), false},
		{"of another protocol", udp, "tcp_check", keep, false},
	} {
		for _, op := range []operand.Op{operand.Fix, operand.Bad} {
			got := reference.Run(program(
				&rule.Rule{Index: 0, Cond: rule.All{}, Actions: []rule.Action{sum(c.field, op)}},
				&rule.Rule{Index: 1, Cond: rule.All{}},
			), c.edit(append([]byte(nil), c.frame...)))
			if acts := got.Index == 0; acts != c.acts || !acts && !got.DryRun {
				t.Errorf("%s: acts %v, want %v", c.name, acts, c.acts)
			}
		}
	}
}

// TestZeroSums6: UDP's 0 means none and stays; a sum that comes out as 0 is
// sent as 0xffff in UDP alone.
func TestZeroSums6(t *testing.T) {
	t.Parallel()
	none := chain(t)
	put16(none, 60, 0)
	want := append([]byte(nil), none...)
	put16(want, 56, 8080)
	if d := cmp.Diff(want, always(t, none, set("udp_dest", 8080))); d != "" {
		t.Errorf("UDP without checksum: -want +got\n%s", d)
	}
	for _, c := range []struct {
		frame []byte
		field string
		check int
		want  uint16
	}{
		{chain(t), "udp_check", 60, 0xffff},
		{over6(tcpPacket()).build(t), "tcp_check", 70, 0},
		{icmp6Packet().build(t), "icmp6_check", 56, 0},
	} {
		// One's complement: what the checksum is short of, a word of the payload
		// takes over.
		word := len(c.frame) - 5
		if (word-54)%2 == 1 {
			word--
		}
		total := uint32(get16(c.frame, word)) + uint32(get16(c.frame, c.check))
		put16(c.frame, word, uint16(total+total>>16))
		put16(c.frame, c.check, 0x1111)
		if got := get16(always(t, c.frame, sum(c.field, operand.Fix)), c.check); got != c.want {
			t.Errorf("%s fix is %#x, want %#x", c.field, got, c.want)
		}
		if got := get16(always(t, c.frame, sum(c.field, operand.Bad)), c.check); got != 1 {
			t.Errorf("%s bad is %#x, want 1", c.field, got)
		}
	}
}
