package testnet

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"repacket/internal/lab"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func newRouter(t *testing.T, cfg RouterConfig) *Router {
	t.Helper()
	r, err := NewRouter(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

// streams are the ways through a router: TCP and UDP, the latter by single
// datagrams and in GSO packets, over both IPs.
func streams(r *Router) map[string]StreamConfig {
	server4 := netip.AddrPortFrom(r.Config.Server.Addr.Addr(), 5201)
	server6 := netip.AddrPortFrom(r.Config.Server.Addr6.Addr(), 5201)
	base := StreamConfig{From: r.Client, To: r.Server, Bytes: 3<<20 + 1}
	all := map[string]StreamConfig{}
	for name, to := range map[string]netip.AddrPort{"4": server4, "6": server6} {
		cfg := base
		cfg.Dial = to
		all["tcp"+name] = cfg
		cfg.UDP = true
		all["udp"+name] = cfg
		cfg.Batch = 32
		all["udp GSO packets"+name] = cfg
	}
	return all
}

// forwarded counts what arrives at the server until the stream's last byte.
func forwarded(t *testing.T, c *Capture) (super, broken int) {
	t.Helper()
	for {
		p, err := c.Receive(time.Now())
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return super, broken
		}
		must(t, err)
		if p.Offload.GSO != GSONone {
			super++
		} else if p.Checksum == ChecksumNone {
			if _, right := layer4(t, p.Data); !right {
				broken++
			}
		}
	}
}

// TestRouterStreams: all of every stream gets through a router whole, as
// GSO packets with the offloads on and as single right packets without, and
// nobody counts an error.
func TestRouterStreams(t *testing.T) {
	for _, offload := range []bool{false, true} {
		r := newRouter(t, RouterConfig{Offload: offload})
		for name, cfg := range streams(r) {
			capture := openCapture(t, r.Server, r.Config.Server.Name, CaptureConfig{From: r.Config.ServerSide.MAC})
			got, err := Stream(cfg)
			if err != nil || got.Sent != cfg.Bytes || got.Received != cfg.Bytes {
				t.Fatalf("%s, offload %v: %+v, %v", name, offload, got, err)
			}
			if got.Source != got.SentFrom || got.ReceivedBy != cfg.Dial {
				t.Errorf("%s: from %v seen as %v, to %v", name, got.SentFrom, got.Source, got.ReceivedBy)
			}
			super, broken := forwarded(t, capture)
			if wantSuper := offload && (!cfg.UDP || cfg.Batch > 1); (super > 0) != wantSuper || broken > 0 {
				t.Errorf("%s, offload %v: %d GSO packets, %d packets with a wrong sum", name, offload, super, broken)
			}
		}
		for _, ns := range []*lab.Namespace{r.Client, r.Router, r.Server} {
			c, err := CountersOf(ns)
			must(t, err)
			if bad := c.Troubles(); len(bad) > 0 {
				t.Errorf("offload %v: %v", offload, bad)
			}
		}
	}
}

// TestRouterForwards: a packet leaves the router with new addresses of its own
// link and one hop less (RFC 1812 5.3.1, RFC 8200 3), over both IPs.
func TestRouterForwards(t *testing.T) {
	r := newRouter(t, RouterConfig{Client: lab.End{Name: "lan0"}, MTU: 9000})
	for name, cfg := range streams(r) {
		capture := openCapture(t, r.Server, "server0", CaptureConfig{From: r.Config.ServerSide.MAC})
		cfg.Bytes, cfg.Size = 100, 100
		_, err := Stream(cfg)
		must(t, err)
		p := gopacket.NewPacket(capture.next(t).Data, layers.LayerTypeEthernet, gopacket.Default)
		eth := p.LinkLayer().(*layers.Ethernet)
		if !bytes.Equal(eth.SrcMAC, r.Config.ServerSide.MAC) || !bytes.Equal(eth.DstMAC, r.Config.Server.MAC) {
			t.Errorf("%s: %s to %s", name, eth.SrcMAC, eth.DstMAC)
		}
		hops := uint8(0)
		switch ip := p.NetworkLayer().(type) {
		case *layers.IPv4:
			hops = ip.TTL
		case *layers.IPv6:
			hops = ip.HopLimit
		}
		if hops != 63 {
			t.Errorf("%s: %d hops left, want 63", name, hops)
		}
	}
}

// TestRouterIsQuiet: the first packet of each kind that a capture sees is the
// one that was sent; IPv6 has nothing to say of its own.
func TestRouterIsQuiet(t *testing.T) {
	r := newRouter(t, RouterConfig{})
	cfg := streams(r)["udp6"]
	cfg.Bytes = 500
	captures := []*Capture{
		openCapture(t, r.Router, "router0", CaptureConfig{Outgoing: true}),
		openCapture(t, r.Router, "router1", CaptureConfig{Outgoing: true}),
		openCapture(t, r.Server, "server0", CaptureConfig{Outgoing: true}),
	}
	for range 3 {
		_, err := Stream(cfg)
		must(t, err)
		for i, c := range captures {
			if p := c.next(t); len(p.Data) != 14+40+8+500 {
				t.Errorf("capture %d: %x", i, p.Data)
			}
		}
	}
}

// TestStreamFails: what is lost, or has nobody to listen, is said in time.
func TestStreamFails(t *testing.T) {
	p := newPair(t, lab.PairConfig{})
	cfg := StreamConfig{
		From: p.A, To: p.B, Bytes: 5000, Timeout: 300 * time.Millisecond, Quiet: 50 * time.Millisecond,
		Dial: netip.AddrPortFrom(p.Config.B.Addr.Addr(), 5201),
	}
	other := cfg
	other.Listen = netip.AddrPortFrom(cfg.Dial.Addr(), 5202)
	if r, err := Stream(other); err == nil || r.Received != 0 {
		t.Errorf("nobody listens: %+v, %v", r, err)
	}
	drop, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	must(t, err)
	defer drop.Close()
	hook, err := attachTC(p.A, p.Config.A.Name, drop, Out)
	must(t, err)
	defer hook.Close()
	for _, udp := range []bool{false, true} {
		cfg.UDP = udp
		if r, err := Stream(cfg); !errors.Is(err, os.ErrDeadlineExceeded) || r.Received != 0 {
			t.Errorf("all is lost, udp %v: %+v, %v", udp, r, err)
		}
	}
	cfg.LossAllowed = true
	if r, err := Stream(cfg); err != nil || r.Sent != 5000 || r.Received != 0 {
		t.Errorf("all is lost, as it may be: %+v, %v", r, err)
	}
}

// TestVerify: whatever happens to a stream's bytes is found.
func TestVerify(t *testing.T) {
	const at, size = 1_000_003, 3000
	good := make([]byte, size)
	pattern(good, at)
	if err := verify(good, at); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"a bit":    append([]byte{good[0] ^ 1}, good[1:]...),
		"lost":     good[1400:],
		"repeated": append(append([]byte(nil), good[:1400]...), good...),
		"swapped":  append(append([]byte(nil), good[1400:2800]...), good[:1400]...),
		"moved":    good[256:],
	} {
		if verify(bad, at) == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

// TestCounters: wrong sums are counted where they are found.
func TestCounters(t *testing.T) {
	p := newPair(t, lab.PairConfig{A: lab.End{Addr6: netip.MustParsePrefix("2001:db8::1/64")}, B: lab.End{Addr6: netip.MustParsePrefix("2001:db8::2/64")}})
	left := openPort(t, p.A, p.Config.A.Name, nil)
	link, err := LinkCounters(p.B, p.Config.B.Name)
	must(t, err)
	want := map[flow]string{
		{false, false}: "TcpInCsumErrors", {true, false}: "TcpInCsumErrors",
		{false, true}: "UdpInCsumErrors", {true, true}: "Udp6InCsumErrors",
	}
	for _, f := range flows {
		before, err := CountersOf(p.B)
		must(t, err)
		wrong := f.frame(t, text(100))
		wrong[len(wrong)-1]++
		must(t, left.Send(wrong))
		var grown Counters
		eventually(t, f.String()+" is counted", func() bool {
			now, err := CountersOf(p.B)
			must(t, err)
			grown = now.Since(before)
			return grown[want[f]] == 1
		})
		if grown.Troubles()[want[f]] != 1 {
			t.Errorf("%v: no trouble in %v", f, grown)
		}
	}
	now, err := LinkCounters(p.B, p.Config.B.Name)
	must(t, err)
	if got := now.Since(link)["rx_packets"]; got != uint64(len(flows)) {
		t.Errorf("%d packets were received, want %d", got, len(flows))
	}
	if _, err := LinkCounters(p.B, "nothing"); err == nil {
		t.Error("no interface, but counters")
	}
}
