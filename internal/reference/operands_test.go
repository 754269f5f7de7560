package reference_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// inPlace reads or writes the bytes of fields that have bytes of their own in
// frames of udpPacket, tcpPacket and the like: where RFC 791, 9293, 768 and 792
// have them, behind 14 bytes of Ethernet and 20 of IPv4.
var inPlace = map[string][2]int{
	"eth_dest": {0, 6}, "eth_src": {6, 12}, "ip_tos": {15, 16}, "ip_id": {18, 20}, "ip_ttl": {22, 23}, "ip_src": {26, 30}, "ip_dest": {30, 34},
	"tcp_src": {34, 36}, "tcp_dest": {36, 38}, "tcp_seq": {38, 42}, "tcp_ack_seq": {42, 46}, "tcp_window": {48, 50}, "tcp_check": {50, 52},
	"udp_src": {34, 36}, "udp_dest": {36, 38}, "udp_check": {40, 42}, "icmp_seq": {40, 42}, "icmp_id": {38, 40},
	"ip6_src": {22, 38}, "ip6_dest": {38, 54}, "ip6_hlim": {21, 22},
}

func bytesIn(frame []byte, name string) []byte {
	at := inPlace[name]
	return frame[at[0]:at[1]]
}

// mustCheck is a program that is right.
func mustCheck(t *testing.T, source string) *rule.Program {
	t.Helper()
	p, err := rule.Check(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return p
}

// frameFor is a frame that has the field.
func frameFor(t *testing.T, name string) []byte {
	switch {
	case name[:3] == "tcp":
		return tcpPacket().build(t)
	case name[:4] == "icmp":
		return icmpPacket().build(t)
	case name[:3] == "ip6":
		return over6(udpPacket()).build(t)
	}
	return udpPacket().build(t)
}

// TestArithmetic: semantics.md 3.5, by hand.
func TestArithmetic(t *testing.T) {
	t.Parallel()
	ff := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	one := append(make([]byte, 15), 1)
	for _, c := range []struct {
		field, operand string
		before, after  []byte
	}{
		{"ip_ttl", "-1", []byte{64}, []byte{63}},
		{"ip_ttl", "-1", []byte{1}, []byte{0}},
		{"ip_ttl", "-1", []byte{0}, []byte{0}},
		{"ip_ttl", "-255", []byte{254}, []byte{0}},
		{"ip_ttl", "+1", []byte{254}, []byte{255}},
		{"ip_ttl", "+1", []byte{255}, []byte{255}},
		{"ip_ttl", "+255", []byte{0}, []byte{255}},
		{"ip_ttl", "+200", []byte{100}, []byte{255}},
		{"ip_ttl", "atmost 60", []byte{61}, []byte{60}},
		{"ip_ttl", "atmost 60", []byte{60}, []byte{60}},
		{"ip_ttl", "atmost 60", []byte{59}, []byte{59}},
		{"ip_ttl", "atleast 60", []byte{61}, []byte{61}},
		{"ip_ttl", "atleast 60", []byte{59}, []byte{60}},
		{"ip_ttl", "+0", []byte{5}, []byte{5}},
		{"ip_dscp", "+1", []byte{0xfb}, []byte{0xff}}, // 62 and ecn 3
		{"ip_dscp", "+1", []byte{0xff}, []byte{0xff}},
		{"ip_dscp", "+5", []byte{0xf2}, []byte{0xfe}}, // 60 and 2: stops at 63
		{"ip_dscp", "-2", []byte{0x05}, []byte{0x01}}, // 1 and 1: stops at 0
		{"ip_ecn", "+1", []byte{0x2b}, []byte{0x2b}},  // 10 and 3
		{"ip_ecn", "-1", []byte{0x2b}, []byte{0x2a}},
		{"udp_dest", "+1000", []byte{0x1f, 0x40}, []byte{0x23, 0x28}}, // 8000, 9000
		{"udp_dest", "+1000", []byte{0xff, 0xf0}, []byte{0xff, 0xff}},
		{"udp_dest", "-81", []byte{0, 80}, []byte{0, 0}},
		{"ip_id", "+1", []byte{0xff, 0xff}, []byte{0, 0}},
		{"ip_id", "-1", []byte{0, 0}, []byte{0xff, 0xff}},
		{"ip_id", "+65535", []byte{0, 5}, []byte{0, 4}},
		{"ip_id", "atmost 5", []byte{0, 6}, []byte{0, 5}},
		{"tcp_seq", "+1", []byte{0xff, 0xff, 0xff, 0xff}, []byte{0, 0, 0, 0}},
		{"tcp_seq", "-16", []byte{0, 0, 0, 1}, []byte{0xff, 0xff, 0xff, 0xf1}},
		{"tcp_ack_seq", "+4294967295", []byte{0, 0, 0, 1}, []byte{0, 0, 0, 0}},
		{"icmp_seq", "-2", []byte{0, 1}, []byte{0xff, 0xff}},
		{"icmp_id", "-2", []byte{0, 1}, []byte{0, 0}},
		{"tcp_window", "+1", []byte{0xff, 0xff}, []byte{0xff, 0xff}},
		{"ip_src", "+1", []byte{10, 0, 0, 255}, []byte{10, 0, 1, 0}},
		{"ip_src", "+4294967295", []byte{10, 0, 0, 255}, []byte{255, 255, 255, 255}},
		{"ip_src", "atmost 10.0.0.1", []byte{10, 0, 0, 2}, []byte{10, 0, 0, 1}},
		{"eth_src", "-1", []byte{0, 0, 0, 0, 0, 0}, []byte{0, 0, 0, 0, 0, 0}},
		{"eth_src", "-1", []byte{1, 0, 0, 0, 0, 0}, []byte{0, 255, 255, 255, 255, 255}},
		{"eth_src", "+2", []byte{255, 255, 255, 255, 255, 254}, []byte{255, 255, 255, 255, 255, 255}},
		{"ip6_src", "+1", ff, ff},
		{"ip6_src", "-1", make([]byte, 16), make([]byte, 16)},
		{"ip6_src", "+1", append(make([]byte, 8), ff[:8]...), append(append(make([]byte, 7), 1), make([]byte, 8)...)},
		{"ip6_src", "-1", append(append(make([]byte, 7), 1), make([]byte, 8)...), append(make([]byte, 8), ff[:8]...)},
		{"ip6_src", "-18446744073709551615", one, make([]byte, 16)},
		{"ip6_src", "atleast ::1", make([]byte, 16), one},
		{"ip6_hlim", "-1", []byte{1}, []byte{0}},
		{"ip_dest", "10.1.0.0/16", []byte{1, 2, 3, 4}, []byte{10, 1, 3, 4}},
		{"ip_dest", "10.16.0.0/12", []byte{1, 0xf2, 3, 4}, []byte{10, 0x12, 3, 4}},
		{"ip_dest", "0.0.0.0/0", []byte{1, 2, 3, 4}, []byte{1, 2, 3, 4}},
		{"ip_dest", "128.0.0.0/1", []byte{1, 2, 3, 4}, []byte{129, 2, 3, 4}},
		{"eth_dest", "0a:00:00:00:00:00/24", []byte{1, 2, 3, 4, 5, 6}, []byte{10, 0, 0, 4, 5, 6}},
		{"ip6_dest", "2001:db8::/32", ff, append([]byte{0x20, 1, 0xd, 0xb8}, ff[:12]...)},
		{"ip6_dest", "::/127", ff, one},
	} {
		name := c.field
		if name == "ip_dscp" || name == "ip_ecn" {
			name = "ip_tos"
		}
		in := frameFor(t, name)
		copy(bytesIn(in, name), c.before)
		got := reference.Run(mustCheck(t, "if all then "+c.field+" "+c.operand), in)
		if b := bytesIn(got.Frame, name); !got.Rewritten || !bytes.Equal(b, c.after) {
			t.Errorf("%s %s: %x became %x, want %x", c.field, c.operand, c.before, b, c.after)
		}
	}
}

// TestRandomIsMapped: numbers drawn and what they give, by hand: Lo plus the
// whole part of size*r/2^(32*words).
func TestRandomIsMapped(t *testing.T) {
	t.Parallel()
	const top = math.MaxUint32
	for _, c := range []struct {
		action string
		draws  []uint32
		want   []byte
	}{
		{"udp_src random", []uint32{0}, []byte{0, 0}},
		{"udp_src random", []uint32{0x1234ffff}, []byte{0x12, 0x34}},
		{"udp_src random", []uint32{top}, []byte{0xff, 0xff}},
		{"udp_src random 1024-2047", []uint32{0}, []byte{4, 0}},
		{"udp_src random 1024-2047", []uint32{top}, []byte{7, 0xff}},
		{"udp_src random 1024-2047", []uint32{1 << 31}, []byte{6, 0}},
		{"udp_src random 1-3", []uint32{0x55555555}, []byte{0, 1}}, // 3r is just below 2^32
		{"udp_src random 1-3", []uint32{0x55555556}, []byte{0, 2}},
		{"udp_src random 1-3", []uint32{0xaaaaaaaa}, []byte{0, 2}},
		{"udp_src random 1-3", []uint32{0xaaaaaaab}, []byte{0, 3}},
		{"udp_src random 9-9", []uint32{top}, []byte{0, 9}},
		{"ip_src random", []uint32{0x01020304}, []byte{1, 2, 3, 4}},
		{"ip_src random 10.0.0.0/8", []uint32{0x01020304}, []byte{10, 1, 2, 3}},
		{"eth_src random", []uint32{0x01020304, 0x05060708}, []byte{1, 2, 3, 4, 5, 6}},
		{"eth_src random 02:00:00:00:00:00/8", []uint32{0x01020304, 0x05060708}, []byte{2, 1, 2, 3, 4, 5}},
		{"eth_src random 02:00:00:00:00:00/16", []uint32{0x01020304, 0x05060708}, []byte{2, 0, 1, 2, 3, 4}}, // one number is enough
		{"eth_src random 00:00:00:00:00:01-00:01:00:00:00:00", []uint32{1 << 31}, []byte{0, 0, 0x80, 0, 0, 1}},
		{"eth_src random 00:00:00:00:00:01-00:01:00:00:00:00", []uint32{top}, []byte{0, 1, 0, 0, 0, 0}},
		{"ip6_src random", []uint32{1, 2, 3, 4}, []byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4}},
		{"ip6_src random 2001:db8::/32", []uint32{1, 2, 3}, []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}},
		{"ip6_src random 2001:db8::/100", []uint32{0x01020304}, []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x10, 0x20, 0x30}},
	} {
		name := c.action[:bytes.IndexByte([]byte(c.action), ' ')]
		got := reference.RunDrawn(field.Ethernet, mustCheck(t, "if all then "+c.action), frameFor(t, name), func(i int) uint32 { return c.draws[i] })
		if b := bytesIn(got.Frame, name); !bytes.Equal(b, c.want) {
			t.Errorf("%s, %x drawn: %x, want %x", c.action, c.draws, b, c.want)
		}
	}
}

