package docs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/cli"
	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// crossing is a packet that is sent and what comes of it behind the rules.
type crossing struct {
	// back: from the server to the client, and not from the client to the server.
	back bool
	// returns: it arrives where it came from.
	returns    bool
	sent, want datagram
}

// datagram is a packet in a few words. Its MAC addresses follow from its way.
type datagram struct {
	src, dest    string // addresses
	sport, dport int
	tcp, echo    bool // UDP otherwise; echo is ICMP, with the type in dport
	ttl, tos     uint8
	mss          uint16
}

// The addresses that packets are from and to: the rules are on eth1 of a router, which leads to
// the client. No host has them, so that none answers.
const client, server = "192.0.2.9", "10.1.2.9"

func udp(src string, sport int, dest string, dport int) datagram {
	return datagram{src: src, dest: dest, sport: sport, dport: dport, ttl: 64}
}

func (d datagram) with(change func(*datagram)) datagram {
	change(&d)
	return d
}

// crossings are what is sent for each recipe that the page says is tried.
var crossings = map[string][]crossing{
	"Redirect a port": {
		{sent: udp(client, 999, server, 443), want: udp(client, 999, server, 8080)},
		{back: true, sent: udp(server, 8080, client, 999), want: udp(server, 443, client, 999)},
		{sent: udp(client, 999, server, 8080)},
		{sent: udp(client, 999, server, 444), want: udp(client, 999, server, 444)},
	},
	"Port hopping": {
		{sent: udp(client, 999, server, 20000), want: udp(client, 999, server, 443)},
		{back: true, sent: udp(server, 443, client, 999), want: udp(server, 20000, client, 999)},
		{sent: udp(client, 999, server, 50000), want: udp(client, 999, server, 443)},
		{back: true, sent: udp(server, 443, client, 999), want: udp(server, 50000, client, 999)},
		{sent: udp(client, 998, server, 443), want: udp(client, 998, server, 443)},
		{back: true, sent: udp(server, 443, client, 998), want: udp(server, 443, client, 998)},
	},
	"Renumber a host": {
		{sent: udp(client, 999, "203.0.113.9", 53), want: udp(client, 999, server, 53)},
		{back: true, sent: udp(server, 53, client, 999), want: udp("203.0.113.9", 53, client, 999)},
		{sent: udp(client, 999, server, 54), want: udp(client, 999, server, 54)},
	},
	"A network renumbered, host by host (1:1 NAT)": {
		{sent: udp(client, 999, "203.0.113.9", 53), want: udp(client, 999, server, 53)},
		{back: true, sent: udp(server, 53, client, 999), want: udp("203.0.113.9", 53, client, 999)},
	},
	"EF for a softphone": {
		{back: true, sent: udp(server, 20000, client, 999), want: udp(server, 20000, client, 999).with(func(d *datagram) { d.tos = 0xb8 })},
		{back: true, sent: udp(server, 53, client, 999), want: udp(server, 53, client, 999)},
	},
	"DSCP bleached": {
		{sent: udp(client, 999, server, 53).with(func(d *datagram) { d.tos = 0xb9 }), want: udp(client, 999, server, 53).with(func(d *datagram) { d.tos = 1 })},
	},
	"TTL 65 for tethering": {
		// The router takes 1 off before, which the wanted TTL is told of.
		{back: true, sent: udp(server, 53, client, 999), want: udp(server, 53, client, 999).with(func(d *datagram) { d.ttl = 66 })},
	},
	"MSS on a tunnel": {
		{sent: syn(client, server, 1460), want: syn(client, server, 1360)},
		{back: true, sent: syn(server, client, 1460), want: syn(server, client, 1360)},
		{sent: syn(client, server, 1200), want: syn(client, server, 1200)},
	},
	"A host that is gone for ten seconds": {
		{sent: udp("192.0.2.7", 999, server, 53)},
		{sent: udp(client, 999, server, 53), want: udp(client, 999, server, 53)},
	},
	"A loopback for testers": {
		{returns: true, sent: udp(client, 999, server, 7), want: udp(server, 7, client, 999)},
	},
	"Pings answered in the kernel's place": {
		{
			returns: true,
			sent:    datagram{src: client, dest: "203.0.113.99", echo: true, dport: layers.ICMPv4TypeEchoRequest, ttl: 64},
			want:    datagram{src: "203.0.113.99", dest: client, echo: true, dport: layers.ICMPv4TypeEchoReply, ttl: 64},
		},
	},
}

func syn(src, dest string, mss uint16) datagram {
	return datagram{src: src, dest: dest, sport: 999, dport: 80, tcp: true, mss: mss, ttl: 64}
}

