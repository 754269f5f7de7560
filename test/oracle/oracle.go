// Package oracle judges rewritten packets from outside: by what an action may
// touch, and by a decoder that is not ours.
package oracle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

func get16(b []byte, off int) uint16 { return binary.BigEndian.Uint16(b[off:]) }

// StrayBits says what differs between in and what became of it that no action
// named and no checksum had to follow, or "".
func StrayBits(p *rule.Program, in []byte, got reference.Result) string {
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

// WrongSums says which checksum is not what it has to be: what was right is
// right, what was wrong by k is wrong by k, fix makes right and bad wrong. It
// also tells how many it compared; rules that change which bytes are summed
// are left out.
func WrongSums(p *rule.Program, in []byte, got reference.Result) (compared int, wrong string) {
	if !got.Rewritten || changesCut(p.Rules[got.Rule].Actions) {
		return 0, ""
	}
	before, after := decodeSums(in), decodeSums(got.Frame)
	if len(before) != len(after) {
		return 0, "the layers differ"
	}
	for name, b := range before {
		if msg := wrongSum(name, p.Rules[got.Rule].Actions, b, after[name]); msg != "" {
			return compared, fmt.Sprintf("%s %s: %+v became %+v", name, msg, b, after[name])
		}
		compared++
	}
	return compared, ""
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