// TestChance: which numbers make it hold, and that each test has its own.
func TestChance(t *testing.T) {
	t.Parallel()
	const half = 1 << 31
	for _, c := range []struct {
		cond  string
		draws []uint32
		want  bool
	}{
		{"chance 50%", []uint32{half - 1}, true},
		{"chance 50%", []uint32{half}, false},
		{"chance 1/4294967296", []uint32{0}, true},
		{"chance 1/4294967296", []uint32{1}, false},
		{"chance 5%", []uint32{214748364}, true}, // 214748364.8
		{"chance 5%", []uint32{214748365}, false},
		{"chance 4294967295/4294967296", []uint32{math.MaxUint32 - 1}, true},
		{"chance 4294967295/4294967296", []uint32{math.MaxUint32}, false},
		{"not chance 50%", []uint32{half}, true},
		{"chance 100%", []uint32{math.MaxUint32}, true},
		{"chance 50% chance 50%", []uint32{0, half}, false},
		{"chance 50% or chance 50%", []uint32{half, 0}, true},
		{"chance 50% or chance 50%", []uint32{half, half}, false},
		{"(tcp chance 50%) or (udp chance 50%)", []uint32{0, half}, false},
		{"(tcp chance 50%) or (udp chance 50%)", []uint32{half, 0}, true},
		{"tcp if chance 50%", []uint32{0}, true},
	} {
		got := reference.RunDrawn(field.Ethernet, mustCheck(t, "if "+c.cond), udpPacket().build(t), func(i int) uint32 { return c.draws[i] })
		if got.DryRun != c.want {
			t.Errorf("%s, %d drawn: %v, want %v", c.cond, c.draws, got.DryRun, c.want)
		}
	}
}

