package live

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// What ICMP errors have to do with rules: a client asks the asked port and address, a server is at
// others, and a router between them, whose link to one of them takes shorter packets, answers
// what is too long or has been on its way for too long.

// narrow is the MTU of the shorter link.
const narrow = 1300

// The addresses that clients ask in the rules for addresses: those of no interface, which are
// routed to the server.
var (
	askedAddr  = netip.MustParseAddr("203.0.113.77")
	askedAddr6 = netip.MustParseAddr("2001:db8:77::77")
)

// errorRule is what packets are rewritten by, and where the client then asks.
type errorRule struct {
	name, text string
	at, at6    netip.Addr // the zero value is the server's own
	port       int
}

// errorRules are rules for ports and for addresses.
var errorRules = []errorRule{
	{"ports", "if dport 443 then dport 8080 replies", netip.Addr{}, netip.Addr{}, 443},
	{
		"addresses", "if ip_dest 203.0.113.77 then ip_dest 198.51.100.2 replies; if ip6_dest 2001:db8:77::77 then ip6_dest 2001:db8:2::2 replies",
		askedAddr, askedAddr6, 8080,
	},
}

// hashed is a rule whose replies are tracked: the server sees clients at other addresses.
var hashed = errorRule{
	"tracked",
	"if tcp_dest 443 and ip then ip_src hash 203.0.113.0/30, tcp_dest atleast 8080 replies tracked" +
		" else if tcp_dest 443 and ip6 then ip6_src hash 2001:db8:77::/126, tcp_dest atleast 8080 replies tracked",
	netip.Addr{},
	netip.Addr{},
	443,
}

// errorPlace is where the rules are: on the client, on the router towards it, or on the server.
type errorPlace struct {
	name string
	hook run.Hook
	dir  run.Direction
	at   func(r *testnet.Router) (*lab.Namespace, string)
}

var (
	onClient = func(r *testnet.Router) (*lab.Namespace, string) { return r.Client, r.Config.Client.Name }
	onRouter = func(r *testnet.Router) (*lab.Namespace, string) { return r.Router, r.Config.ClientSide.Name }
	onServer = func(r *testnet.Router) (*lab.Namespace, string) { return r.Server, r.Config.Server.Name }
)

// Errors about rewritten packets come in where the rules are for what leaves, and leave where
// they are for what comes in. Errors about changed replies take the way of the rules.
var (
	aboutPackets = []errorPlace{
		{"on the client", run.Auto, run.Out, onClient},
		{"on the router", run.Auto, run.In, onRouter},
		{"on the router, XDP", run.XDP, run.In, onRouter},
	}
	aboutReplies = []errorPlace{
		{"on the server", run.Auto, run.In, onServer},
		{"on the server, XDP", run.XDP, run.In, onServer},
	}
)

// errorNetwork is a router with rules.
type errorNetwork struct {
	*testnet.Router
	service
}

// newErrorNetwork makes a router, of which the link at an end takes shorter packets, if it is
// not "", and attaches rules.
func newErrorNetwork(t *testing.T, p errorPlace, text string, shorter func(testnet.RouterConfig) string) errorNetwork {
	t.Helper()
	r, err := testnet.NewRouter(testnet.RouterConfig{Offload: p.hook != run.XDP})
	fatal(t, err)
	t.Cleanup(func() { check(t, r.Close()) })
	fatal(t, r.Router.Do(func() error {
		for to, by := range map[string]netip.Addr{"203.0.113.0/24": r.Config.Server.Addr.Addr(), "2001:db8:77::/48": r.Config.Server.Addr6.Addr()} {
			_, dest, err := net.ParseCIDR(to)
			fatal(t, err)
			if err := netlink.RouteAdd(&netlink.Route{Dst: dest, Gw: by.AsSlice()}); err != nil {
				return err
			}
		}
		if shorter == nil {
			return nil
		}
		link, err := netlink.LinkByName(shorter(r.Config))
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, narrow)
	}))
	n := errorNetwork{r, service{hook: p.hook}}
	n.rulesIn, n.target.Interface = p.at(r)
	n.target.Direction = p.dir
	n.start(t, text)
	return n
}

// quiet fails if the stack of an end has found something wrong.
func (n errorNetwork) quiet(t *testing.T) {
	t.Helper()
	for _, ns := range []*lab.Namespace{n.Client, n.Server} {
		c, err := testnet.CountersOf(ns)
		fatal(t, err)
		if bad := c.Troubles(); len(bad) > 0 {
			t.Errorf("the stack counts %v", bad)
		}
	}
}

