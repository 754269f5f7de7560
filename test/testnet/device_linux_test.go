package testnet

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"repacket/internal/lab"

	"github.com/google/go-cmp/cmp"
)

func openTunTap(t *testing.T, ns *lab.Namespace, cfg TunConfig) *Tun {
	t.Helper()
	cfg.End.Addr6 = netip.MustParsePrefix("2001:db8::2/64")
	cfg.Peer.Addr6 = netip.MustParsePrefix("2001:db8::1/64")
	// The flows of the tests go from .1 to .2.
	cfg.End.Addr, cfg.Peer.Addr = netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("192.0.2.1/24")
	cfg.End.MAC, cfg.Peer.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}, net.HardwareAddr{2, 0, 0, 0, 0, 1}
	tun, err := OpenTun(ns, cfg)
	must(t, err)
	t.Cleanup(func() { must(t, tun.Close()) })
	return tun
}

func (t *Tun) next(tt *testing.T) Packet {
	tt.Helper()
	p, err := t.Read(time.Now().Add(patience))
	must(tt, err)
	return p
}

// echo takes one datagram at port 5201 inside, and answers with twice of it.
func echo(t *testing.T, ns *lab.Namespace, send func()) {
	t.Helper()
	var conn *net.UDPConn
	must(t, ns.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: 5201})
		return err
	}))
	defer conn.Close()
	send()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	buf := make([]byte, 1000)
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	must(t, err)
	_, err = conn.WriteToUDPAddrPort(append(buf[:n:n], buf[:n]...), from)
	must(t, err)
}

// TestTunAndTap: what is written arrives at sockets inside, and their answers
// are read, with right sums or, where work is left to the wire, open ones.
func TestTunAndTap(t *testing.T) {
	for _, tap := range []bool{false, true} {
		for _, offload := range []bool{false, true} {
			ns := newNamespace(t)
			tun := openTunTap(t, ns, TunConfig{Tap: tap, Offload: offload})
			for _, f := range []flow{{false, true}, {true, true}} {
				frame := f.frame(t, []byte("hello"))
				ethernet := frame[:14] // a tun has none
				if tap {
					ethernet = nil
				}
				echo(t, ns, func() { must(t, tun.Write(frame[len(ethernet):])) })
				got := tun.next(t)
				answer := append(bytes.Clone(ethernet), got.Data...)
				payload, right := layer4(t, answer)
				if string(payload) != "hellohello" || right == offload || got.Offload.Partial != offload {
					t.Errorf("tap %v, offload %v, %v: %q with a right sum: %v, %+v", tap, offload, f, payload, right, got)
				}
			}
			if _, err := tun.Read(time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("nothing came: error %v, want the deadline", err)
			}
		}
	}
}

// TestTunOffloads: partial packets and GSO packets come in as such.
func TestTunOffloads(t *testing.T) {
	for _, tap := range []bool{false, true} {
		ns := newNamespace(t)
		tun := openTunTap(t, ns, TunConfig{Tap: tap, Offload: true})
		seen := watch(t, ns, tun.Config.End.Name, In)
		capture := openCapture(t, ns, tun.Config.End.Name, CaptureConfig{})
		for _, f := range flows {
			for _, segment := range []int{0, 1000} {
				sent := f.frame(t, text(5000))
				build := Partial
				if !tap {
					sent, build = sent[14:], PartialIP
				}
				sent, o, err := build(sent, segment)
				must(t, err)
				must(t, tun.WriteOffloaded(sent, o))
				want := Packet{Data: sent, Checksum: ChecksumPartial, Offload: o}
				if diff := cmp.Diff(want, capture.next(t)); diff != "" {
					t.Errorf("tap %v, %v (-want +got):\n%s", tap, f, diff)
				}
				skb := seen.next(t)
				if !bytes.Equal(skb.Data, sent) || skb.Checksum != known(ChecksumPartial, skb.Checksum) || skb.Segment != segment {
					t.Errorf("tap %v, %v: tc sees %v, segments of %d, %x", tap, f, skb.Checksum, skb.Segment, skb.Data)
				}
			}
		}
	}
	tun := openTunTap(t, newNamespace(t), TunConfig{})
	if tun.WriteOffloaded([]byte{0x45}, Offload{Partial: true}) == nil {
		t.Error("work was left on a packet that has no place to say so")
	}
}

