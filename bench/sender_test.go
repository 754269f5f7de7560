package main

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/cli"
	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// TestMain makes the test the sender, or the command, where it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case senderWord:
			exit(senderMain(os.Stdout, os.Args[2:]))
		case "--json":
			os.Exit(cli.Run(cli.System()))
		}
	}
	os.Exit(m.Run())
}

// TestSenderCounts: as many packets as the sender says arrive, as the other end's
// kernel counts them, and all but those to warm up are timed.
func TestSenderCounts(t *testing.T) {
	needs.Kernel(t)
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	where, err := usableCPUs()
	if err != nil {
		t.Fatal(err)
	}
	received := func() (pings, packets int) {
		protocols, err := testnet.CountersOf(pair.B)
		if err != nil {
			t.Fatal(err)
		}
		if bad := protocols["IcmpInErrors"] + protocols["IcmpInCsumErrors"]; bad > 0 {
			t.Errorf("%d pings are broken", bad)
		}
		link, err := testnet.LinkCounters(pair.B, pair.Config.B.Name)
		if err != nil {
			t.Fatal(err)
		}
		return int(protocols["IcmpInEchos"]), int(link["rx_packets"])
	}
	for _, c := range []struct {
		name           string
		s              sending
		pings, packets int
		times          int
	}{
		{"pings of 64 bytes", sending{Count: 30, Warm: 10, CPU: where[0], Echo: pair.Config.B.Addr.Addr(), Bytes: 64}, 40, 40, 30},
		{"pings of 1,500", sending{Count: 20, CPU: -1, Echo: pair.Config.B.Addr.Addr(), Bytes: 1500}, 20, 20, 20},
		{"frames", sending{
			Count: 2*block + 1, Warm: 7, CPU: where[0], Interface: pair.Config.A.Name,
			Frame: hex.EncodeToString(lookedForFrame()),
		}, 0, 2*block + 8, 3},
	} {
		pings, packets := received()
		done, err := c.s.send(pair.A)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		pingsNow, packetsNow := received()
		if done.Packets != c.packets || packetsNow-packets != c.packets || pingsNow-pings != c.pings || len(done.Nanoseconds) != c.times {
			t.Errorf("%s: %d sent, %d arrived, %d of them pings, %d times; want %d, %d pings, %d times", c.name,
				done.Packets, packetsNow-packets, pingsNow-pings, len(done.Nanoseconds), c.packets, c.pings, c.times)
		}
	}
}

// TestCommandCounts: the command counts the pings and frames that the sender has sent,
// at every hook; and one that nobody has sent is missed.
func TestCommandCounts(t *testing.T) {
	needs.Kernel(t)
	pair, err := lab.NewPair(lab.PairConfig{Offload: true})
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := options{binary: self}
	pings := sending{Count: 20, Warm: 5, CPU: -1, Echo: pair.Config.B.Addr.Addr(), Bytes: 1500}
	frames := sending{Count: 20, Warm: 5, CPU: -1, Interface: pair.Config.A.Name, Frame: hex.EncodeToString(lookedForFrame())}
	rows, err := ruleSets()[0].filter(o, t.TempDir()+"/rules")
	if err != nil {
		t.Fatal(err)
	}
	if err := rows.once(pair, frames); err != nil || len(rows.ns) != 1 {
		t.Errorf("%s: %v, %d results", rows.name, err, len(rows.ns))
	}
	for hook, want := range map[string]string{"auto": "tc", "tc": "tc", "xdp": "xdp", "xdp-generic": "xdp-generic"} {
		r, err := repacketAt(o, pair.B, pair.Config.B.Name, hook, pingRule)
		if err != nil {
			t.Fatalf("%s: %v", hook, err)
		}
		done, err := pings.send(pair.A)
		if err != nil {
			t.Errorf("%s: %v", hook, err)
		}
		if err := r.stopCounted(done.Packets); err != nil || r.hook != want || done.Packets != 25 {
			t.Errorf("%s: %d sent, hook %q, %v; want 25 at %q", hook, done.Packets, r.hook, err, want)
		}
	}
	r, err := repacketAt(o, pair.B, pair.Config.B.Name, "tc", pingRule)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.stopCounted(1); err == nil || !strings.Contains(err.Error(), "1 packets were sent, and 0 counted") {
		t.Errorf("a packet too few: %v", err)
	}
	if r, err := repacketAt(o, pair.B, "no0", "tc", pingRule); err == nil {
		t.Errorf("rules on no interface: %+v", r)
	}
}