// TestCookbookTried: what the page calls tried does on real packets what the recipe promises,
// and nothing else is called that.
func TestCookbookTried(t *testing.T) {
	needs.Kernel(t)
	others := map[string]func(*testing.T, recipe){
		"LLDP through a bridge":                        lldp,
		"DHCP replies to a VM that calls them corrupt": dhcp,
	}
	for _, r := range cookbook(t) {
		crossed, special := crossings[r.title], others[r.title]
		if r.tried() != (crossed != nil || special != nil) {
			t.Errorf("%s: the page says that it is tried: %v", r.title, r.tried())
		}
		if special != nil {
			t.Run(r.title, func(t *testing.T) { special(t, r) })
		} else if crossed != nil {
			t.Run(r.title, func(t *testing.T) { cross(t, r, crossed) })
		}
	}
}

// cross sends packets over a router with the recipe's rules on its interface eth1.
func cross(t *testing.T, r recipe, all []crossing) {
	t.Helper()
	w := newWay(t)
	w.use(r)
	for _, c := range all {
		from, to := &w.client, &w.server
		if c.back {
			from, to = to, from
		}
		if err := from.port.Send(c.sent.frame(t, from.mac, from.gateway)); err != nil {
			t.Fatal(err)
		}
		if c.want.src == "" {
			continue // what comes next must be what is sent next
		}
		want := c.want.with(func(d *datagram) { d.ttl-- })
		if c.returns {
			to, want = from, c.want
		}
		w.receives(to, want.frame(t, to.gateway, to.mac))
	}
}

// way is a router between a client and a server.
type way struct {
	t              *testing.T
	router         *testnet.Router
	client, server host
}

// host is an end of the way: its port receives what its gateway has sent.
type host struct {
	port         *testnet.Port
	mac, gateway net.HardwareAddr
}

func newWay(t *testing.T) *way {
	t.Helper()
	router, err := testnet.NewRouter(testnet.RouterConfig{
		ClientSide: lab.End{Name: "eth1"},
		ServerSide: lab.End{Name: "eth2", Addr: netip.MustParsePrefix("10.1.2.1/24")},
		Server:     lab.End{Addr: netip.MustParsePrefix("10.1.2.2/24")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noError(t, router.Close()) })
	w, cfg := &way{t: t, router: router}, router.Config
	for name, host := range map[string]lab.End{
		"eth1": {Addr: netip.MustParsePrefix(client + "/24"), MAC: cfg.Client.MAC},
		"eth2": {Addr: netip.MustParsePrefix(server + "/24"), MAC: cfg.Server.MAC},
	} {
		noError(t, testnet.AddNeighbour(router.Router, name, host))
	}
	w.client = w.host(router.Client, cfg.Client, cfg.ClientSide, cfg.ClientSide.MAC)
	w.server = w.host(router.Server, cfg.Server, cfg.ServerSide, cfg.ServerSide.MAC)
	return w
}

// host opens the interface of an end; it receives what has a source MAC address.
func (w *way) host(ns *lab.Namespace, end, gateway lab.End, from net.HardwareAddr) host {
	w.t.Helper()
	port, err := testnet.OpenPort(ns, end.Name, from)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { noError(w.t, port.Close()) })
	return host{port, end.MAC, gateway.MAC}
}

func (w *way) receives(h *host, want []byte) {
	w.t.Helper()
	got, err := h.port.Receive(time.Now().Add(5 * time.Second))
	if err != nil || !bytes.Equal(got, want) {
		w.t.Errorf("received %x, %v\nwant     %x", got, err, want)
	}
}

// use attaches the rules of a recipe.
func (w *way) use(r recipe) {
	w.t.Helper()
	for _, command := range r.commands {
		attach(w.t, w.router.Router, command)
	}
}

// attach runs a command of the cookbook in a namespace, as one that attaches; whatever its
// interface is called on the page, here it is eth1 or eth2.
func attach(t *testing.T, ns *lab.Namespace, command []string) {
	t.Helper()
	command = append([]string{"attach"}, checked(command)[1:]...)
	for i, word := range command {
		if word == "wg0" || word == "veth0" {
			command[i] = "eth1"
		}
	}
	var said bytes.Buffer
	env := cli.System()
	env.NoSession = true // whoever runs the tests may have come by ssh
	env.Args, env.Stdout, env.Stderr = command, &said, &said
	status := -1
	err := ns.Do(func() error {
		status = cli.Run(env)
		return nil
	})
	if err != nil || status != 0 {
		t.Fatalf("%s: exit status %d, %v\n%s", strings.Join(command, " "), status, err, said.String())
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// frame builds the packet from one MAC address to another.
func (d datagram) frame(t *testing.T, src, dest net.HardwareAddr) []byte {
	t.Helper()
	ip := &layers.IPv4{
		Version: 4, IHL: 5, TTL: d.ttl, TOS: d.tos, Id: 7, Protocol: layers.IPProtocolUDP,
		SrcIP: netip.MustParseAddr(d.src).AsSlice(), DstIP: netip.MustParseAddr(d.dest).AsSlice(),
	}
	stack := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: src, DstMAC: dest, EthernetType: layers.EthernetTypeIPv4}, ip}
	switch {
	case d.tcp:
		ip.Protocol = layers.IPProtocolTCP
		mss := layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, d.mss)}
		tcp := &layers.TCP{SrcPort: layers.TCPPort(d.sport), DstPort: layers.TCPPort(d.dport), SYN: true, Window: 1000, Options: []layers.TCPOption{mss}}
		noError(t, tcp.SetNetworkLayerForChecksum(ip))
		stack = append(stack, tcp)
	case d.echo:
		ip.Protocol = layers.IPProtocolICMPv4
		stack = append(stack, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(uint8(d.dport), 0), Id: 1, Seq: 1})
	default:
		datagram := &layers.UDP{SrcPort: layers.UDPPort(d.sport), DstPort: layers.UDPPort(d.dport)}
		noError(t, datagram.SetNetworkLayerForChecksum(ip))
		stack = append(stack, datagram)
	}
	stack = append(stack, gopacket.Payload("a payload that is longer than the padding of Ethernet"))
	out := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out.Bytes())
}

