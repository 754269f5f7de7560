package packetgen_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func test(name string, ranges ...uint64) rule.Test {
	var in []field.Range
	for i := 0; i < len(ranges); i += 2 {
		in = append(in, field.Range{Lo: field.V(ranges[i]), Hi: field.V(ranges[i+1])})
	}
	return rule.Test{Field: field.MustByName(name), In: field.NewSet(in...)}
}

func action(name string, op operand.Op, v uint64) rule.Action {
	return rule.Action{Field: field.MustByName(name), Op: op, Value: field.V(v)}
}

func program(rules ...*rule.Rule) *rule.Program {
	for i, r := range rules {
		r.Index = i
	}
	return &rule.Program{Rules: rules, Written: make([]rule.Written, len(rules))}
}

func and(x ...rule.Expr) rule.Expr { return rule.And{X: x} }
func or(x ...rule.Expr) rule.Expr  { return rule.Or{X: x} }
func not(x rule.Expr) rule.Expr    { return rule.Not{X: x} }

// programs are ones whose rules are not met by chance.
var programs = map[string]*rule.Program{
	"port": program(&rule.Rule{Cond: test("udp_dest", 443, 443), Actions: []rule.Action{action("udp_dest", operand.Set, 8080)}}),
	"four fields": program(&rule.Rule{
		Cond: and(test("ip_src", 0x0a140000, 0x0a14ffff), test("ip_dest", 7, 7), test("tcp_dest", 80, 80),
			test("tcp_syn", 1, 1), test("ip_dscp", 46, 46)),
		Actions: []rule.Action{action("tcp_src", operand.Set, 0), action("ip_tos", operand.Set, 1)},
	}),
	"fix": program(&rule.Rule{Cond: test("icmp_type", 8, 8), Actions: []rule.Action{action("icmp_check", operand.Fix, 0), action("ip_check", operand.Bad, 0)}}),
	"branches": program(
		&rule.Rule{Cond: test("ip_hl", 0, 4), Actions: []rule.Action{action("ip_hl", operand.Set, 5), action("ip_check", operand.Fix, 0)}},
		&rule.Rule{Cond: and(or(test("tcp_src", 1, 2), test("udp_src", 3, 9, 12, 14)), not(test("ip_ttl", 0, 63)))},
		&rule.Rule{Cond: and(rule.Has{Proto: field.IP}, not(or(rule.Has{Proto: field.TCP}, rule.Has{Proto: field.UDP}))), Actions: []rule.Action{action("ip_id", operand.Set, 1)}},
		&rule.Rule{Cond: test("ip_flag_mf", 1, 1), Actions: []rule.Action{action("udp_len", operand.Set, 1)}},
		&rule.Rule{Cond: and(test("ip_tot_len", 1000, 1100), test("tcp_check", 0, 0)), Actions: []rule.Action{action("tcp_check", operand.Fix, 0)}},
	),
	"no IP": program(&rule.Rule{Cond: not(rule.Has{Proto: field.IP})}),
	"tags": program(
		&rule.Rule{Cond: and(test("vlan_id", 100, 100), not(rule.Has{Proto: field.CVLAN}))},
		&rule.Rule{Cond: and(test("cvlan_id", 7, 7), test("eth_type", 0x88a8, 0x88a8), test("udp_dest", 53, 53)), Actions: []rule.Action{action("vlan_pcp", operand.Set, 5)}},
		&rule.Rule{Cond: test("vlan_type", 0x1234, 0x1234)},
		&rule.Rule{Cond: test("eth_type", 0x88cc, 0x88cc)},
		&rule.Rule{Cond: and(rule.Has{Proto: field.VLAN}, test("arp_op", 2, 2))},
	),
	"arp": program(&rule.Rule{
		Cond:    and(test("arp_op", 1, 1), test("arp_tpa", 0xc0000201, 0xc0000201), test("eth_dest", 1<<48-1, 1<<48-1)),
		Actions: []rule.Action{action("arp_sha", operand.Set, 0x020000000001)},
	}),
	"ip6": program(
		&rule.Rule{Cond: and(wide("ip6_src", 0x20010db8<<32, 0x20010db8<<32|1), test("tcp_dest", 443, 443)), Actions: []rule.Action{action("tcp_check", operand.Fix, 0)}},
		&rule.Rule{Cond: and(wide("ip6_dest", 0xfe80<<48, 0xfe80<<48), test("icmp6_type", 128, 128)), Swaps: []rule.Swap{{Proto: field.IP6}}, Verdict: rule.Reflect},
		&rule.Rule{Cond: and(test("ip6_next", 44, 44), test("udp_src", 0, 1023)), Actions: []rule.Action{action("udp_check", operand.Bad, 0)}},
		&rule.Rule{Cond: and(test("ip6_next", 0, 0), test("ip6_len", 0, 0), rule.Has{Proto: field.TCP})},
		&rule.Rule{Cond: and(test("ip6_next", 43, 43), test("ip6_hlim", 0, 1)), Verdict: rule.Drop},
		&rule.Rule{Cond: and(test("ip6_len", 100, 120), test("udp_len", 100, 101), test("ip6_flow", 5, 5))},
	),
	"mss": program(
		&rule.Rule{Cond: and(test("tcp_syn", 1, 1), test("tcp_mss", 1361, 65535)), Actions: []rule.Action{action("tcp_mss", operand.Set, 1360)}},
		&rule.Rule{Cond: and(test("tcp_mss", 0, 500), test("tcp_hlen", 15, 15), rule.Has{Proto: field.IP6})},
		&rule.Rule{Cond: and(rule.Has{Proto: field.TCP}, not(rule.Has{Proto: field.MSS}))},
	),
}

