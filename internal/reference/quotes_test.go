package reference_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// answered are rules with replies that change nothing but flows.
var answered = []string{
	"if tcp_dest 443 then tcp_dest 8080 replies",
	"if udp_dest 443 then udp_dest 8080 replies",
	"if dport 8000-8099 then dport +1000 replies",
	"if ip_dest 203.0.113.5 then ip_dest 10.1.2.3 replies",
	"if ip_src 203.0.113.5 then ip_src 10.1.2.3 replies",
	"if ip_src 203.0.113.5 ip_dest 192.0.2.7 then ip_src 10.1.2.3 ip_dest 10.9.9.9 replies",
	"if ip6_dest 2001:db8::5 then ip6_dest fd00::1:2 replies",
	"if ip6_src 2001:db8::/64 ip6_dest 2001:db8:1::/48 then ip6_src fd00:5::/64 ip6_dest fd00:6::/48 replies",
	"if ip_dest 203.0.113.0/24 then ip_dest 10.1.2.0/24 replies",
	"if ip_dest 203.0.113.0/24 udp_dest 53 then ip_dest 10.1.2.0/24 udp_dest 5353 replies",
	"if ip6_dest 2001:db8::/32 tcp_dest 80 then ip6_dest fd00:1::/32 tcp_dest 8080 replies",
	"if tcp_dest 80 ip_dest 192.0.2.1 or tcp_dest 443 ip_dest 192.0.2.2 then tcp_dest 8080 replies",
	"if icmp_type 8 icmp_id 5 ip_dest 203.0.113.5 then icmp_id 77 ip_dest 10.1.2.3 replies",
	"if ip6_dest 2001:db8::5 icmp6 then ip6_dest fd00::1:2 replies",
	"if vlan_id 5 udp_dest 53 then vlan_id 6 replies",
	"if vlan_id 5 dport 53 then vlan_id 6 dport 54 replies",
	"if udp_dest 53 then swap udp replies",
	"if udp_dest 53 then swap ip swap udp replies",
	"if ip6 tcp_dest 80 then swap ip6 swap tcp replies",
	"if udp_dest 1-50000 then udp_dest 443 replies tracked",
	"if ip then ip_src random 192.0.2.0/30, ip_dest hash replies tracked",
	"if ip6 not icmp6 then ip6_src hash 2001:db8::/120, ip6_dest random replies tracked",
	"if dport 1-60000 then dport atmost 80, sport atleast 50000 replies tracked",
	"if udp_dest 1-60000 then udp_dest udp_src, udp_src random replies tracked",
	"if tcp then swap tcp, ip_dest 192.0.2.1 replies tracked else if icmp_type 8 then icmp_id random replies tracked",
	"if not tcp_dest 22 ip_dest 203.0.113.5 then ip_dest 10.1.2.3 replies",
	"if tcp_dest 443 ip_dest 198.51.100.9 then tcp_dest 8080 replies else if ip_dest 203.0.113.5 then ip_dest 10.1.2.3 replies else if ip6_src 2001:db8::5 then ip6_src fd00::9 replies",
}

// sender is who sends an error: a router on the way, or the destination of the packet.
type sender bool

const (
	router      sender = false
	destination sender = true
)

// network is where the network header of a frame is, and its version and length.
func network(frame []byte) (l3, version, length int) {
	l3 = 14
	for t := binary.BigEndian.Uint16(frame[12:]); t == 0x8100 || t == 0x88a8; t = binary.BigEndian.Uint16(frame[l3-2:]) {
		l3 += 4
	}
	if version = int(frame[l3] >> 4); version == 6 {
		return l3, version, 40
	}
	return l3, version, 4 * int(frame[l3]&15)
}

// addresses are where the source and the destination are in a frame.
func addresses(frame []byte) (src, dest []byte) {
	l3, version, _ := network(frame)
	if version == 6 {
		return frame[l3+8 : l3+24], frame[l3+24 : l3+40]
	}
	return frame[l3+12 : l3+16], frame[l3+16 : l3+20]
}

// errorAbout makes the ICMP error that quotes a frame's packet up to behind bytes behind the
// network header (RFC 792, RFC 4443), with the tags of the frame.
func errorAbout(frame []byte, behind int, by sender) []byte {
	l3, version, length := network(frame)
	quote := frame[l3:min(len(frame), l3+length+behind)]
	to, from := addresses(frame)
	if by == router {
		from = map[int][]byte{4: {198, 18, 0, 1}, 6: {15: 1, 0: 0xfc, 1: 0x11}}[version]
	}
	message := append([]byte{map[int]byte{4: 3, 6: 1}[version], 1, 0, 0, 0, 0, 0, 0}, quote...)
	if version == 6 {
		pseudo := slices.Concat(from, to, []byte{0, 0, byte(len(message) >> 8), byte(len(message)), 0, 0, 0, 58})
		binary.BigEndian.PutUint16(message[2:], rightSum(slices.Concat(pseudo, message)))
		header := []byte{0x60, 0, 0, 0, byte(len(message) >> 8), byte(len(message)), 58, 64}
		return slices.Concat(frame[:l3], header, from, to, message)
	}
	binary.BigEndian.PutUint16(message[2:], rightSum(message))
	total := 20 + len(message)
	header := slices.Concat([]byte{0x45, 0, byte(total >> 8), byte(total), 1, 2, 0, 0, 64, 1, 0, 0}, from, to)
	binary.BigEndian.PutUint16(header[10:], rightSum(header))
	return slices.Concat(frame[:l3], header, message)
}

