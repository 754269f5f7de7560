package testnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func addrPort(a net.Addr) netip.AddrPort {
	p := netip.MustParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// listenHere listens for plain TCP in the namespace of the calling thread.
func listenHere(at netip.AddrPort) (*net.TCPListener, error) {
	cfg := net.ListenConfig{}
	cfg.SetMultipathTCP(false)
	l, err := cfg.Listen(context.Background(), "tcp", at.String())
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// dialHere dials in the namespace of the calling thread, on that thread: a
// dialer with a deadline opens its socket there, too, for an address that needs
// no look-up.
func dialHere(network string, to netip.AddrPort, deadline time.Time) (net.Conn, error) {
	d := net.Dialer{Deadline: deadline, FallbackDelay: -1}
	return d.DialContext(context.Background(), network, to.String())
}

// datagramHeader is the number in front of each datagram's pattern.
const datagramHeader = 8

// udpWindow is how many bytes may be on their way; the receiver's buffer holds
// them all, so nothing is lost that the network does not lose.
const udpWindow = 1 << 20

// udpInFlight is how many datagrams may be: a veth keeps 256 packets for its XDP
// program (VETH_RING_SIZE, drivers/net/veth.c) and drops what comes beyond them
// while the CPU is busy elsewhere.
const udpInFlight = 192

// udpStream is a stream of numbered datagrams in flight.
type udpStream struct {
	cfg      StreamConfig
	deadline time.Time
	receiver *net.UDPConn
	sender   *net.UDPConn
	received chan int // datagrams that have come
	sent     atomic.Bool
	r        StreamResult
	seen     []bool
}

func streamUDP(cfg StreamConfig, deadline time.Time) (StreamResult, error) {
	if cfg.Size <= datagramHeader || cfg.Size*cfg.Batch > 65_000 {
		return StreamResult{}, fmt.Errorf("datagrams of %d bytes, %d at a time, cannot be", cfg.Size, cfg.Batch)
	}
	s := &udpStream{cfg: cfg, deadline: deadline}
	s.seen = make([]bool, (cfg.Bytes+cfg.Size-1)/cfg.Size)
	s.received = make(chan int, len(s.seen)+1)
	if err := errors.Join(cfg.To.Do(s.listen), cfg.From.Do(s.dial)); err != nil {
		s.close()
		return s.r, err
	}
	done := make(chan error, 1)
	go func() { done <- s.receive() }()
	sent, sendErr := s.send()
	s.sent.Store(true)
	if sendErr != nil {
		s.receiver.Close() // there is nothing to wait for
	}
	receiveErr := <-done
	s.close()
	s.r.Sent = sent
	s.r.SentFrom = addrPort(s.sender.LocalAddr())
	return s.r, errors.Join(sendErr, receiveErr)
}

func (s *udpStream) listen() (err error) {
	if s.receiver, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.cfg.Listen)); err != nil {
		return err
	}
	return setInt(s.receiver, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16*udpWindow)
}

func (s *udpStream) dial() (err error) {
	if s.sender, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.cfg.Dial)); err != nil {
		return err
	}
	if s.cfg.Batch > 1 {
		return setInt(s.sender, unix.IPPROTO_UDP, unix.UDP_SEGMENT, s.cfg.Size)
	}
	return nil
}

func (s *udpStream) close() {
	for _, c := range []*net.UDPConn{s.receiver, s.sender} {
		if c != nil {
			c.Close()
		}
	}
}

func setInt(c syscall.Conn, level, option, value int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, value) })
	if err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", set)
}

// datagram is number i of the stream: the number, and the pattern from its
// place on.
func (s *udpStream) datagram(i int) []byte {
	at := i * s.cfg.Size
	b := make([]byte, max(datagramHeader, min(s.cfg.Size, s.cfg.Bytes-at)))
	binary.BigEndian.PutUint64(b, uint64(i))
	pattern(b[datagramHeader:], at)
	return b
}