// TestThresholdsAgree: a chance holds on just the numbers below its threshold.
func TestThresholdsAgree(t *testing.T) {
	t.Parallel()
	frame := udpPacket().build(t)
	rapid.Check(t, func(t *rapid.T) {
		e := rule.Chance{Den: rapid.Uint64Range(2, 1<<32).Draw(t, "den")}
		e.Num = rapid.Uint64Range(1, e.Den-1).Draw(t, "num")
		for _, r := range []uint64{0, e.Threshold() - 1, e.Threshold(), math.MaxUint32} {
			if r > math.MaxUint32 {
				continue
			}
			got := reference.RunDrawn(field.Ethernet, only(e), frame, func(int) uint32 { return uint32(r) }).DryRun
			if want := r < e.Threshold(); got != want {
				t.Fatalf("%d/%d, %d drawn: %v, want %v", e.Num, e.Den, r, got, want)
			}
		}
	})
}

// TestAtOnce: right-hand sides read the packet as it arrived (semantics.md 3.2).
func TestAtOnce(t *testing.T) {
	t.Parallel()
	in := udpPacket().build(t) // from port 1000 to 443
	for source, want := range map[string][2]uint16{
		"if all then sport dport dport sport":          {443, 1000},
		"if all then udp_src udp_dest, udp_dest 5":     {443, 5},
		"if all then udp_dest 5 udp_src udp_dest":      {443, 5},
		"if all then udp_dest +1 udp_src udp_dest":     {443, 444},
		"if all then udp_src udp_src udp_dest 7":       {1000, 7},
		"if all then swap udp, ip_id ip_tot_len":       {443, 1000},
		"if all then udp_dest random udp_src udp_dest": {443, 0},
	} {
		out := reference.Run(mustCheck(t, source), in).Frame
		if got := [2]uint16{binary.BigEndian.Uint16(out[34:]), binary.BigEndian.Uint16(out[36:])}; got != want {
			t.Errorf("%s: ports %d, want %d", source, got, want)
		}
	}
}