// TestBridge: two ports of a bridge are one wire, in both directions.
func TestBridge(t *testing.T) {
	left, middle, right := newNamespace(t), newNamespace(t), newNamespace(t)
	a := lab.End{Name: "a0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Addr: netip.MustParsePrefix("192.0.2.1/24")}
	b := lab.End{Name: "b0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Addr: netip.MustParsePrefix("192.0.2.2/24")}
	must(t, lab.Connect(left, middle, lab.PairConfig{A: a, B: lab.End{Name: "port0"}}))
	must(t, lab.Connect(middle, right, lab.PairConfig{A: lab.End{Name: "port1"}, B: b}))
	must(t, AddBridge(middle, lab.End{Name: "br0"}, "port0", "port1"))
	must(t, AddNeighbour(left, "a0", b))
	must(t, AddNeighbour(right, "b0", a))
	from, to := openPort(t, left, "a0", nil), openPort(t, right, "b0", nil)
	there, back := frame(b.MAC, a.MAC, "there"), frame(a.MAC, b.MAC, "and back")
	must(t, from.Send(there))
	expect(t, to, there)
	must(t, to.Send(back))
	expect(t, from, back)
	got, err := Stream(StreamConfig{From: left, To: right, Dial: netip.AddrPortFrom(b.Addr.Addr(), 5201)})
	if err != nil || got.Received != 1<<20 {
		t.Errorf("stream: %+v, %v", got, err)
	}
	if err := AddBridge(middle, lab.End{Name: "br1"}, "nothing"); err == nil {
		t.Error("a port that is not there was accepted")
	}
}

// TestMacvlan: of one wire, frames go to the interface with their MAC.
func TestMacvlan(t *testing.T) {
	p := newPair(t, lab.PairConfig{})
	end := lab.End{Name: "mv0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Addr: netip.MustParsePrefix("192.0.2.9/24")}
	must(t, AddMacvlan(p.B, p.Config.B.Name, end, p.Config.A))
	must(t, AddNeighbour(p.A, p.Config.A.Name, end))
	left, above := openPort(t, p.A, p.Config.A.Name, nil), openPort(t, p.B, "mv0", nil)
	mine := frame(end.MAC, p.Config.A.MAC, "for the macvlan")
	must(t, left.Send(frame(p.Config.B.MAC, p.Config.A.MAC, "for the parent")))
	must(t, left.Send(mine))
	expect(t, above, mine)
	got, err := Stream(StreamConfig{From: p.A, To: p.B, Dial: netip.AddrPortFrom(end.Addr.Addr(), 5201)})
	if err != nil || got.Received != 1<<20 {
		t.Errorf("stream: %+v, %v", got, err)
	}
	if err := AddMacvlan(p.B, "nothing", end, lab.End{}); err == nil {
		t.Error("a parent that is not there was accepted")
	}
}

// TestLoopback: streams inside one namespace cross lo twice, out and in.
func TestLoopback(t *testing.T) {
	ns := newNamespace(t)
	addrs := []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::7/128")}
	must(t, AddAddresses(ns, "lo", addrs...))
	for _, a := range append(addrs, netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")) {
		leaves, arrives := watch(t, ns, "lo", Out), watch(t, ns, "lo", In)
		cfg := StreamConfig{From: ns, To: ns, UDP: true, Bytes: 100, Size: 100, Dial: netip.AddrPortFrom(a.Addr(), 5201)}
		if got, err := Stream(cfg); err != nil || got.Received != 100 {
			t.Errorf("%v: %+v, %v", a, got, err)
		}
		out, in := leaves.next(t), arrives.next(t)
		if !bytes.Equal(out.Data, in.Data) || out.Length < 14+20+8+100 {
			t.Errorf("%v: %x leaves, %x arrives", a, out.Data, in.Data)
		}
	}
}

// TestDevicesGo: what was added goes with its namespace, a tun when it is
// closed.
func TestDevicesGo(t *testing.T) {
	ns := newNamespace(t)
	tun, err := OpenTun(ns, TunConfig{Tap: true})
	must(t, err)
	must(t, AddBridge(ns, lab.End{Name: "br0"}, "tap0"))
	names := func() (names string) {
		must(t, ns.Do(func() error { names = strings.Join(interfaceNames(t), " "); return nil }))
		return names
	}
	if got := names(); got != "lo tap0 br0" {
		t.Errorf("interfaces %s", got)
	}
	must(t, tun.Close())
	eventually(t, "the tap goes", func() bool { return names() == "lo br0" })
	fds := openFDs(t)
	if _, err := OpenTun(ns, TunConfig{End: lab.End{Name: "br0"}}); err == nil {
		t.Error("a tun took the bridge's name")
	}
	if got := openFDs(t); got != fds {
		t.Errorf("%d descriptors are open, before it were %d", got, fds)
	}
}

// TestJumbo: with an MTU of 9,000 frames of that size pass, raw ones byte for
// byte and streams in pieces of it; a larger frame does not.
func TestJumbo(t *testing.T) {
	p := newPair(t, lab.PairConfig{MTU: 9000})
	left, right := openPort(t, p.A, p.Config.A.Name, nil), openPort(t, p.B, p.Config.B.Name, nil)
	seen := watch(t, p.B, p.Config.B.Name, In)
	jumbo := flow{udp: true}.frame(t, text(9000-28))
	if len(jumbo) != 14+9000 {
		t.Fatalf("the frame has %d bytes", len(jumbo))
	}
	must(t, left.Send(jumbo))
	expect(t, right, jumbo)
	if got := seen.next(t); !bytes.Equal(got.Data, jumbo) {
		t.Errorf("tc sees %d bytes", got.Length)
	}
	if err := left.Send(append(jumbo, make([]byte, 8)...)); err == nil {
		t.Error("a frame longer than the MTU was sent")
	}
	capture := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{From: p.Config.A.MAC})
	got, err := Stream(StreamConfig{From: p.A, To: p.B, Dial: netip.AddrPortFrom(p.Config.B.Addr.Addr(), 5201)})
	if err != nil || got.Received != 1<<20 {
		t.Errorf("stream: %+v, %v", got, err)
	}
	longest := 0
	for {
		packet, err := capture.Receive(time.Now())
		if err != nil {
			break
		}
		longest = max(longest, len(packet.Data))
	}
	if longest != 14+9000 {
		t.Errorf("the longest frame of the stream has %d bytes, want 9014", longest)
	}
}

// TestBigTCP: GSO packets beyond 64 KiB say that they are 0 bytes long.
func TestBigTCP(t *testing.T) {
	p := newPair(t, lab.PairConfig{Offload: true})
	must(t, SetSegmentSize(p.A, p.Config.A.Name, 185_000))
	must(t, SetSegmentSize(p.B, p.Config.B.Name, 185_000))
	capture := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{From: p.Config.A.MAC})
	cfg := StreamConfig{From: p.A, To: p.B, Bytes: 8 << 20, Size: 1 << 20}
	cfg.Dial = netip.AddrPortFrom(p.Config.B.Addr.Addr(), 5201)
	got, err := Stream(cfg)
	if err != nil || got.Received != cfg.Bytes {
		t.Fatalf("stream: %+v, %v", got, err)
	}
	big := 0
	for {
		packet, err := capture.Receive(time.Now())
		if err != nil {
			break
		}
		if len(packet.Data) > 14+65_535 {
			big++
			if !bytes.Equal(packet.Data[16:18], []byte{0, 0}) {
				t.Errorf("%d bytes say that they are %x", len(packet.Data), packet.Data[16:18])
			}
		}
	}
	if big == 0 {
		t.Error("no packet is larger than 64 KiB")
	}
}

// TestNothingOfAllIsLeft: networks and watchers of every kind close what they
// have opened.
func TestNothingOfAllIsLeft(t *testing.T) {
	once := func() {
		r, err := NewRouter(RouterConfig{})
		must(t, err)
		name := r.Config.ClientSide.Name
		capture, err := OpenCapture(r.Router, name, CaptureConfig{})
		must(t, err)
		skbs, err := WatchSkbs(r.Router, name, In)
		must(t, err)
		tagging, err := PushVLAN(r.Router, name, Tag{0x8100, 1})
		must(t, err)
		tun, err := OpenTun(r.Client, TunConfig{End: lab.End{Addr: netip.MustParsePrefix("203.0.113.1/24")}})
		must(t, err)
		_, err = Stream(StreamConfig{From: r.Client, To: r.Client, Dial: netip.MustParseAddrPort("127.0.0.1:5201"), Bytes: 1})
		must(t, err)
		must(t, errors.Join(capture.Close(), skbs.Close(), tagging.Close(), tun.Close(), r.Close(), r.Close()))
	}
	once() // what the libraries keep open is open now
	fds, names := openFDs(t), interfaceNames(t)
	once()
	if got := openFDs(t); got != fds {
		t.Errorf("%d descriptors are open, before it were %d", got, fds)
	}
	if got := interfaceNames(t); strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("interfaces %q, before it were %q", got, names)
	}
	r, err := NewRouter(RouterConfig{Server: lab.End{Name: "a-name-of-sixteen"}})
	if err == nil || r != nil {
		t.Errorf("a router with an impossible name: %v, %v", r, err)
	}
	if got := openFDs(t); got != fds {
		t.Errorf("after a failure %d descriptors are open, before it were %d", got, fds)
	}
}
