package packetgen_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
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

func action(name string, op rule.Op, v uint64) rule.Action {
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
	"port": program(&rule.Rule{Cond: test("udp_dest", 443, 443), Actions: []rule.Action{action("udp_dest", rule.Set, 8080)}}),
	"four fields": program(&rule.Rule{
		Cond: and(test("ip_src", 0x0a140000, 0x0a14ffff), test("ip_dest", 7, 7), test("tcp_dest", 80, 80),
			test("tcp_syn", 1, 1), test("ip_dscp", 46, 46)),
		Actions: []rule.Action{action("tcp_src", rule.Set, 0), action("ip_tos", rule.Set, 1)},
	}),
	"fix": program(&rule.Rule{Cond: test("icmp_type", 8, 8), Actions: []rule.Action{action("icmp_check", rule.Fix, 0), action("ip_check", rule.Bad, 0)}}),
	"branches": program(
		&rule.Rule{Cond: test("ip_hl", 0, 4), Actions: []rule.Action{action("ip_hl", rule.Set, 5), action("ip_check", rule.Fix, 0)}},
		&rule.Rule{Cond: and(or(test("tcp_src", 1, 2), test("udp_src", 3, 9, 12, 14)), not(test("ip_ttl", 0, 63)))},
		&rule.Rule{Cond: and(rule.Has{Proto: field.IP}, not(or(rule.Has{Proto: field.TCP}, rule.Has{Proto: field.UDP}))), Actions: []rule.Action{action("ip_id", rule.Set, 1)}},
		&rule.Rule{Cond: test("ip_flag_mf", 1, 1), Actions: []rule.Action{action("udp_len", rule.Set, 1)}},
		&rule.Rule{Cond: and(test("ip_tot_len", 1000, 1100), test("tcp_check", 0, 0)), Actions: []rule.Action{action("tcp_check", rule.Fix, 0)}},
	),
	"no IP": program(&rule.Rule{Cond: not(rule.Has{Proto: field.IP})}),
}

// TestFramesHitTheirRules: at least 40 of 100 frames make a rule act, every
// rule acts, and not every frame is taken.
func TestFramesHitTheirRules(t *testing.T) {
	const n = 2000
	for name, p := range programs {
		acted := make([]int, len(p.Rules))
		for _, frame := range packetgen.Frames(source(1), p, n) {
			if i := reference.Run(p, frame).Rule; i >= 0 {
				acted[i]++
			}
		}
		total := 0
		for i, k := range acted {
			total += k
			if k < n/100 {
				t.Errorf("%s: rule %d acts on %d of %d frames", name, i, k, n)
			}
		}
		if total < n*40/100 || total > n*95/100 {
			t.Errorf("%s: rules act on %d of %d frames", name, total, n)
		}
		t.Logf("%s: %v of %d", name, acted, n)
	}
}

// TestFramesReachEdges: each edge of a test is met on both sides in frames
// that otherwise satisfy the rule.
func TestFramesReachEdges(t *testing.T) {
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

// transportSum names the transport header and tells whether its sum is right.
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

func TestFramesAreTheSameAgain(t *testing.T) {
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