// rawPrograms are those that can act without Ethernet.
var rawPrograms = []string{"port", "four fields", "fix", "branches", "no IP", "ip6", "mss"}

// wide tests the upper half of a field of 128 bits.
func wide(name string, lo, hi uint64) rule.Test {
	return rule.Test{Field: field.MustByName(name), In: field.NewSet(field.Range{Lo: field.Value{Hi: lo}, Hi: field.Value{Hi: hi, Lo: 1<<64 - 1}})}
}

// TestFramesHitTheirRules: at least 40 of 100 frames make a rule act, every
// rule acts, and not every frame is taken.
func TestFramesHitTheirRules(t *testing.T) {
	t.Parallel()
	for name, p := range programs {
		hitRules(t, field.Ethernet, name, p)
	}
	for _, name := range rawPrograms {
		hitRules(t, field.RawIP, name, programs[name])
	}
}

func hitRules(t *testing.T, link field.Link, name string, p *rule.Program) {
	t.Helper()
	const n = 2000
	acted := make([]int, len(p.Rules))
	for _, frame := range packetgen.FramesOn(link, source(1), p, n) {
		if i := reference.RunOn(link, p, frame).Rule; i >= 0 {
			acted[i]++
		}
	}
	total := 0
	for i, k := range acted {
		total += k
		if k < n/100 {
			t.Errorf("%s, %s: rule %d acts on %d of %d frames", name, link, i, k, n)
		}
	}
	if total < n*40/100 || total > n*95/100 {
		t.Errorf("%s, %s: rules act on %d of %d frames", name, link, total, n)
	}
	t.Logf("%s, %s: %v of %d", name, link, acted, n)
}

// TestFramesReachEdges: each edge of a test is met on both sides in frames
// that otherwise satisfy the rule.
func TestFramesReachEdges(t *testing.T) {
	t.Parallel()
	p := program(&rule.Rule{Cond: and(test("udp_dest", 400, 443, 1000, 1000), test("ip_ttl", 64, 255))})
	f := field.MustByName("udp_dest")
	missing := map[uint16]bool{399: true, 400: true, 443: true, 444: true, 999: true, 1000: true, 1001: true}
	open := program(&rule.Rule{Cond: test("ip_ttl", 64, 255)})
	for _, frame := range packetgen.Frames(source(2), p, 3000) {
		udp, ok := decode(frame).Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || reference.Run(open, frame).Rule < 0 {
			continue
		}
		port := uint16(udp.DstPort)
		delete(missing, port)
		in := f != nil && (port >= 400 && port <= 443 || port == 1000)
		if acts := reference.Run(p, frame).Rule == 0; acts && !in {
			t.Fatalf("acts on port %d: %x", port, frame)
		}
	}
	if len(missing) > 0 {
		t.Errorf("no frame has %v", missing)
	}
}

func decode(frame []byte) gopacket.Packet {
	return gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: false, NoCopy: true})
}

