package testnet

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"repacket/internal/lab"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// flow is a kind of packet that checksums can be left open in.
type flow struct {
	v6, udp bool
}

var flows = []flow{{false, false}, {false, true}, {true, false}, {true, true}}

func (f flow) String() string {
	return map[bool]string{false: "tcp", true: "udp"}[f.udp] + map[bool]string{false: "4", true: "6"}[f.v6]
}

func (f flow) gso() GSOType {
	switch {
	case f.udp:
		return GSOUDP
	case f.v6:
		return GSOTCP6
	}
	return GSOTCP4
}

// frame is a whole, right frame of the flow from A to B of a default pair, made
// by gopacket.
func (f flow) frame(t *testing.T, payload []byte) []byte {
	t.Helper()
	return f.build(t, net.HardwareAddr{2, 0, 0, 0, 0, 2}, net.HardwareAddr{2, 0, 0, 0, 0, 1}, payload)
}

func (f flow) build(t *testing.T, dst, src net.HardwareAddr, payload []byte) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}
	protocol := layers.IPProtocolTCP
	if f.udp {
		protocol = layers.IPProtocolUDP
	}
	var network interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv4{
		Version: 4, TTL: 64, Protocol: protocol, Id: 77, Flags: layers.IPv4DontFragment,
		SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2),
	}
	if f.v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		network = &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: protocol,
			SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2"),
		}
	}
	tcp := &layers.TCP{SrcPort: 1024, DstPort: 5201, Seq: 1e6, ACK: true, Window: 1000}
	udp := &layers.UDP{SrcPort: 1024, DstPort: 5201}
	var transport gopacket.SerializableLayer = tcp
	if f.udp {
		transport = udp
	}
	must(t, tcp.SetNetworkLayerForChecksum(network))
	must(t, udp.SetNetworkLayerForChecksum(network))
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	must(t, gopacket.SerializeLayers(buf, opts, eth, network, transport, gopacket.Payload(payload)))
	return bytes.Clone(buf.Bytes())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// text is a payload in which every place is told from its neighbours.
func text(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%d ", i)
	}
	return b[:n]
}

// layer4 decodes a frame, and says whether its layer-4 checksum is right, by
// gopacket's judgement.
func layer4(t *testing.T, frame []byte) (payload []byte, right bool) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	var verify func() (error, gopacket.ChecksumVerificationResult)
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		must(t, l.SetNetworkLayerForChecksum(p.NetworkLayer()))
		verify, payload = l.VerifyChecksum, l.Payload
	case *layers.UDP:
		must(t, l.SetNetworkLayerForChecksum(p.NetworkLayer()))
		verify, payload = l.VerifyChecksum, l.Payload
	default:
		t.Fatalf("no TCP or UDP in %x: %v", frame, p.ErrorLayer())
	}
	err, sum := verify()
	must(t, err)
	return payload, sum.Valid
}

func openCapture(t *testing.T, ns *lab.Namespace, name string, cfg CaptureConfig) *Capture {
	t.Helper()
	c, err := OpenCapture(ns, name, cfg)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func (c *Capture) next(t *testing.T) Packet {
	t.Helper()
	p, err := c.Receive(time.Now().Add(patience))
	must(t, err)
	return p
}

// partial is Partial of the flow's frame.
func (f flow) partial(t *testing.T, payload []byte, segment int) ([]byte, Offload) {
	t.Helper()
	sent, o, err := Partial(f.frame(t, payload), segment)
	must(t, err)
	return sent, o
}

// TestPartial: with the offload on the sum arrives open, with the offload off
// the kernel has finished it.
func TestPartial(t *testing.T) {
	for _, features := range []lab.Features{lab.Offloaded(), lab.ByteExact()} {
		p := newPair(t, lab.PairConfig{Offload: true, A: lab.End{Features: features}})
		left := openPort(t, p.A, p.Config.A.Name, nil)
		capture := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{})
		for _, f := range flows {
			whole := f.frame(t, []byte("hello"))
			sent, o := f.partial(t, []byte("hello"), 0)
			must(t, left.SendOffloaded(sent, o))
			got := capture.next(t)
			want := Packet{Data: whole, Checksum: ChecksumNone}
			if features[lab.TxChecksum] {
				want = Packet{Data: sent, Checksum: ChecksumPartial, Offload: o}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%v, offload %v (-want +got):\n%s", f, features[lab.TxChecksum], diff)
			}
			// The decoder agrees that one is open and the other is not.
			if _, right := layer4(t, got.Data); right == features[lab.TxChecksum] {
				t.Errorf("%v, offload %v: checksum right: %v", f, features[lab.TxChecksum], right)
			}
		}
	}
}

