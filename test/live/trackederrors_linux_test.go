package live

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestErrorsAboutTrackedReplies: the server answers a client that is gone and is told that nobody takes
// the answer, whatever the rule has made of the flow: the error quotes the answer as the client got it.
func TestErrorsAboutTrackedReplies(t *testing.T) {
	needRoot(t)
	const asks, port = 8083, 20443 // the ports of the client and, as it thinks, of the server
	for i, text := range []string{
		"if udp_dest 20443 then udp_dest random 8080-8083 replies tracked",
		"if udp_dest 20443 and ip then ip_src hash 203.0.113.0/30, udp_dest 8080 replies tracked" +
			" else if udp_dest 20443 and ip6 then ip6_src hash 2001:db8:77::/126, udp_dest 8081 replies tracked",
		"if udp_dest 10000-30000 then udp_dest atmost 8080, udp_src atleast 30000 replies tracked",
		"if udp_dest 20443 then udp_dest udp_src, udp_src random 9-10 replies tracked",
		"if udp_dest 20443 then swap udp replies tracked",
		"if udp_dest @asked then udp_dest @served replies tracked from ports.csv",
	} {
		t.Run(text, func(t *testing.T) {
			n := newErrorNetwork(t, aboutReplies[i%len(aboutReplies)], text, nil)
			for _, e := range n.ends(netip.Addr{}, netip.Addr{}, port) {
				served := n.serve(t, e.served.Addr(), 8080, 8083)
				own := n.Config.Client.Addr.Addr()
				if e.asked.Addr().Is6() {
					own = n.Config.Client.Addr6.Addr()
				}
				client := n.dialUDP(t, n.Client, netip.AddrPortFrom(own, asks), e.asked)
				_, err := client.Write([]byte("is somebody there?"))
				fatal(t, err)
				asked := <-served
				fatal(t, asked.err)
				check(t, client.Close())
				server := n.dialUDP(t, n.Server, asked.at, asked.by)
				wantRefused(t, "the server", server)
				check(t, server.Close())
			}
			n.quiet(t)
		})
	}
}

// question is a datagram that has come in somewhere.
type question struct {
	at, by netip.AddrPort
	err    error
}

// serve waits for a datagram at one of the ports, and closes them all then.
func (n errorNetwork) serve(t *testing.T, at netip.Addr, first, last uint16) <-chan question {
	t.Helper()
	var all []net.PacketConn
	fatal(t, n.Server.Do(func() error {
		for port := first; port <= last; port++ {
			c, err := net.ListenPacket("udp", netip.AddrPortFrom(at, port).String())
			if err != nil {
				return err
			}
			all = append(all, c)
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
		}
		return nil
	}))
	got := make(chan question, len(all))
	for _, c := range all {
		go func() {
			_, by, err := c.ReadFrom(make([]byte, 64))
			if err != nil {
				got <- question{err: err}
				return
			}
			got <- question{c.LocalAddr().(*net.UDPAddr).AddrPort(), by.(*net.UDPAddr).AddrPort(), nil}
		}()
	}
	out := make(chan question, 1)
	go func() {
		q := <-got
		for _, c := range all {
			q.err = errors.Join(q.err, c.Close())
		}
		out <- q
	}()
	return out
}
