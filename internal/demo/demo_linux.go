// Package demo shows the main job on real packets: a client and a server in
// two throw-away network namespaces, a rule on the way between them.
package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"repacket/internal/engine"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/internal/run"
)

const (
	asked     = 5201 // the port that the client sends to
	listening = 5202 // the port that the server listens on
	datagrams = 10
	program   = "if udp_dest 5201 then udp_dest 5202"
	patience  = 2 * time.Second
	silence   = 200 * time.Millisecond // long enough to believe that no answer comes
)

// Run tells the demo on out, a line a step, until it is over or ctx is. It
// needs root; it leaves nothing behind, whatever happens: the namespaces have
// no name, and the kernel removes them with the process.
func Run(ctx context.Context, out io.Writer) (err error) {
	s := &stage{ctx: ctx, out: out}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.build(); err != nil {
		return err
	}
	for _, act := range []func() error{s.before, s.attach, s.during, s.detach, s.before} {
		if err := act(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			s.tell("stopped")
			return nil
		}
	}
	s.tell("that was all; the namespaces go with this process")
	return nil
}

// stage is everything that the demo puts up.
type stage struct {
	ctx    context.Context
	out    io.Writer
	pair   *lab.Pair
	client *net.UDPConn
	server *net.UDPConn
	seen   *lab.Port // what arrives at the server's end, rewritten or not
	run    *engine.Session
	since  time.Time
}

func (s *stage) tell(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *stage) build() (err error) {
	s.pair, err = lab.NewPair(lab.PairConfig{
		A: lab.End{Name: "client0"},
		B: lab.End{Name: "server0"},
	})
	if err != nil {
		return err
	}
	a, b := s.pair.Config.A, s.pair.Config.B
	s.tell("two namespaces: client %s on %s, server %s on %s", a.Addr.Addr(), a.Name, b.Addr.Addr(), b.Name)
	if s.client, err = listen(s.pair.A, netip.AddrPortFrom(a.Addr.Addr(), 0)); err != nil {
		return fmt.Errorf("open the client's socket: %w", err)
	}
	if s.server, err = listen(s.pair.B, netip.AddrPortFrom(b.Addr.Addr(), listening)); err != nil {
		return fmt.Errorf("open the server's socket: %w", err)
	}
	if s.seen, err = lab.OpenPort(s.pair.B, b.Name, a.MAC); err != nil {
		return err
	}
	s.tell("the server listens on UDP port %d, the client sends to port %d", listening, asked)
	go s.serve()
	return nil
}

func listen(ns *lab.Namespace, addr netip.AddrPort) (conn *net.UDPConn, err error) {
	err = ns.Do(func() error {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		return err
	})
	return conn, err
}

// serve answers every datagram with its own words until the socket is closed.
func (s *stage) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.server.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if _, err := s.server.WriteToUDPAddrPort(buf[:n], from); err != nil {
			return
		}
	}
}

// before sends one datagram while no rule is there: nobody answers.
func (s *stage) before() error {
	if err := s.send("anybody there?"); err != nil {
		return err
	}
	if from, err := s.answer(silence); err == nil {
		return fmt.Errorf("%s answered, though nothing listens on port %d", from, asked)
	}
	s.tell("without a rule: no answer from port %d", asked)
	// The frame did arrive: it must not be taken for a rewritten one later.
	_, err := s.seen.Receive(time.Now().Add(patience))
	return err
}

func (s *stage) attach() error {
	p, err := rule.Check(program)
	if err != nil {
		return err
	}
	name := s.pair.Config.B.Name
	err = s.pair.B.Do(func() (err error) {
		s.run, err = engine.Start(run.Options{Program: p, Target: run.Target{Interface: name}, Hook: run.XDP})
		return err
	})
	if err != nil {
		return err
	}
	s.since = time.Now()
	s.tell("repacket -i %s --hook xdp %s", name, program)
	return nil
}

// during sends datagrams and shows one of them as it arrives.
func (s *stage) during() error {
	var from netip.AddrPort
	for i := range datagrams {
		if err := s.send(fmt.Sprintf("datagram %d", i+1)); err != nil {
			return err
		}
		var err error
		if from, err = s.answer(patience); err != nil {
			return fmt.Errorf("datagram %d: no answer: %w", i+1, err)
		}
	}
	s.tell("%d datagrams sent to port %d, %d answers, from port %d", datagrams, asked, datagrams, from.Port())
	frame, err := s.seen.Receive(time.Now().Add(patience))
	if err != nil {
		return err
	}
	return s.show(frame)
}

// show tells what has become of a datagram's header.
func (s *stage) show(frame []byte) error {
	const ip, udp = 14, 34 // an untagged frame, no IPv4 options
	if len(frame) < udp+8 || sum(frame[ip+12:ip+20], frame[udp:], []byte{0, 17}, frame[udp+4:udp+6]) != 0xffff {
		return errors.New("a datagram arrived with a wrong checksum")
	}
	s.tell("the first one as it arrived: port %d -> %d, checksum 0x%04x, which is right",
		asked, binary.BigEndian.Uint16(frame[udp+2:]), binary.BigEndian.Uint16(frame[udp+6:]))
	return nil
}

// sum adds up 16-bit words (RFC 1071); over a datagram, its checksum and its
// pseudo-header it is 0xffff.
func sum(parts ...[]byte) uint32 {
	var s uint32
	for _, b := range parts {
		for i, x := range b {
			s += uint32(x) << (8 - 8*(i%2))
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return s
}

func (s *stage) detach() error {
	counts, err := s.run.Close()
	s.run = nil
	if err != nil {
		return err
	}
	s.tell("rewrite %d pkts in %.3f s", counts.Rules[0].Rewritten, time.Since(s.since).Seconds())
	s.tell("the rule is off again")
	return nil
}

func (s *stage) send(text string) error {
	to := netip.AddrPortFrom(s.pair.Config.B.Addr.Addr(), asked)
	if _, err := s.client.WriteToUDPAddrPort([]byte(text), to); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// answer waits for an answer and tells who sent it.
func (s *stage) answer(wait time.Duration) (netip.AddrPort, error) {
	if err := s.client.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return netip.AddrPort{}, err
	}
	buf := make([]byte, 1500)
	_, from, err := s.client.ReadFromUDPAddrPort(buf)
	return from, err
}

func (s *stage) close() error {
	var errs []error
	if s.run != nil {
		_, err := s.run.Close()
		errs = append(errs, err)
	}
	if s.seen != nil {
		errs = append(errs, s.seen.Close())
	}
	for _, c := range []*net.UDPConn{s.client, s.server} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if s.pair != nil {
		errs = append(errs, s.pair.Close())
	}
	return errors.Join(errs...)
}