// TestFramesAreVaried counts, with the outside decoder, what must occur.
func TestFramesAreVaried(t *testing.T) {
	t.Parallel()
	const n = 6000
	seen := map[string]int{}
	whole, right := 0, 0
	for _, name := range []string{"port", "branches"} {
		for _, frame := range packetgen.Frames(source(3), programs[name], n/2) {
			if len(frame) < 14 || len(frame) > 70000 {
				t.Fatalf("a frame of %d bytes", len(frame))
			}
			kinds, deep, ok := describe(frame)
			for _, k := range kinds {
				seen[k]++
			}
			if deep {
				whole++
			}
			if ok {
				right++
			}
		}
	}
	for _, k := range []string{
		"options", "first fragment", "later fragment", "total 0", "total lies", "udp none", "sum wrong", "vlan", "two tags",
		"ARP", "IPv6", "odd", "large", "jumbo", "version", "hl", "short", "udp", "tcp", "icmp", "unknown protocol",
	} {
		if seen[k] == 0 {
			t.Errorf("no frame of kind %q", k)
		}
	}
	if right < whole*45/100 || right > whole*80/100 {
		t.Errorf("the checksums of %d of %d are right", right, whole)
	}
	t.Logf("%v; right %d of %d", seen, right, whole)
}

// describe says what is special in frame, whether a transport header was
// decoded, and whether no checksum is wrong.
func describe(frame []byte) (kinds []string, deep, right bool) {
	pkt := decode(frame)
	add := func(k string, is bool) {
		if is {
			kinds = append(kinds, k)
		}
	}
	add("odd", len(frame)%2 == 1)
	add("short", len(frame) < 34)
	add("large", len(frame) > 1514)
	add("jumbo", len(frame) > 8000)
	tags := 0
	for _, l := range pkt.Layers() {
		if l.LayerType() == layers.LayerTypeDot1Q {
			tags++
		}
	}
	add("vlan", tags == 1)
	add("two tags", tags == 2)
	if eth, ok := pkt.LinkLayer().(*layers.Ethernet); ok {
		add("ARP", eth.EthernetType == layers.EthernetTypeARP)
		add("IPv6", eth.EthernetType == layers.EthernetTypeIPv6)
	}
	var ip layers.IPv4
	at := 14 + 4*tags
	if len(frame) < at+20 || frame[at-2] != 8 || frame[at-1] != 0 {
		return kinds, false, false
	}
	_ = ip.DecodeFromBytes(frame[at:], gopacket.NilDecodeFeedback)
	b := frame[at:]
	total := int(b[2])<<8 | int(b[3])
	add("version", b[0]>>4 != 4)
	add("hl", b[0]&15 < 5)
	add("options", b[0]&15 > 5)
	add("total 0", total == 0)
	add("total lies", total > len(b))
	add("first fragment", b[6]&0x3f == 0x20 && b[7] == 0)
	add("later fragment", b[6]&0x1f != 0 || b[7] != 0)
	add("unknown protocol", !slices.Contains([]byte{1, 6, 17}, b[9]))
	kind, ok := transportSum(pkt)
	add(kind, kind != "")
	add("sum wrong", !ok)
	if udp, is := pkt.Layer(layers.LayerTypeUDP).(*layers.UDP); is {
		add("udp none", udp.Checksum == 0)
	}
	err, res := ip.VerifyChecksum()
	return kinds, kind != "", ok && err == nil && res.Valid
}

// transportSum names the transport header and reports whether its sum is right.
func transportSum(pkt gopacket.Packet) (kind string, right bool) {
	ip, _ := pkt.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	udp, isUDP := pkt.Layer(layers.LayerTypeUDP).(*layers.UDP)
	tcp, isTCP := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
	switch {
	case ip != nil && isUDP:
		kind, right = "udp", udp.SetNetworkLayerForChecksum(ip) == nil
	case ip != nil && isTCP:
		kind, right = "tcp", tcp.SetNetworkLayerForChecksum(ip) == nil
	case pkt.Layer(layers.LayerTypeICMPv4) != nil:
		kind, right = "icmp", true
	}
	err, mismatches := pkt.VerifyChecksums()
	right = right && err == nil && len(mismatches) == 0
	return kind, right
}

