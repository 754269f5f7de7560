package reference_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
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
		if msg := strayBits(p, in, got); msg != "" {
			t.Fatalf("%s\n%s\nin  %x\nout %x", msg, p.Source, in, got.Frame)
		}
	})
}

// strayBits says what differs between in and what became of it that no action
// named and no checksum had to follow, or "".
func strayBits(p *rule.Program, in []byte, got reference.Result) string {
	if len(got.Frame) != len(in) {
		return "the length differs"
	}
	if !got.Rewritten {
		if !bytes.Equal(in, got.Frame) {
			return "bytes differ, and no rule rewrote"
		}
		return ""
	}
	allowed := make([]byte, len(in))
	l3 := 14
	for t := get16(in, l3-2); t == 0x8100 || t == 0x88a8; t = get16(in, l3-2) {
		l3 += 4
	}
	start := map[field.Protocol]int{field.IP: l3}
	l4 := map[byte]field.Protocol{1: field.ICMP, 6: field.TCP, 17: field.UDP}[in[l3+9]]
	if get16(in, l3+6)&0x1fff == 0 && in[l3]>>4 == 4 {
		start[l4] = l3 + 4*int(in[l3]&15)
	}
	for _, a := range p.Rules[got.Rule].Actions {
		allow(allowed, start, a.Field)
		for _, c := range a.Field.Covers {
			allow(allowed, start, field.MustByName(c.Check))
		}
	}
	for i := range in {
		if (in[i]^got.Frame[i])&^allowed[i] != 0 {
			return "a bit differs that no action named"
		}
	}
	return ""
}

// allow marks the bits of f in a frame whose headers begin at start.
func allow(mask []byte, start map[field.Protocol]int, f *field.Field) {
	first, ok := start[f.Proto]
	if !ok {
		return
	}
	for i := f.Bit; i < f.Bit+f.Width && first+i/8 < len(mask); i++ {
		mask[first+i/8] |= 0x80 >> (i % 8)
	}
}

// TestChecksumsKeepTheirError: by the outside decoder, what was right is
// right, what was wrong by k is wrong by k, fix makes right and bad wrong.
func TestChecksumsKeepTheirError(t *testing.T) {
	compared := 0
	forRandomCases(t, func(t *rapid.T, p *rule.Program, in []byte, got reference.Result) {
		if !got.Rewritten || changesCut(p.Rules[got.Rule].Actions) {
			return
		}
		before, after := decodeSums(in), decodeSums(got.Frame)
		if len(before) != len(after) {
			t.Fatalf("the layers differ\n%s\nin  %x\nout %x", p.Source, in, got.Frame)
		}
		for name, b := range before {
			compared++
			if msg := wrongSum(name, p.Rules[got.Rule].Actions, b, after[name]); msg != "" {
				t.Fatalf("%s %s: %+v became %+v\n%s\nin  %x\nout %x", name, msg, b, after[name], p.Source, in, got.Frame)
			}
		}
	})
	if compared < 1000 {
		t.Errorf("only %d checksums were compared", compared)
	}
}

// changesCut tells whether the actions change which bytes a decoder sums.
func changesCut(actions []rule.Action) bool {
	cut := []string{"ip_ver", "ip_hl", "ip_tot_len", "ip_protocol", "ip_flags", "ip_flag_mf", "ip_offset", "udp_len", "tcp_hlen"}
	return slices.ContainsFunc(actions, func(a rule.Action) bool { return slices.Contains(cut, a.Field.Name) })
}

// wrongSum says in what the checksum name is not what the actions ask for.
func wrongSum(name string, actions []rule.Action, before, after gopacket.ChecksumVerificationResult) string {
	i := slices.IndexFunc(actions, func(a rule.Action) bool { return a.Field.Name == name })
	switch {
	case i >= 0 && actions[i].Op == rule.Fix:
		if !after.Valid || after.Actual != after.Correct {
			return "is not fixed"
		}
	case i >= 0 && actions[i].Op == rule.Bad:
		if after.Valid || after.Actual == 0 {
			return "is not bad"
		}
	case i >= 0:
		if uint64(after.Actual) != actions[i].Value.Lo {
			return "is not what was named"
		}
	case name == "udp_check" && before.Actual == 0:
		if after.Actual != 0 {
			return "was none"
		}
	case (before.Actual+65535-before.Correct)%65535 != (after.Actual+65535-after.Correct)%65535:
		return "is wrong by another amount"
	case before.Valid != after.Valid:
		return "is not as valid as it was"
	}
	return ""
}

// decodeSums has the outside library verify the checksum of every whole header.
// Packets with source-route options are left out: there it takes the final
// destination for the pseudo-header, and the contract the one in the header.
func decodeSums(frame []byte) map[string]gopacket.ChecksumVerificationResult {
	pkt := gopacket.NewPacket(bytes.Clone(frame), layers.LayerTypeEthernet, gopacket.Default)
	ip, ok := pkt.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok || ip.Version != 4 || slices.ContainsFunc(ip.Options, sourceRoute) {
		return nil
	}
	sums := map[string]gopacket.ChecksumVerificationResult{}
	add := func(name string, err error, res gopacket.ChecksumVerificationResult) {
		if err == nil {
			sums[name] = res
		}
	}
	if len(ip.Contents) >= 20 {
		err, res := ip.VerifyChecksum()
		add("ip_check", err, res)
	}
	if tcp, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && len(tcp.Contents) >= 20 && tcp.SetNetworkLayerForChecksum(ip) == nil {
		err, res := tcp.VerifyChecksum()
		add("tcp_check", err, res)
	}
	if udp, ok := pkt.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && len(udp.Contents) >= 8 && udp.SetNetworkLayerForChecksum(ip) == nil {
		err, res := udp.VerifyChecksum()
		add("udp_check", err, res)
	}
	if icmp, ok := pkt.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok && len(icmp.Contents) >= 8 {
		err, res := icmp.VerifyChecksum()
		add("icmp_check", err, res)
	}
	return sums
}

func sourceRoute(o layers.IPv4Option) bool { return o.OptionType == 131 || o.OptionType == 137 }

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
		if msg := strayBits(p, frame, got); msg != "" {
			t.Fatal(msg)
		}
	})
}
