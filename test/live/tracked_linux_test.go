package live

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"repacket/internal/engine"
)

const (
	// hopRules are behind another rule in moreHopRules.
	hopRules     = "hop: if udp_dest 20000-50000 then udp_dest 443 replies tracked"
	moreHopRules = "if udp_dest 9 then udp_dest 7 replies tracked\n" + hopRules
	// packetsAPort is after how many packets a client changes the port that it talks to.
	packetsAPort = 10
)

// TestPortHopping: a client that changes the port that it talks to every ten packets keeps its session
// with a server that listens on one, over IPv4 and IPv6, also while rules are replaced: each packet is
// answered from the port that it was sent to.
func TestPortHopping(t *testing.T) {
	needRoot(t)
	for _, place := range services {
		t.Run(place.name, func(t *testing.T) {
			s := place.make(t)
			s.addrs = []netip.Addr{serverEnd.Addr.Addr(), serverEnd.Addr6.Addr()}
			session := s.start(t, hopRules)
			const packets = 1000
			for _, at := range s.addrs {
				s.echo(t, netip.AddrPortFrom(at, 443))
				c := s.hopper(t, at)
				for n := range packets {
					port := uint16(20000 + n/packetsAPort*7919%30001)
					fatal(t, c.ask(netip.AddrPortFrom(at, port), n))
					if n%500 == 128 {
						s.replaceTracked(t, session, []string{moreHopRules, hopRules}[n/500%2])
					}
				}
			}
			eventually(t, "all packets are counted", func() bool {
				counts, err := session.Counts()
				fatal(t, err)
				total := counts.Total()
				return total.Rewritten == 2*packets && total.Replies == 2*packets && len(counts.Skipped) == 0
			})
		})
	}
}

// replaceTracked replaces the rules of a session, which leaves the flows of a rule that stays.
func (s *service) replaceTracked(t *testing.T, session *engine.Session, text string) {
	t.Helper()
	flows := func() int {
		counts, err := session.Counts()
		fatal(t, err)
		if counts.Flows == nil || counts.Flows.Evicted > 0 {
			t.Fatalf("the table of flows has %+v", counts.Flows)
		}
		return counts.Flows.Flows
	}
	before := flows()
	fatal(t, s.rulesIn.Do(func() error {
		_, err := session.Replace(checked(t, text))
		return err
	}))
	if now := flows(); now != before || now == 0 {
		t.Errorf("%d flows were tracked, and are %d where the rules have been replaced", before, now)
	}
}

// echo answers each datagram with the same one until the test is over.
func (s *service) echo(t *testing.T, at netip.AddrPort) {
	t.Helper()
	var c net.PacketConn
	fatal(t, s.server.Do(func() (err error) {
		c, err = net.ListenPacket("udp", at.String())
		return err
	}))
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(buf)
			if err == nil {
				_, err = c.WriteTo(buf[:n], from)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	t.Cleanup(func() {
		check(t, c.Close())
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// hopper is a client with one socket.
type hopper struct{ *net.UDPConn }

func (s *service) hopper(t *testing.T, to netip.Addr) hopper {
	t.Helper()
	var c *net.UDPConn
	network := map[bool]string{true: "udp4", false: "udp6"}[to.Is4()]
	fatal(t, s.client.Do(func() (err error) {
		c, err = net.ListenUDP(network, nil)
		return err
	}))
	t.Cleanup(func() { check(t, c.Close()) })
	return hopper{c}
}

// ask sends packet number n and waits for its answer, which has to come from where it was sent to.
func (c hopper) ask(to netip.AddrPort, n int) error {
	if err := c.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	text := fmt.Sprintf("packet %d", n)
	if _, err := c.WriteToUDPAddrPort([]byte(text), to); err != nil {
		return err
	}
	buf := make([]byte, 512)
	size, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		return fmt.Errorf("%s to %s: %w", text, to, err)
	}
	if got := string(buf[:size]); got != text || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != to {
		return fmt.Errorf("%s to %s was answered with %q from %s", text, to, got, from)
	}
	return nil
}
