package testnet

import (
	"encoding/binary"
	"errors"
)

// transport is where a packet's layer-4 header is and what its checksum begins
// with.
type transport struct {
	start    int   // of the header
	check    int   // of the checksum, in the header
	payload  int   // behind the header
	protocol uint8 // as IP numbers them
	seed     uint16
	gso      GSOType
}

// The protocols with a checksum over a pseudo-header.
const (
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
)

var errNoTransport = errors.New("the packet has no TCP, UDP or ICMPv6 header")

// findTransport finds the layer-4 header of the packet whose network header is
// at l3.
func findTransport(packet []byte, l3 int) (t transport, err error) {
	ip := packet[min(l3, len(packet)):]
	var addresses []byte
	var end int
	v6 := false
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4:
		t.protocol, t.start = ip[9], l3+int(ip[0]&15)*4
		addresses, end = ip[12:20], int(binary.BigEndian.Uint16(ip[2:]))
	case len(ip) >= 40 && ip[0]>>4 == 6:
		v6 = true
		t.protocol, t.start = skipExtensions(packet, ip[6], l3+40)
		addresses = ip[8:40]
		if n := int(binary.BigEndian.Uint16(ip[4:])); n > 0 {
			end = 40 + n
		}
	default:
		return t, errNoTransport
	}
	if end == 0 || l3+end > len(packet) { // 0: longer than the field can say
		end = len(packet) - l3
	}
	length := l3 + end - t.start
	if err := t.describe(packet, length, v6); err != nil {
		return t, err
	}
	t.seed = pseudoHeaderSum(addresses, length, t.protocol)
	return t, nil
}

// skipExtensions steps over IPv6's hop-by-hop, routing and destination options.
func skipExtensions(packet []byte, next uint8, at int) (protocol uint8, start int) {
	for (next == 0 || next == 43 || next == 60) && at+2 <= len(packet) {
		next, at = packet[at], at+8*(1+int(packet[at+1]))
	}
	return next, at
}

// describe fills in what depends on the protocol.
func (t *transport) describe(packet []byte, length int, v6 bool) error {
	size := map[uint8]int{protocolTCP: 20, protocolUDP: 8, protocolICMPv6: 4}[t.protocol]
	if size == 0 || length < size {
		return errNoTransport
	}
	t.check = map[uint8]int{protocolTCP: 16, protocolUDP: 6, protocolICMPv6: 2}[t.protocol]
	t.payload = t.start + size
	switch t.protocol {
	case protocolTCP:
		t.payload = t.start + int(packet[t.start+12]>>4)*4
		t.gso = GSOTCP4
		if v6 {
			t.gso = GSOTCP6
		}
	case protocolUDP:
		t.gso = GSOUDP
	}
	return nil
}

// pseudoHeaderSum is the sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1),
// not complemented: what is in a partial checksum.
func pseudoHeaderSum(addresses []byte, length int, protocol uint8) uint16 {
	sum := uint64(length>>16) + uint64(length&0xffff) + uint64(protocol)
	for i := 0; i < len(addresses); i += 2 {
		sum += uint64(binary.BigEndian.Uint16(addresses[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