// rightSum is the Internet checksum of b (RFC 1071).
func rightSum(b []byte) uint16 {
	sum := 0
	for i, x := range b {
		sum += int(x) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// exchanged is the reply to a packet: an echo reply for an echo request, else the same with
// source and destination exchanged, which leaves the checksums as they are.
func exchanged(frame []byte) []byte {
	out := slices.Clone(frame)
	src, dest := addresses(frame)
	l3, version, length := network(frame)
	to, from := addresses(out)
	copy(to, dest)
	copy(from, src)
	l4, protocol := out[l3+length:], frame[l3+9]
	if version == 6 {
		protocol = frame[l3+6]
	}
	change := map[byte]map[byte]byte{1: {8: 0, 0: 8}, 58: {128: 129, 129: 128}}[protocol]
	if is, ok := change[l4[0]]; ok {
		sum := int(binary.BigEndian.Uint16(l4[2:])) + int(l4[0])<<8 - int(is)<<8 + 2*65535
		l4[0] = is
		binary.BigEndian.PutUint16(l4[2:], uint16(sum%65535))
	} else if change == nil {
		copy(l4, frame[l3+length+2:][:2])
		copy(l4[2:], frame[l3+length:][:2])
	}
	return out
}

// plain reports whether a packet is one whose error is made and undone byte by byte: all of
// it there, no fragment, no extension header, no error itself, no source route, which a
// reply does not have and a quote is not searched for, and a checksum that is no other zero.
func plain(frame []byte) bool {
	l3, version, length := network(frame)
	protocol, total := frame[l3+9], int(binary.BigEndian.Uint16(frame[l3+2:]))
	if version == 6 {
		protocol, total = frame[l3+6], 40+int(binary.BigEndian.Uint16(frame[l3+4:]))
	}
	at := map[byte]int{6: 16, 17: 6, 1: 2, 58: 2}[protocol]
	l4 := l3 + length
	switch {
	case binary.BigEndian.Uint16(frame[l3-2:]) != map[int]uint16{4: 0x0800, 6: 0x86dd}[version]:
		return false
	case at == 0, length < 20, total < length+20, total > len(frame)-l3:
		return false
	case version == 4 && (binary.BigEndian.Uint16(frame[l3+6:])&0x3fff != 0 || binary.BigEndian.Uint16(frame[l3+10:])%0xffff == 0):
		return false
	case version == 4 && slices.ContainsFunc(frame[l3+20:l4], func(b byte) bool { return b == 131 || b == 137 }):
		return false
	case protocol == 1 && frame[l4] != 8 && frame[l4] != 0, protocol == 58 && frame[l4] < 128:
		return false
	}
	return binary.BigEndian.Uint16(frame[l4+at:])%0xffff != 0 || protocol == 17 && frame[l4+6]|frame[l4+7] == 0
}

// TestErrorsAreUndone: the error that quotes what a rule has made of a packet becomes the one
// that quotes the packet, and the error that quotes a reply as it was changed the one that quotes
// it as it was sent. What they are is made by hand.
func TestErrorsAreUndone(t *testing.T) {
	t.Parallel()
	for _, text := range answered {
		p, err := rule.Check(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		r := rand.New(rand.NewPCG(7, 11))
		tried := 0
		for range 8000 {
			in := packetgen.Frame(r, p)
			flows, draw := &reference.Flows{}, r.Uint32()
			run := func(p *rule.Program, frame []byte) reference.Result {
				return reference.RunTracked(field.Ethernet, p, frame, func(i int) uint32 { return draw * uint32(2*i+1) }, flows)
			}
			did := run(p, in)
			if did.Acted == nil || did.Acted.Quote || did.Acted.Replies == rule.NoReplies || !plain(in) || !plain(did.Frame) {
				continue
			}
			tried++
			behind := []int{8, 8, 15, 16, 18, 28, 200}[r.IntN(7)]
			for _, by := range []sender{router, destination} {
				if by == destination && len(did.Acted.Swaps) > 0 {
					continue // whose addresses the rule exchanges
				}
				same(t, text+": about the packet", run(p.Replies, errorAbout(did.Frame, behind, by)).Frame, errorAbout(in, behind, by))
				sent := exchanged(did.Frame)
				got := run(p.Replies, sent).Frame
				same(t, text+": the reply", got, exchanged(in))
				same(t, text+": about the reply", run(p, errorAbout(got, behind, by)).Frame, errorAbout(sent, behind, by))
			}
			if t.Failed() {
				return
			}
		}
		if tried < 50 {
			t.Errorf("%s: %d packets were tried: that says little", text, tried)
		}
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s\ngot  %x\nwant %x", what, got, want)
	}
}

// A datagram and a segment from a client to port 8080, and a datagram over IPv6. Their checksums of
// layer 4 are any.
var (
	datagram  = hexFrame("4500002400010000401166c60a0000010a0000021388" + "1f90" + "0010" + "5a5a" + "7061796c6f6164ff")
	segment   = hexFrame("4500002800010000400666cd0a0000010a0000021388" + "1f90" + "00000001000000025010ffff" + "1234" + "0000")
	datagram6 = hexFrame("6000000000101140" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002" + "1388" + "1f90" + "0010" + "5a5a" + "7061796c6f6164ff")
)

func hexFrame(text string) []byte {
	etherType := map[byte]string{'4': "0800", '6': "86dd"}[text[0]]
	b, err := hex.DecodeString("020000000002" + "020000000001" + etherType + text)
	if err != nil {
		panic(err)
	}
	return b
}

// TestWhatAQuoteHas: which quotes are rewritten, and which stay, by the port in them; 443 in the place of
// 8080 adds 0x1bb - 0x1f90 to the words of the quote, and the checksum of a datagram makes up for it.
func TestWhatAQuoteHas(t *testing.T) {
	t.Parallel()
	p, err := rule.Check("if dport 443 then dport 8080 replies")
	if err != nil {
		t.Fatal(err)
	}
	sum := func(at int, v uint16) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint16(b[14+at:], v) }
	}
	for _, c := range []struct {
		name   string
		packet []byte
		change func(packet []byte)         // of the quoted packet
		behind int                         // bytes behind its IP header
		cut    func(message []byte) []byte // of the error
		stays  bool
		check  uint16 // of the quoted layer 4 then, at the place where it is, or 0
	}{
		{name: "a datagram", packet: datagram, behind: 8, check: 0x5a5a + 0x1f90 - 0x1bb},
		{name: "over IPv6", packet: datagram6, behind: 8, check: 0x5a5a + 0x1f90 - 0x1bb},
		{name: "no checksum", packet: datagram, change: sum(26, 0), behind: 8},
		{name: "one that comes to 0", packet: datagram, change: sum(26, 0xffff-0x1f90+0x1bb), behind: 8, check: 0xffff},
		{name: "a segment of 8 bytes", packet: segment, behind: 8},
		{name: "of 17 bytes, which end in the checksum", packet: segment, behind: 17},
		{name: "of 18 bytes", packet: segment, behind: 18, check: 0x1234 + 0x1f90 - 0x1bb},
		{name: "7 bytes", packet: datagram, behind: 7, stays: true},
		{name: "a first fragment", packet: datagram, change: sum(6, 0x2000), behind: 8, check: 0x5a5a + 0x1f90 - 0x1bb},
		{name: "a later fragment", packet: datagram, change: sum(6, 1), behind: 8, stays: true},
		{name: "a datagram of less than a header", packet: datagram, change: sum(2, 27), behind: 8, stays: true},
		{name: "a total length of 0", packet: datagram, change: sum(2, 0), behind: 8, check: 0x5a5a + 0x1f90 - 0x1bb},
		{name: "of another version", packet: datagram, change: func(b []byte) { b[14] = 0x55 }, behind: 8, stays: true},
		{name: "too short a header", packet: datagram, change: func(b []byte) { b[14] = 0x44 }, behind: 8, stays: true},
		{name: "an extension header of IPv6", packet: datagram6, change: func(b []byte) { b[20] = 60 }, behind: 16, stays: true},
		{name: "a redirect", packet: datagram, behind: 8, cut: func(b []byte) []byte { b[34] = 5; return b }, stays: true},
		{name: "an echo request", packet: datagram, behind: 8, cut: func(b []byte) []byte { b[34] = 8; return b }, stays: true},
		{name: "quoted behind the end of the message", packet: datagram, behind: 8, cut: func(b []byte) []byte { b[17]--; return b }, stays: true},
		{name: "a frame that is cut off", packet: datagram, behind: 8, cut: func(b []byte) []byte { return b[:len(b)-1] }, stays: true},
	} {
		packet := slices.Clone(c.packet)
		if c.change != nil {
			c.change(packet)
		}
		length := map[byte]int{4: 20, 6: 40}[c.packet[14]>>4] // also where the header lies
		in := errorAbout(slices.Clone(c.packet), c.behind, router)
		copy(in[14+length+8:], packet[14:])
		if c.cut != nil {
			in = c.cut(in)
		}
		want := slices.Clone(in)
		if !c.stays {
			l4 := want[14+length+8+length:]
			binary.BigEndian.PutUint16(l4[2:], 443)
			change := 0x1bb - 0x1f90
			if c.check != 0 {
				at := 6
				if c.packet[14+9] == 6 && length == 20 { // TCP
					at = 16
				}
				binary.BigEndian.PutUint16(l4[at:], c.check)
				change = 0 // the checksum makes up for the port
			}
			message := want[14+length:]
			old := int(binary.BigEndian.Uint16(message[2:]))
			binary.BigEndian.PutUint16(message[2:], uint16((old-change+2*65535)%65535))
		}
		same(t, c.name, reference.Run(p.Replies, in).Frame, want)
	}
}
