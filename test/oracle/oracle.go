// Package oracle judges rewritten packets from outside: by what an action may
// touch, and by a decoder that is not ours.
package oracle

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/gopacket/gopacket"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// StrayBits says what differs between the Ethernet frame in and what became of
// it that no action named and no checksum had to follow, or "".
func StrayBits(in []byte, got reference.Result) string {
	return StrayBitsOn(field.Ethernet, in, got)
}

// StrayBitsOn is StrayBits for any link.
func StrayBitsOn(link field.Link, in []byte, got reference.Result) string {
	if len(got.Frame) != len(in) {
		return "the length differs"
	}
	if !got.Rewritten {
		if !bytes.Equal(in, got.Frame) {
			return "bytes differ, and no rule rewrote"
		}
		return ""
	}
	allowed, start := make([]byte, len(in)), places(link, in)
	r := got.Acted
	for _, a := range r.Actions {
		f := *a.Field
		if a.Op == operand.Prefix {
			f.Width = a.Bits
		}
		if a.From != a.Field { // what is copied to itself stays
			allowAll(allowed, start, &f)
		}
	}
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		allowAll(allowed, start, src)
		allowAll(allowed, start, dest)
	}
	if check, ok := start[field.None]; ok && !bytes.Equal(addresses(in, start), addresses(got.Frame, start)) {
		if !follows(in, got.Frame, start) {
			return "the checksum of a protocol without fields does not follow the addresses"
		}
		allowed[check], allowed[check+1] = 0xff, 0xff
	}
	for i := range in {
		if (in[i]^got.Frame[i])&^allowed[i] != 0 {
			return "a bit differs that no action named"
		}
	}
	return ""
}

// allowAll marks the bits of f and of the checksums that cover it.
func allowAll(mask []byte, start map[field.Protocol]int, f *field.Field) {
	allow(mask, start, f)
	for _, c := range f.Covers {
		allow(mask, start, field.MustByName(c.Check))
	}
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

// WrongSumsOn says which checksum is not what it has to be: what was right is
// right, what was wrong by k is wrong by k, fix makes right and bad wrong. It
// also tells how many it compared; rules that change which bytes are summed
// are left out.
func WrongSumsOn(link field.Link, in []byte, got reference.Result) (compared int, wrong string) {
	if !got.Rewritten || changesCut(got.Acted.Actions) {
		return 0, ""
	}
	before, after := decodeSums(link, in), decodeSums(link, got.Frame)
	_, quoted := before[quotedCheck]
	if _, quotes := after[quotedCheck]; quoted != quotes { // a message of another type may quote nothing
		delete(before, quotedCheck)
		delete(after, quotedCheck)
	}
	if len(before) != len(after) {
		return 0, "the layers differ"
	}
	for name, b := range before {
		if msg := wrongSum(name, got.Acted.Actions, b, after[name]); msg != "" {
			return compared, fmt.Sprintf("%s %s: %+v became %+v", name, msg, b, after[name])
		}
		compared++
	}
	return compared, ""
}

// changesCut reports whether the actions change which bytes a decoder sums.
func changesCut(actions []rule.Action) bool {
	cut := []string{
		"eth_type", "vlan_type", "cvlan_type",
		"ip_ver", "ip_hl", "ip_tot_len", "ip_protocol", "ip_flags", "ip_flag_mf", "ip_offset", "ip6_len", "ip6_next", "udp_len", "tcp_hlen",
	}
	return slices.ContainsFunc(actions, func(a rule.Action) bool { return slices.Contains(cut, a.Field.Name) })
}

// wrongSum says in what the checksum name is not what the actions ask for.
func wrongSum(name string, actions []rule.Action, before, after gopacket.ChecksumVerificationResult) string {
	i := slices.IndexFunc(actions, func(a rule.Action) bool { return a.Field.Name == name })
	switch {
	case i >= 0 && actions[i].Op == operand.Fix:
		if !right(name, after) {
			return "is not fixed"
		}
	case i >= 0 && actions[i].Op == operand.Bad:
		if right(name, after) || after.Actual == 0 {
			return "is not bad"
		}
	case i >= 0 && actions[i].Op == operand.Copy:
		if after.Actual != before.Actual {
			return "did not stay"
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
	case right(name, before) && !right(name, after) && !allZero(name, after):
		return "is not as valid as it was"
	}
	return ""
}

// allZero tells an ICMP message that has become all zeros, where RFC 1624 makes
// 0 of a checksum that would have to be 0xffff.
func allZero(name string, sum gopacket.ChecksumVerificationResult) bool {
	return name == "icmp_check" && sum.Correct == 0xffff && sum.Actual == 0
}

// right reports whether a receiver takes a checksum for right. The decoder wants
// it written as senders do; in ICMP 0xffff is right too where it is 0 for them
// (RFC 1071: the sum of all comes to 0xffff).
func right(name string, sum gopacket.ChecksumVerificationResult) bool {
	return sum.Valid && sum.Actual == sum.Correct || name == "icmp_check" && sum.Actual == 0xffff && sum.Correct == 0
}

// quotedCheck is the checksum of the IPv4 header that an ICMP error quotes.
const quotedCheck = "quoted_ip_check"

// decodeSums has the outside library verify the checksum of every whole header.
// Left out are IPv6 packets with segments left where it cannot tell the final
// destination. A source route of IPv4 it follows itself; the option Home Address it
// decodes, and that takes the place of the source.
func decodeSums(link field.Link, frame []byte) map[string]gopacket.ChecksumVerificationResult {
	h := decode(link, frame)
	sums := map[string]gopacket.ChecksumVerificationResult{}
	add := func(name string, err error, res gopacket.ChecksumVerificationResult) {
		if err == nil {
			sums[name] = res
		}
	}
	var below gopacket.NetworkLayer
	switch {
	case h.ip != nil && h.ip.Version == 4:
		below = h.ip
		if h.has(field.IP) {
			err, res := h.ip.VerifyChecksum()
			add("ip_check", err, res)
		}
	case h.ip6 != nil && h.ip6.Version == 6 && (!h.routed || h.known):
		below = h.pseudoSource()
	default:
		return nil
	}
	if h.has(field.TCP) && h.tcp.SetNetworkLayerForChecksum(below) == nil {
		err, res := h.tcp.VerifyChecksum()
		add("tcp_check", err, res)
	}
	if h.has(field.UDP) && h.udp.SetNetworkLayerForChecksum(below) == nil {
		err, res := h.udp.VerifyChecksum()
		add("udp_check", err, res)
	}
	if h.has(field.ICMP) {
		err, res := h.icmp.VerifyChecksum()
		add("icmp_check", err, res)
	}
	if h.has(field.QuotedIP) {
		err, res := h.quote.ip.VerifyChecksum()
		add(quotedCheck, err, res)
	}
	if h.has(field.ICMP6) && h.icmp6.SetNetworkLayerForChecksum(below) == nil {
		err, res := h.icmp6.VerifyChecksum()
		add("icmp6_check", err, res)
	}
	return sums
}
