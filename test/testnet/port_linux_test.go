package testnet

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"repacket/internal/lab"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func openPort(t *testing.T, ns *lab.Namespace, name string, from net.HardwareAddr) *Port {
	t.Helper()
	port, err := OpenPort(ns, name, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	})
	return port
}

// frame is a frame that no protocol of the kernel takes (EtherType 0x88b5 is
// for local experiments, IEEE 802).
func frame(dst, src net.HardwareAddr, payload string) []byte {
	return append(append(append(bytes.Clone(dst), src...), 0x88, 0xb5), payload...)
}

func TestPortSendsAndReceives(t *testing.T) {
	p := newPair(t, lab.PairConfig{})
	stranger := net.HardwareAddr{2, 9, 9, 9, 9, 9}
	left := openPort(t, p.A, p.Config.A.Name, nil)
	all := openPort(t, p.B, p.Config.B.Name, nil)
	some := openPort(t, p.B, p.Config.B.Name, stranger)
	sent := [][]byte{
		frame(p.Config.B.MAC, p.Config.A.MAC, "one"),
		frame(net.HardwareAddr{2, 7, 7, 7, 7, 7}, stranger, "not for this machine"),
		frame(p.Config.B.MAC, p.Config.A.MAC, string(make([]byte, p.Config.MTU))),
		frame(p.Config.B.MAC, stranger, ""),
	}
	for _, f := range sent {
		if err := left.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, all, sent...)
	expect(t, some, sent[1], sent[3])
	// Had left received its own frames, or all the strangers', these would
	// not come first.
	if err := some.Send(sent[0]); err != nil {
		t.Fatal(err)
	}
	expect(t, left, sent[0])
}

// expect receives exactly these frames.
func expect(t *testing.T, p *Port, want ...[]byte) {
	t.Helper()
	for i, w := range want {
		got, err := p.Receive(time.Now().Add(patience))
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if !bytes.Equal(got, w) {
			t.Fatalf("frame %d is\n%x, want\n%x", i, got, w)
		}
	}
}

func TestPortErrors(t *testing.T) {
	p := newPair(t, lab.PairConfig{})
	port := openPort(t, p.A, p.Config.A.Name, nil)
	if _, err := port.Receive(time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing came: error %v, want the deadline", err)
	}
	if err := port.Send(make([]byte, 13)); err == nil {
		t.Error("a frame of 13 bytes was sent")
	}
	if err := port.Send(make([]byte, 14+p.Config.MTU+5)); err == nil {
		t.Error("a frame longer than the MTU was sent")
	}
	if _, err := OpenPort(p.A, "nothing", nil); err == nil {
		t.Error("a port on no interface")
	}
}

// A burst is more than the kernel's default receive buffer holds.
func TestPortTakesABurst(t *testing.T) {
	p := newPair(t, lab.PairConfig{})
	left := openPort(t, p.A, p.Config.A.Name, nil)
	right := openPort(t, p.B, p.Config.B.Name, nil)
	const burst = 2000
	f := frame(p.Config.B.MAC, p.Config.A.MAC, "burst")
	for range burst {
		if err := left.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	for i := range burst {
		if _, err := right.Receive(time.Now().Add(patience)); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	if dropped, err := right.Dropped(); err != nil || dropped != 0 {
		t.Errorf("%d frames dropped, %v", dropped, err)
	}
}

// The pair carries a datagram between local sockets with nothing around it, and
// the offload decides what its checksum is on the wire.
func TestPairIsQuietAndSumsAreAsAsked(t *testing.T) {
	for _, offload := range []bool{false, true} {
		p := newPair(t, lab.PairConfig{Offload: offload})
		port := openPort(t, p.B, p.Config.B.Name, nil)
		sendDatagram(t, p)
		got, err := port.Receive(time.Now().Add(patience))
		if err != nil {
			t.Fatal(err)
		}
		packet := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
		udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || udp.DstPort != 5201 {
			t.Fatalf("the first frame is not the datagram: %v", packet)
		}
		if err := udp.SetNetworkLayerForChecksum(packet.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
		// The decoder's own checksum is the judge.
		err, sum := udp.VerifyChecksum()
		if err != nil {
			t.Fatal(err)
		}
		if sum.Valid == offload {
			t.Errorf("offload %v: checksum %#04x, right: %v", offload, udp.Checksum, sum.Valid)
		}
	}
}

// sendDatagram sends one datagram from a socket in A to port 5201 of B.
func sendDatagram(t *testing.T, p *lab.Pair) {
	t.Helper()
	var conn *net.UDPConn
	err := p.A.Do(func() (err error) {
		to := netip.AddrPortFrom(p.Config.B.Addr.Addr(), 5201)
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
}
