package reference

import (
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
)

// FuzzParse: no bytes make the decoder panic or see a header that does not lie
// in the frame; and it finds the headers that an outside decoder finds.
func FuzzParse(f *testing.F) {
	for _, frame := range seedFrames() {
		f.Add(frame)
		f.Add(frame[:len(frame)-1]) // the last header is cut off
		f.Add(frame[:1])
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		p := parse(field.Ethernet, frame)
		for proto, at := range p.at {
			fixed := ethernetLen
			if proto != field.Eth {
				fixed = proto.Header().Fixed
			}
			if at < 0 || at+fixed > len(frame) {
				t.Fatalf("%v at %d of %d bytes", proto, at, len(frame))
			}
		}
		compareHeaders(t, p)
	})
}

// seedFrames are an IPv4 header, without options and with them, behind up to
// three tags, with 20 bytes behind it, of each protocol and of an unknown one.
func seedFrames() [][]byte {
	var out [][]byte
	tag := []byte{0x81, 0x00, 0x00, 0x01}
	for tags := range 4 {
		for _, words := range []byte{5, 6} {
			for _, protocol := range []byte{1, 6, 17, 47} {
				frame := make([]byte, 12)
				for range tags {
					frame = append(frame, tag...)
				}
				ip := make([]byte, 4*int(words)+20)
				ip[0], ip[9] = 0x40|words, protocol
				binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
				ip[4*words+5] = 20    // of UDP: a length
				ip[4*words+12] = 0x50 // of TCP: no options
				frame = append(frame, 0x08, 0x00)
				out = append(out, append(frame, ip...))
			}
		}
	}
	return out
}

// compareHeaders fails where gopacket sees another header behind IPv4. It
// rejects much that the language looks at (options and lengths of layers above,
// a first fragment), so where it fails it says nothing.
func compareHeaders(t *testing.T, p packet) {
	at, tags := 0, 0
	var ip *layers.IPv4
	var named layers.EthernetType
	for _, layer := range gopacket.NewPacket(p.frame, layers.LayerTypeEthernet, gopacket.NoCopy).Layers() {
		if len(layer.LayerContents()) == 0 { // it failed in this one
			return
		}
		if ip != nil {
			compareBehind(t, p, ip, layer.LayerType(), at)
			return
		}
		switch l := layer.(type) {
		case *layers.Ethernet:
			named = l.EthernetType
		case *layers.Dot1Q:
			named, tags = l.Type, tags+1
		case *layers.IPv4:
			if named != layers.EthernetTypeIPv4 {
				return // there are other numbers that gopacket takes for IPv4
			}
			if got, ok := p.at[field.IP]; ok != (tags <= 2) || ok && got != at {
				t.Fatalf("IPv4 is at %d behind %d tags, the reference has %v", at, tags, p.at)
			}
			ip = l
		default:
			return
		}
		at += len(layer.LayerContents())
	}
}

func compareBehind(t *testing.T, p packet, ip *layers.IPv4, next gopacket.LayerType, at int) {
	if _, ok := p.at[field.IP]; !ok || ip.Version != 4 || next == gopacket.LayerTypeDecodeFailure {
		return
	}
	if ip.FragOffset == 0 && ip.Flags&layers.IPv4MoreFragments != 0 {
		return // the first fragment has its header, which gopacket does not decode
	}
	for proto, theirs := range map[field.Protocol]gopacket.LayerType{
		field.TCP: layers.LayerTypeTCP, field.UDP: layers.LayerTypeUDP, field.ICMP: layers.LayerTypeICMPv4,
	} {
		if got, ok := p.at[proto]; ok != (next == theirs) || ok && got != at {
			t.Fatalf("behind IPv4 %v is at %d, the reference has %v", next, at, p.at)
		}
	}
}