// TestCopyNeedsItsSource: a packet without the field that is read goes on to
// the next rule (semantics.md 3.1).
func TestCopyNeedsItsSource(t *testing.T) {
	t.Parallel()
	p := mustCheck(t, "if ip then ip_id tcp_window else if ip then ip_id icmp_seq else if ip then ip_ttl 5")
	for frame, want := range map[*packet]int{tcpPacket(): 0, icmpPacket(): 1, udpPacket(): 2} {
		if got := reference.Run(p, frame.build(t)).Rule; got != want {
			t.Errorf("rule %d acts, want %d", got, want)
		}
	}
	unreachable := icmpPacket().build(t)
	unreachable[34] = 3 // no sequence number
	if got := reference.Run(p, unreachable).Rule; got != 2 {
		t.Errorf("rule %d acts on a message without a sequence number", got)
	}
}

// TestStaleChecksum: a checksum that is copied to itself stays, right or wrong.
func TestStaleChecksum(t *testing.T) {
	t.Parallel()
	in := udpPacket().build(t)
	out := reference.Run(mustCheck(t, "if all then udp_dest 5 ip_ttl 5 udp_check udp_check"), in).Frame
	if !bytes.Equal(bytesIn(in, "udp_check"), bytesIn(out, "udp_check")) || bytes.Equal(in[24:26], out[24:26]) {
		t.Errorf("in %x, out %x", in, out)
	}
}

// TestHeaderLengthIsComputed: ip_check fix goes by the header length as it
// leaves, whatever it is made of.
func TestHeaderLengthIsComputed(t *testing.T) {
	t.Parallel()
	in := udpPacket().build(t)
	hl := field.MustByName("ip_hl")
	plain := reference.Run(only(rule.All{}, set("ip_hl", 7), sum("ip_check", operand.Fix)), in)
	added := reference.Run(only(rule.All{}, rule.Action{Field: hl, Op: operand.Add, Value: field.V(2)}, sum("ip_check", operand.Fix)), in)
	if !plain.Rewritten || !bytes.Equal(plain.Frame, added.Frame) {
		t.Errorf("a length of 7 gives %x, of 5+2 %x", plain.Frame, added.Frame)
	}
	if taken := reference.Run(only(rule.All{}, rule.Action{Field: hl, Op: operand.Sub, Value: field.V(1)}, sum("ip_check", operand.Fix)), in); taken.Rewritten {
		t.Error("a header of 16 bytes has no sum")
	}
}

// TestSeeded: SplitMix64 from 0 begins with these (its authors' test vector),
// and the place alone decides.
func TestSeeded(t *testing.T) {
	t.Parallel()
	d := reference.Seeded(0)
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} {
		if got := d(i); got != uint32(want>>32) {
			t.Errorf("number %d is %x, want %x", i, got, want>>32)
		}
	}
	if d(0) != reference.Seeded(0)(0) || d(0) == reference.Seeded(1)(0) {
		t.Error("the seed does not decide")
	}
}