// lldp: a bridge drops LLDP, and with the rules it does not.
func lldp(t *testing.T, r recipe) {
	w := newWay(t)
	if err := testnet.AddBridge(w.router.Router, lab.End{Name: "br0"}, "eth1", "eth2"); err != nil {
		t.Fatal(err)
	}
	ends := w.router.Config
	arrives := w.host(w.router.Server, ends.Server, ends.ServerSide, ends.Client.MAC)
	eth := func(to string, kind uint16) []byte {
		mac, err := net.ParseMAC(to)
		noError(t, err)
		frame := append(slices.Concat(mac, ends.Client.MAC), byte(kind>>8), byte(kind))
		return append(frame, fmt.Sprintf("\x02\x07\x04%s\x04\x02\x07a\x06\x02\x00\x78%050d", ends.Client.MAC, 0)...)
	}
	report, other := eth("01:80:c2:00:00:0e", 0x88cc), eth("ff:ff:ff:ff:ff:ff", 0x88b5)
	for _, frame := range [][]byte{report, other} {
		noError(t, w.client.port.Send(frame))
	}
	w.receives(&arrives, other)
	w.use(r)
	noError(t, w.client.port.Send(report))
	w.receives(&arrives, report)
}

// dhcp: the checksum of what a server sends is offloaded. XDP completes it where it arrives,
// and so does the kernel once the offload is off; tc cannot, where it leaves.
func dhcp(t *testing.T, r recipe) {
	whole := func(what string, want bool, prepare func(*lab.Pair)) {
		t.Helper()
		pair, err := lab.NewPair(lab.PairConfig{A: lab.End{Name: "eth1"}, B: lab.End{Name: "eth1"}, Offload: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { noError(t, pair.Close()) }()
		prepare(pair)
		port, err := testnet.OpenPort(pair.B, "eth1", pair.Config.A.MAC)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { noError(t, port.Close()) }()
		noError(t, pair.A.Do(func() error {
			from, to := pair.Config.A.Addr.Addr(), pair.Config.B.Addr.Addr()
			conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 67)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 68)))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("a lease"))
			return err
		}))
		got, err := port.Receive(time.Now().Add(5 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if right := udpChecksumRight(got); right != want {
			t.Errorf("%s: the checksum of %x is right: %v", what, got, right)
		}
	}
	whole("nothing done", false, func(*lab.Pair) {})
	whole("XDP where it arrives", true, func(p *lab.Pair) { attach(t, p.B, r.commands[0]) })
	whole("tx off", true, func(p *lab.Pair) {
		noError(t, p.A.SetFeatures("eth1", lab.Features{lab.TxChecksum: false}))
	})
	whole("tc where it leaves", false, func(p *lab.Pair) {
		attach(t, p.A, strings.Fields("attach -i eth1 -Q out if udp_src 67 then udp_check fix"))
	})
}

// udpChecksumRight reports whether the UDP checksum of a frame over IPv4 is right, by an
// independent decoder.
func udpChecksumRight(frame []byte) bool {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	ip, ok := p.NetworkLayer().(*layers.IPv4)
	datagram, isUDP := p.TransportLayer().(*layers.UDP)
	if !ok || !isUDP {
		return false
	}
	was := datagram.Checksum
	out := gopacket.NewSerializeBuffer()
	err := datagram.SetNetworkLayerForChecksum(ip)
	if err == nil {
		err = gopacket.SerializeLayers(out, gopacket.SerializeOptions{ComputeChecksums: true}, datagram, gopacket.Payload(datagram.Payload))
	}
	return err == nil && datagram.Checksum == was
}
