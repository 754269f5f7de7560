package dissect

import (
	"encoding/binary"
	"fmt"
	"strings"

	"repacket/internal/field"
)

// tcpFlags are the letters of tcpdump for the flags, from the lowest bit up.
const tcpFlags = "FSRP.UEW"

// tcp is a TCP header (RFC 9293); sequence numbers are as they stand there.
func (h *headers) tcp(rest int) string {
	at := h.at[field.TCP]
	if !h.captured(at, field.TCP.Header().Fixed) {
		return "[|tcp]"
	}
	flags := h.get("tcp_flags")
	var b strings.Builder
	fmt.Fprintf(&b, "Flags [%s]", flagLetters(flags))
	payload := rest - h.tcpLen()
	switch {
	case h.tcpLen() < field.TCP.Header().Fixed:
		return fmt.Sprintf("%s [bad hdr length %d - too short, < %d]", b.String(), h.tcpLen(), field.TCP.Header().Fixed)
	case payload < 0:
		return fmt.Sprintf("%s [bad hdr length %d - too long, > %d]", b.String(), h.tcpLen(), rest)
	}
	h.sequence(&b, flags, payload)
	fmt.Fprintf(&b, ", win %d", h.get("tcp_window"))
	if flags&0x20 != 0 {
		fmt.Fprintf(&b, ", urg %d", h.get("tcp_urg_ptr"))
	}
	if options := h.optionTexts(); options != nil {
		fmt.Fprintf(&b, ", options [%s]", strings.Join(options, ","))
	}
	fmt.Fprintf(&b, ", length %d", payload)
	return b.String()
}

// sequence writes the sequence numbers, where they mean something.
func (h *headers) sequence(b *strings.Builder, flags uint64, payload int) {
	const synFinRst, ack = 0x07, 0x10
	seq := uint32(h.get("tcp_seq"))
	switch {
	case payload > 0:
		fmt.Fprintf(b, ", seq %d:%d", seq, seq+uint32(payload))
	case flags&synFinRst != 0:
		fmt.Fprintf(b, ", seq %d", seq)
	}
	if flags&ack != 0 {
		fmt.Fprintf(b, ", ack %d", h.get("tcp_ack_seq"))
	}
}

// flagLetters are the flags in tcpdump's letters.
func flagLetters(flags uint64) string {
	var b strings.Builder
	for i, letter := range tcpFlags {
		if flags&(1<<i) != 0 {
			b.WriteRune(letter)
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// optionTexts are the TCP options in the words of tcpdump.
func (h *headers) optionTexts() []string {
	var texts []string
	for _, o := range h.tcpOptions() {
		texts = append(texts, o.text())
	}
	if h.at[field.TCP]+h.tcpLen() > len(h.data) {
		texts = append(texts, "[|tcp]")
	}
	return texts
}

// text is one option, by kind and length (IANA, TCP Option Kind Numbers).
func (o option) text() string {
	n := len(o.data)
	switch {
	case o.malformed:
		return "[bad opt]"
	case o.kind == optionEnd:
		return "eol"
	case o.kind == optionNop:
		return "nop"
	case o.kind == optionMSS && n == 2:
		return fmt.Sprintf("mss %d", binary.BigEndian.Uint16(o.data))
	case o.kind == optionScale && n == 1:
		return fmt.Sprintf("wscale %d", o.data[0])
	case o.kind == optionSACKOK && n == 0:
		return "sackOK"
	case o.kind == optionSACK && n > 0 && n%8 == 0:
		return o.sack()
	case o.kind == optionTimestamps && n == 8:
		return fmt.Sprintf("TS val %d ecr %d", binary.BigEndian.Uint32(o.data), binary.BigEndian.Uint32(o.data[4:]))
	case n == 0:
		return fmt.Sprintf("unknown-%d", o.kind)
	}
	return fmt.Sprintf("unknown-%d 0x%x", o.kind, o.data)
}

// sack is the blocks of a selective acknowledgment (RFC 2018).
func (o option) sack() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sack %d ", len(o.data)/8)
	for at := 0; at < len(o.data); at += 8 {
		fmt.Fprintf(&b, "{%d:%d}", binary.BigEndian.Uint32(o.data[at:]), binary.BigEndian.Uint32(o.data[at+4:]))
	}
	return b.String()
}