// ends are where the client asks and where the server listens, over one IP.
type ends struct{ asked, served netip.AddrPort }

func (n errorNetwork) ends(at, at6 netip.Addr, port int) []ends {
	server, server6 := n.Config.Server.Addr.Addr(), n.Config.Server.Addr6.Addr()
	if !at.IsValid() {
		at, at6 = server, server6
	}
	return []ends{
		{netip.AddrPortFrom(at, uint16(port)), netip.AddrPortFrom(server, 8080)},
		{netip.AddrPortFrom(at6, uint16(port)), netip.AddrPortFrom(server6, 8080)},
	}
}

// TestPathMTUDiscovery: what is sent through rules finds out that a link behind them takes
// shorter packets only, by the kernel's own TCP: the error about what is too long quotes a packet that the
// sender knows, whether it was rewritten on its way or is a reply that was.
func TestPathMTUDiscovery(t *testing.T) {
	needRoot(t)
	for _, way := range []struct {
		name    string
		places  []errorPlace
		upload  bool
		shorter func(testnet.RouterConfig) string
	}{
		{"upload", aboutPackets, true, func(c testnet.RouterConfig) string { return c.ServerSide.Name }},
		{"download", aboutReplies, false, func(c testnet.RouterConfig) string { return c.ClientSide.Name }},
	} {
		for _, p := range way.places {
			rules := errorRules
			if !way.upload {
				rules = append(rules, hashed)
			}
			for _, r := range rules {
				t.Run(way.name+" "+p.name+", "+r.name, func(t *testing.T) {
					n := newErrorNetwork(t, p, r.text, way.shorter)
					for _, e := range n.ends(r.at, r.at6, r.port) {
						if was, is := n.transfer(t, e, way.upload); was != 1500 || is != narrow {
							t.Errorf("%s: the path MTU was %d, then %d, want 1500 and %d", e.asked, was, is, narrow)
						}
					}
					n.quiet(t)
				})
			}
		}
	}
}

// transfer sends from one end to the other by TCP, and returns what the sender thinks that the
// path takes, before and after.
func (n errorNetwork) transfer(t *testing.T, e ends, upload bool) (was, is int) {
	t.Helper()
	const size = 300_000
	var l net.Listener
	fatal(t, n.Server.Do(func() (err error) {
		l, err = net.Listen("tcp", e.served.String())
		return err
	}))
	defer l.Close()
	var from, to net.Conn
	fatal(t, n.Client.Do(func() (err error) {
		from, err = net.DialTimeout("tcp", e.asked.String(), patience)
		return err
	}))
	to, err := l.Accept()
	fatal(t, err)
	if !upload {
		from, to = to, from
	}
	defer to.Close()
	defer from.Close()
	deadline := time.Now().Add(patience)
	fatal(t, errors.Join(from.SetDeadline(deadline), to.SetDeadline(deadline)))
	was = pathMTU(t, from, e.asked)
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, size))
		sent <- err
	}()
	got, err := io.ReadFull(to, make([]byte, size))
	if err := errors.Join(err, <-sent); err != nil {
		t.Errorf("%s: %d of %d bytes arrived: %v", e.asked, got, size, err)
	}
	return was, pathMTU(t, from, e.asked)
}

// pathMTU is what the kernel has found out for a connection (ip(7), ipv6(7)).
func pathMTU(t *testing.T, c net.Conn, to netip.AddrPort) (mtu int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	fatal(t, err)
	var getErr error
	fatal(t, raw.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_MTU
		if to.Addr().Is6() {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
		}
		mtu, getErr = unix.GetsockoptInt(int(fd), level, option)
	}))
	fatal(t, getErr)
	return mtu
}

// TestTraceroute: a probe whose hops run out at the router, and one that finds no listener, come back
// as errors about the packet that was sent, from the router and from where the probe went.
func TestTraceroute(t *testing.T) {
	needRoot(t)
	for _, p := range aboutPackets {
		for _, r := range errorRules {
			t.Run(p.name+", "+r.name, func(t *testing.T) {
				n := newErrorNetwork(t, p, r.text, nil)
				for i, e := range n.ends(r.at, r.at6, r.port) {
					router := []netip.Addr{n.Config.ClientSide.Addr.Addr(), n.Config.ClientSide.Addr6.Addr()}[i]
					exceeded, unreachable := [2]uint8{11, 0}, [2]uint8{3, 3} // types and codes of RFC 792
					if e.asked.Addr().Is6() {
						exceeded, unreachable = [2]uint8{3, 0}, [2]uint8{1, 4} // of RFC 4443
					}
					want := []string{
						fmt.Sprintf("%v about %v from %v", exceeded, e.asked, router),
						fmt.Sprintf("%v about %v from %v", unreachable, e.asked, e.asked.Addr()),
					}
					for hops := 1; hops <= 2; hops++ {
						if got := n.probe(t, e.asked, hops); got != want[hops-1] {
							t.Errorf("%d hops: %s, want %s", hops, got, want[hops-1])
						}
					}
				}
				n.quiet(t)
			})
		}
	}
}