// TestFramesOfIPv6AreVaried counts, by the bytes and with the outside decoder,
// what must occur over IPv6, in ARP and among TCP's options.
func TestFramesOfIPv6AreVaried(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	count := func(kind string, is bool) {
		if is {
			seen[kind]++
		}
	}
	for _, name := range []string{"ip6", "mss", "arp", "tags"} {
		for _, frame := range packetgen.Frames(source(9), programs[name], 3000) {
			pkt := decode(frame)
			chain := 0
			for _, l := range pkt.Layers() {
				switch l := l.(type) {
				case *layers.IPv6:
					count("jumbo", l.Length == 0 && l.HopByHop != nil)
					count("length 0", l.Length == 0 && l.HopByHop == nil)
					count("length lies", int(l.Length) > len(frame))
					count("version", l.Version != 6)
				case *layers.IPv6HopByHop:
					count("hop-by-hop not first", chain > 0)
					chain++
				case *layers.IPv6Routing:
					count("segments left", l.SegmentsLeft > 0)
					count("no segments left", l.SegmentsLeft == 0)
					chain++
				case *layers.IPv6Fragment:
					count("first", l.MoreFragments && l.FragmentOffset == 0)
					count("later", l.FragmentOffset > 0)
					count("atomic", !l.MoreFragments && l.FragmentOffset == 0)
					chain++
				case *layers.IPv6Destination:
					chain++
				case *layers.TCP:
					countOptions(l, count)
				case *layers.ICMPv6:
					count("ICMPv6", true)
				case *layers.ARP:
					count("ARP", l.HwAddressSize == 6 && l.ProtAddressSize == 4)
					count("other hardware", l.AddrType != layers.LinkTypeEthernet)
					count("other protocol", l.Protocol != layers.EthernetTypeIPv4)
					count("other size", l.HwAddressSize != 6 || l.ProtAddressSize != 4)
				}
			}
			count([]string{"", "1 extension", "2", "3"}[min(chain, 3)], chain > 0)
			count("many", chain >= 7)
			tags := 0
			for tags < 3 && len(frame) >= 18+4*tags && slices.Contains([]byte{0x81, 0x88}, frame[12+4*tags]) && slices.Contains([]byte{0, 0xa8}, frame[13+4*tags]) {
				tags++
			}
			count([]string{"no tag", "tag", "two tags", "three tags"}[tags], true)
		}
	}
	for _, k := range []string{
		"jumbo", "length 0", "length lies", "version", "hop-by-hop not first", "segments left", "no segments left", "first", "later", "atomic",
		"1 extension", "2", "3", "many", "ICMPv6", "ARP", "other hardware", "other protocol", "other size",
		"MSS at an even place", "MSS at an odd place", "MSS twice", "MSS of another length", "no MSS", "tag", "two tags", "three tags",
	} {
		if seen[k] == 0 {
			t.Errorf("no frame of kind %q", k)
		}
	}
	t.Logf("%v", seen)
}

// countOptions counts what there is of MSS, by the outside decoder.
func countOptions(tcp *layers.TCP, count func(string, bool)) {
	at, found := 0, 0
	for _, o := range tcp.Options {
		if o.OptionType == layers.TCPOptionKindMSS && o.OptionLength == 4 {
			if found++; found == 1 {
				count([]string{"MSS at an even place", "MSS at an odd place"}[at%2], true)
			}
		}
		count("MSS of another length", o.OptionType == layers.TCPOptionKindMSS && o.OptionLength != 4)
		at += int(o.OptionLength)
	}
	count("MSS twice", found > 1)
	count("no MSS", found == 0)
}

func TestFramesAreTheSameAgain(t *testing.T) {
	t.Parallel()
	for name, p := range programs {
		a, b := packetgen.Frames(source(4), p, 300), packetgen.Frames(source(4), p, 300)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the same seed gives other frames", name)
		}
		if c := packetgen.Frames(source(5), p, 300); reflect.DeepEqual(a, c) {
			t.Errorf("%s: another seed gives the same frames", name)
		}
	}
}

// TestFramesWithoutRules: a program may have none.
func TestFramesWithoutRules(t *testing.T) {
	t.Parallel()
	if got := len(packetgen.Frames(source(6), &rule.Program{}, 100)); got != 100 {
		t.Errorf("%d frames, want 100", got)
	}
}

func BenchmarkFrames(b *testing.B) {
	r, p := source(7), programs["branches"]
	for range b.N {
		packetgen.Frame(r, p)
	}
}

func BenchmarkReference(b *testing.B) {
	p := programs["branches"]
	frames := packetgen.Frames(source(8), p, 256)
	for i := range b.N {
		reference.Run(p, frames[i%256])
	}
}
