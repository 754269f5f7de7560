package live

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// carried is what a tunnel's datagram carries: VXLAN's header and a packet inside,
// whose checksum is at innerCheck.
const (
	innerAt    = 8
	innerCheck = 6
)

// tunnelled is a datagram of a tunnel whose outer checksum is right once the inner
// one is made.
type tunnelled struct {
	src, dst       netip.Addr
	srcPort, check uint16 // check: 0 for the right one
	bad            bool
}

// frame is the datagram on the wire, and where in it the packet inside begins.
func (d tunnelled) frame(t *testing.T) (frame []byte, inner int) {
	t.Helper()
	payload := []byte("\x08\x00\x00\x00\x00\x00\x01\x00inside\x00\x00 a packet whose checksum comes later")
	binary.BigEndian.PutUint16(payload[innerAt+innerCheck:], innerSeed)
	binary.BigEndian.PutUint16(payload[innerAt+innerCheck:], ^foldedSum(sumOf(payload[innerAt:])))
	udp := &layers.UDP{SrcPort: layers.UDPPort(d.srcPort), DstPort: 4789}
	eth := &layers.Ethernet{SrcMAC: leftMAC, DstMAC: rightMAC, EthernetType: layers.EthernetTypeIPv4}
	var l3 interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP(d.src.AsSlice()), DstIP: net.IP(d.dst.AsSlice())}
	if d.src.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		l3 = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: d.src.AsSlice(), DstIP: d.dst.AsSlice()}
	}
	fatal(t, udp.SetNetworkLayerForChecksum(l3))
	buf := gopacket.NewSerializeBuffer()
	fatal(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, l3, udp, gopacket.Payload(payload)))
	frame = buf.Bytes()
	at := len(frame) - len(payload)
	sum := frame[at-2 : at]
	right := uint32(binary.BigEndian.Uint16(sum))
	switch {
	case d.bad:
		right++
		binary.BigEndian.PutUint16(sum, uint16(right+right>>16))
	case d.check != 0:
		binary.BigEndian.PutUint16(sum, d.check)
	}
	return frame, at + innerAt
}

// innerSeed stands for the part of the pseudo-header in the inner checksum.
const innerSeed = 0x1234

// open is a frame whose inner checksum is yet to be made.
func open(frame []byte, inner int) []byte {
	out := append([]byte(nil), frame...)
	binary.BigEndian.PutUint16(out[inner+innerCheck:], innerSeed)
	return out
}

// TestTunnelsOpenInside: the offloaded checksum is that of the packet in a
// tunnel; the tunnel's own is whole, and stays right.
func TestTunnelsOpenInside(t *testing.T) {
	needRoot(t)
	four := tunnelled{src: netip.MustParseAddr("192.0.2.1"), dst: netip.MustParseAddr("192.0.2.2"), srcPort: 1000}
	six := tunnelled{src: netip.MustParseAddr("2001:db8::1"), dst: netip.MustParseAddr("2001:db8::2"), srcPort: 1000}
	for _, dir := range []run.Direction{run.In, run.Out} {
		pair, err := lab.NewPair(lab.PairConfig{Offload: dir == run.In})
		fatal(t, err)
		t.Cleanup(func() { check(t, pair.Close()) })
		left := openPort(t, pair.A, "left", leftMAC)
		behind := watch(t, pair.B, "right", testnet.In)
		at := map[run.Direction]struct {
			ns   *lab.Namespace
			name string
		}{run.In: {pair.B, "right"}, run.Out: {pair.A, "left"}}[dir]
		for _, d := range []tunnelled{four, six} {
			field, other := "ip_src", "192.0.2.77"
			if d.src.Is6() {
				field, other = "ip6_src", "2001:db8:77::3"
			}
			for text, want := range map[string]tunnelled{
				"udp_src 4444":                     {srcPort: 4444},
				"udp_src +1":                       {srcPort: 1001},
				field + " " + other:                {src: netip.MustParseAddr(other)},
				"udp_src 9 " + field + " " + other: {src: netip.MustParseAddr(other), srcPort: 9},
				"udp_src 4444 udp_check fix":       {srcPort: 4444},
				"udp_src 4444 udp_check bad":       {srcPort: 4444, bad: true},
				"udp_check 0xbeef":                 {check: 0xbeef},
			} {
				want.dst = d.dst
				if want.srcPort == 0 {
					want.srcPort = d.srcPort
				}
				if !want.src.IsValid() {
					want.src = d.src
				}
				t.Run(fmt.Sprintf("%s %s %s", dir, d.src, text), func(t *testing.T) {
					session := byDefault(t, at.ns, at.name, dir, "if udp_dest 4789 then "+text)
					frame, inner := d.frame(t)
					fatal(t, left.SendOffloaded(open(frame, inner), testnet.Offload{Partial: true, Start: uint16(inner), Offset: innerCheck}))
					skb, err := behind.Receive(time.Now().Add(patience))
					fatal(t, err)
					expected, inner := want.frame(t)
					if dir == run.In {
						if expected = open(expected, inner); skb.Checksum != testnet.ChecksumPartial {
							t.Errorf("the sum inside was %v", skb.Checksum)
						}
					}
					if string(skb.Data) != string(expected) {
						t.Errorf("sent %x\nwant %x\ngot  %x", frame, expected, skb.Data)
					}
					if c, err := session.Counts(); err != nil || c.Rules[0].Rewritten != 1 {
						t.Errorf("counted %+v, %v", c, err)
					}
				})
			}
		}
	}
}

// TestTunnel: a tunnel over an interface with rules, through the whole stack.
func TestTunnel(t *testing.T) {
	needRoot(t)
	pair, err := lab.NewPair(lab.PairConfig{})
	fatal(t, err)
	t.Cleanup(func() { check(t, pair.Close()) })
	vx, err := testnet.AddVXLAN(pair, testnet.VXLANConfig{})
	fatal(t, err)
	session := byDefault(t, pair.A, pair.Config.A.Name, run.Out, "if udp_dest 4789 then udp_src 4444 ip_src 192.0.2.77")
	there := netip.AddrPortFrom(vx.B.Addr.Addr(), 9000)
	got, err := testnet.Stream(testnet.StreamConfig{From: pair.A, To: pair.B, UDP: true, Bytes: 3000, Size: 1000, Dial: there, Listen: there})
	if err != nil || got.Received != 3000 {
		t.Errorf("%+v, %v", got, err)
	}
	if c, err := session.Counts(); err != nil || c.Rules[0].Rewritten < 3 {
		t.Errorf("counted %+v, %v", c, err)
	}
	c, err := testnet.CountersOf(pair.B)
	fatal(t, err)
	if bad := c.Troubles(); len(bad) > 0 {
		t.Errorf("the stack counts %v", bad)
	}
}