// TestSenderRefuses: no order makes it send without end, and what is wrong is said.
func TestSenderRefuses(t *testing.T) {
	for order, want := range map[string]string{
		`{"Count":0}`:                                       "cannot be sent",
		`{"Count":1000001}`:                                 "cannot be sent",
		`{"Count":999999,"Warm":2}`:                         "cannot be sent",
		`{"Count":1,"Warm":-1}`:                             "cannot be sent",
		`{"Count":1,"CPU":1000}`:                            "pin to CPU 1000",
		`{"Count":1,"CPU":-1,"Echo":"192.0.2.1"}`:           "no pings of 0 bytes",
		`{"Count":1,"CPU":-1,"Frame":"0g"}`:                 "invalid byte",
		`{"Count":1,"CPU":-1,"Frame":"","Interface":"no0"}`: "no such network interface",
		`{`: "unexpected end",
	} {
		if err := senderMain(io.Discard, []string{order}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", order, err, want)
		}
	}
	if err := senderMain(io.Discard, nil); err == nil {
		t.Error("no order is no error")
	}
}

// TestEcho: an outside encoder's reply to the request is the reply, and nothing else
// is.
func TestEcho(t *testing.T) {
	request, err := newEcho(65)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint16{0, 1, 0xffff} {
		request.number(n)
		got := gopacket.NewPacket(request, layers.LayerTypeICMPv4, gopacket.Default).Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if got.TypeCode.Type() != layers.ICMPv4TypeEchoRequest || got.Seq != n || headerSum(append([]byte(request), 0)) != 0xffff {
			t.Errorf("request %d: %+v, sum %#x", n, got, headerSum(append([]byte(request), 0)))
		}
	}
	id := binary.BigEndian.Uint16(request[4:])
	payload := request[icmpHeader:]
	reply := func(icmp layers.ICMPv4, payload []byte) []byte {
		return serialized(&layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4,
			SrcIP: net.IPv4(192, 0, 2, 2), DstIP: net.IPv4(192, 0, 2, 1),
		}, &icmp, gopacket.Payload(payload))
	}
	answer := layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0)
	right := layers.ICMPv4{TypeCode: answer, Id: id, Seq: 0xffff}
	if !request.answeredBy(reply(right, payload)) {
		t.Error("the reply is not recognized")
	}
	for name, packet := range map[string][]byte{
		"another number":     reply(layers.ICMPv4{TypeCode: answer, Id: id, Seq: 0xfffe}, payload),
		"another identifier": reply(layers.ICMPv4{TypeCode: answer, Id: id + 1, Seq: 0xffff}, payload),
		"a request":          reply(layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: id, Seq: 0xffff}, payload),
		"shorter":            reply(right, payload[1:]),
		"longer":             reply(right, append(payload[:len(payload):len(payload)], 0)),
		"other payload":      reply(right, make([]byte, len(payload))),
		"nothing":            nil,
	} {
		if request.answeredBy(packet) {
			t.Errorf("%s is taken for the reply", name)
		}
	}
	for _, bytes := range []int{-1, 27, 65536} {
		if _, err := newEcho(bytes); err == nil {
			t.Errorf("a ping of %d bytes is no error", bytes)
		}
	}
	if e, err := newEcho(28); err != nil || len(e) != icmpHeader {
		t.Errorf("the shortest ping: %d bytes, %v", len(e), err)
	}
}