// send sends all, never more ahead of the receiver than the window. Where loss
// is allowed and nothing comes, the window opens again.
func (s *udpStream) send() (sent int, err error) {
	if err := s.sender.SetWriteDeadline(s.deadline); err != nil {
		return 0, err
	}
	inFlight := 0
	for i := 0; i < len(s.seen); i += s.cfg.Batch {
		var burst []byte
		n := min(s.cfg.Batch, len(s.seen)-i)
		for k := range n {
			burst = append(burst, s.datagram(i+k)...)
		}
		for inFlight > 0 && (inFlight+n > udpInFlight || (inFlight+n)*s.cfg.Size > udpWindow) {
			if inFlight, err = s.await(inFlight); err != nil {
				return sent, err
			}
		}
		if err := s.write(burst); err != nil {
			return sent, err
		}
		inFlight += n
		sent += len(burst)
	}
	return sent, nil
}

// write sends some datagrams, at once where the kernel can: before 6.11 it
// cannot where the interface leaves no checksum open.
func (s *udpStream) write(burst []byte) error {
	_, err := s.sender.Write(burst)
	if !errors.Is(err, unix.EIO) || s.cfg.Batch == 1 {
		return err
	}
	if err := setInt(s.sender, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0); err != nil {
		return err
	}
	for datagram := range slices.Chunk(burst, s.cfg.Size) {
		if _, err := s.sender.Write(datagram); err != nil {
			return err
		}
	}
	return setInt(s.sender, unix.IPPROTO_UDP, unix.UDP_SEGMENT, s.cfg.Size)
}

// await waits for the receiver to have more.
func (s *udpStream) await(inFlight int) (int, error) {
	wait := time.Until(s.deadline)
	if s.cfg.LossAllowed {
		wait = min(wait, s.cfg.Quiet)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case n, ok := <-s.received:
		if !ok {
			return inFlight, errors.New("the receiver has given up")
		}
		return inFlight - n, nil
	case <-timer.C:
		if s.cfg.LossAllowed && time.Now().Before(s.deadline) {
			return 0, nil
		}
		return inFlight, os.ErrDeadlineExceeded
	}
}

// receive verifies datagrams until all have come.
func (s *udpStream) receive() error {
	defer close(s.received)
	s.r.ReceivedBy = addrPort(s.receiver.LocalAddr())
	buf := make([]byte, 1<<16)
	for missing := len(s.seen); missing > 0; missing-- {
		n, err := s.read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) && s.cfg.LossAllowed {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%d datagrams of %d are missing: %w", missing, len(s.seen), err)
		}
		if err := s.verify(buf[:n]); err != nil {
			return err
		}
		s.r.Received += n
		s.received <- 1
	}
	return nil
}

// read returns the next datagram. Where loss is allowed it gives up once all has
// been sent and nothing comes.
func (s *udpStream) read(buf []byte) (int, error) {
	for {
		last, until := s.sent.Load(), s.deadline
		if s.cfg.LossAllowed {
			until = earlier(time.Now().Add(s.cfg.Quiet), until)
		}
		if err := s.receiver.SetReadDeadline(until); err != nil {
			return 0, err
		}
		n, from, err := s.receiver.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) && !last && time.Now().Before(s.deadline) {
			continue
		}
		if err == nil {
			s.r.Source = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		}
		return n, err
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// verify wants a datagram of the stream that has not come before.
func (s *udpStream) verify(b []byte) error {
	if len(b) < datagramHeader {
		return fmt.Errorf("a datagram of %d bytes", len(b))
	}
	i := binary.BigEndian.Uint64(b)
	if i >= uint64(len(s.seen)) || s.seen[i] {
		return fmt.Errorf("datagram %d comes twice or never was sent", i)
	}
	s.seen[i] = true
	if want := len(s.datagram(int(i))); len(b) != want {
		return fmt.Errorf("datagram %d has %d bytes, want %d", i, len(b), want)
	}
	return verify(b[datagramHeader:], int(i)*s.cfg.Size)
}