// probe sends a datagram with so many hops, as traceroute does, and says what came back.
func (n errorNetwork) probe(t *testing.T, to netip.AddrPort, hops int) string {
	t.Helper()
	family, level, ttl, recvErr := unix.AF_INET, unix.IPPROTO_IP, unix.IP_TTL, unix.IP_RECVERR
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(to.Port())}
	if to.Addr().Is6() {
		family, level, ttl, recvErr = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_RECVERR
		sa = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	} else {
		sa.(*unix.SockaddrInet4).Addr = to.Addr().As4()
	}
	var fd int
	fatal(t, n.Client.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	defer unix.Close(fd)
	fatal(t, errors.Join(unix.SetsockoptInt(fd, level, ttl, hops), unix.SetsockoptInt(fd, level, recvErr, 1)))
	fatal(t, unix.Connect(fd, sa))
	_, err := unix.Write(fd, []byte("probe"))
	fatal(t, err)
	ready := []unix.PollFd{{Fd: int32(fd)}}
	for { // an error is an event that nobody has to ask for
		if _, err = unix.Poll(ready, int(patience.Milliseconds())); err != unix.EINTR {
			break
		}
	}
	fatal(t, err)
	control := make([]byte, 512)
	_, length, _, about, err := unix.Recvmsg(fd, make([]byte, 64), control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Sprintf("nothing: %v", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:length])
	fatal(t, err)
	for _, m := range messages {
		if int(m.Header.Level) != level || int(m.Header.Type) != recvErr {
			continue
		}
		e := (*unix.SockExtendedErr)(unsafe.Pointer(&m.Data[0])) // ip(7): the offender's address follows
		return fmt.Sprintf("%v about %v from %v", [2]uint8{e.Type, e.Code}, addrPort(about), offender(m.Data[unsafe.Sizeof(*e):]))
	}
	return "an error without a message"
}

// addrPort is the address and port of a socket.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// offender is the address in a struct sockaddr_in or sockaddr_in6.
func offender(b []byte) netip.Addr {
	if *(*uint16)(unsafe.Pointer(&b[0])) == unix.AF_INET6 {
		return netip.AddrFrom16([16]byte(b[8:24]))
	}
	return netip.AddrFrom4([4]byte(b[4:8]))
}

// TestPortUnreachable: a socket that sends to where nobody listens is told so: the client's,
// and the server's when the client is gone.
func TestPortUnreachable(t *testing.T) {
	needRoot(t)
	for _, p := range append(aboutPackets, aboutReplies...) {
		for _, r := range errorRules {
			t.Run(p.name+", "+r.name, func(t *testing.T) {
				n := newErrorNetwork(t, p, r.text, nil)
				for _, e := range n.ends(r.at, r.at6, r.port) {
					client := n.dialUDP(t, n.Client, netip.AddrPort{}, e.asked)
					wantRefused(t, "the client", client)
					from := client.LocalAddr().(*net.UDPAddr).AddrPort()
					check(t, client.Close())
					server := n.dialUDP(t, n.Server, e.served, from)
					wantRefused(t, "the server", server)
					check(t, server.Close())
				}
				n.quiet(t)
			})
		}
	}
}

func (n errorNetwork) dialUDP(t *testing.T, ns *lab.Namespace, from, to netip.AddrPort) (c *net.UDPConn) {
	t.Helper()
	fatal(t, ns.Do(func() (err error) {
		var local *net.UDPAddr
		if from.IsValid() {
			local = net.UDPAddrFromAddrPort(from)
		}
		c, err = net.DialUDP("udp", local, net.UDPAddrFromAddrPort(to))
		return err
	}))
	return c
}

// wantRefused sends a datagram, and wants the socket to be told that nobody takes it.
func wantRefused(t *testing.T, whose string, c *net.UDPConn) {
	t.Helper()
	fatal(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := c.Write([]byte("is somebody there?"))
	fatal(t, err)
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%s's socket to %s: %v, want ECONNREFUSED", whose, c.RemoteAddr(), err)
	}
}