// TestSuperPacketsStayWhole: a device with segmentation offload gets one packet
// and hands it to the peer.
func TestSuperPacketsStayWhole(t *testing.T) {
	p := newPair(t, lab.PairConfig{Offload: true})
	left := openPort(t, p.A, p.Config.A.Name, nil)
	capture := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{})
	for _, f := range flows {
		sent, o := f.partial(t, text(60_000), 1200)
		if o.GSO != f.gso() || o.Segment != 1200 {
			t.Errorf("%v: offload %+v", f, o)
		}
		must(t, left.SendOffloaded(sent, o))
		want := Packet{Data: sent, Checksum: ChecksumPartial, Offload: o}
		if diff := cmp.Diff(want, capture.next(t)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", f, diff)
		}
	}
}

// TestSuperPacketsAreCut: without the offload the kernel makes of one packet
// those that it stands for, each with a right checksum.
func TestSuperPacketsAreCut(t *testing.T) {
	p := newPair(t, lab.PairConfig{Offload: true, A: lab.End{Features: lab.ByteExact()}})
	left := openPort(t, p.A, p.Config.A.Name, nil)
	capture := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{})
	for _, f := range flows {
		payload := text(10_000)
		sent, o := f.partial(t, payload, 1200)
		must(t, left.SendOffloaded(sent, o))
		var got []byte
		for len(got) < len(payload) {
			packet := capture.next(t)
			part, right := layer4(t, packet.Data)
			if !right || packet.Offload != (Offload{}) || packet.Checksum != ChecksumNone || len(part) > 1200 {
				t.Fatalf("%v: segment of %d bytes, sum right: %v, %v, %+v", f, len(part), right, packet.Checksum, packet.Offload)
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, payload) {
			t.Errorf("%v: the segments do not make up the payload", f)
		}
	}
}

// TestPartialErrors: only what has a checksum to be left open can be sent so.
func TestPartialErrors(t *testing.T) {
	arp := append(make([]byte, 12), 0x08, 0x06, 0, 1)
	for name, frame := range map[string][]byte{"empty": nil, "short": make([]byte, 13), "arp": arp} {
		if _, _, err := Partial(frame, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestFeatures: the switches are what they are set to, and the others stay.
func TestFeatures(t *testing.T) {
	p := newPair(t, lab.PairConfig{Offload: true})
	name := p.Config.A.Name
	before, err := p.A.Features(name)
	must(t, err)
	for _, want := range []lab.Features{lab.ByteExact(), lab.Offloaded(), {lab.GRO: true}, {lab.GRO: false}, {lab.TxVLAN: false}} {
		must(t, p.A.SetFeatures(name, want))
		got, err := p.A.Features(name)
		must(t, err)
		for f, on := range want {
			if got[f] != on {
				t.Errorf("%s is %v, want %v", f, got[f], on)
			}
		}
	}
	must(t, p.A.SetFeatures(name, lab.Features{lab.TxVLAN: true}))
	after, err := p.A.Features(name)
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("features (-before +after):\n%s", diff)
	}
	if err := p.A.SetFeatures(name, lab.Features{lab.TxChecksum: false, lab.TSO: true}); err == nil {
		t.Error("segmentation without checksums was accepted")
	}
	if err := p.A.SetFeatures(name, lab.Features{"no such switch": true}); err == nil {
		t.Error("an unknown switch was accepted")
	}
	if err := p.A.SetFeatures("nothing", lab.ByteExact()); err == nil {
		t.Error("an interface that is not there was accepted")
	}
}
