package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"repacket/internal/lab"
)

// StreamConfig says what is sent from one namespace to another.
type StreamConfig struct {
	From, To *lab.Namespace
	UDP      bool
	// Dial is where From sends to; Listen is where To waits, Dial if it is not
	// set: they differ when a rule between them rewrites the destination.
	Dial, Listen netip.AddrPort
	// Bytes of payload in all; 0 is 1 MiB.
	Bytes int
	// Size is that of a UDP datagram's payload, and how many bytes TCP is
	// given at a time; 0 is 1,200 and 65,536.
	Size int
	// Batch is how many datagrams UDP hands to the kernel at a time, as one
	// GSO packet (UDP_SEGMENT); 0 and 1 are no GSO packets.
	Batch int
	// Timeout is for all of it; 0 is 10 seconds.
	Timeout time.Duration
	// Loss of UDP datagrams is an error unless it is allowed: then the stream
	// ends when nothing has come for Quiet; 0 is 200 milliseconds.
	LossAllowed bool
	Quiet       time.Duration
}

// StreamResult is what became of a stream.
type StreamResult struct {
	Sent, Received       int // bytes of payload; each byte received is verified
	SentFrom, ReceivedBy netip.AddrPort
	Source               netip.AddrPort // as the receiver sees it
	Elapsed              time.Duration
}

func (cfg *StreamConfig) setDefaults() {
	if !cfg.Listen.IsValid() {
		cfg.Listen = cfg.Dial
	}
	setDefault(&cfg.Bytes, 1<<20)
	size := 65536
	if cfg.UDP {
		size = 1200
	}
	setDefault(&cfg.Size, size)
	setDefault(&cfg.Batch, 1)
	setDefault(&cfg.Timeout, 10*time.Second)
	setDefault(&cfg.Quiet, 200*time.Millisecond)
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// Stream sends a stream, verifies every byte of it at the receiver and returns
// when it is through. With TCP the receiver's end of the connection is closed
// in good order, too. When it fails, the result says how far it came, and when
// time ran out the error is os.ErrDeadlineExceeded.
func Stream(cfg StreamConfig) (StreamResult, error) {
	cfg.setDefaults()
	start := time.Now()
	var r StreamResult
	var err error
	if cfg.UDP {
		r, err = streamUDP(cfg, start.Add(cfg.Timeout))
	} else {
		r, err = streamTCP(cfg, start.Add(cfg.Timeout))
	}
	r.Elapsed = time.Since(start)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
	}
	if err != nil {
		return r, fmt.Errorf("stream to %s: %w", cfg.Dial, err)
	}
	return r, nil
}

// pattern fills in what a stream has from a place on: no two places nearby look
// alike, so bytes that are repeated, lost or swapped are found.
func pattern(b []byte, at int) {
	for i := range b {
		b[i] = patternByte(at + i)
	}
}

// patternByte depends on all of the place (a step of splitmix64 for every eight
// bytes).
func patternByte(at int) byte {
	z := uint64(at/8)*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return byte((z ^ z>>31) >> (8 * (at % 8)))
}

// verify says at which place the pattern is broken.
func verify(b []byte, at int) error {
	for i, got := range b {
		if want := patternByte(at + i); got != want {
			return fmt.Errorf("byte %d of the payload is %#02x, want %#02x", at+i, got, want)
		}
	}
	return nil
}

func streamTCP(cfg StreamConfig, deadline time.Time) (r StreamResult, err error) {
	var listener *net.TCPListener
	err = cfg.To.Do(func() error {
		listener, err = listenHere(cfg.Listen)
		return err
	})
	if err != nil {
		return r, err
	}
	defer listener.Close()
	if err := listener.SetDeadline(deadline); err != nil {
		return r, err
	}
	var received StreamResult
	done := make(chan error, 1)
	go func() { done <- receiveTCP(listener, deadline, cfg, &received) }()
	err = sendTCP(cfg, deadline, &r)
	if !r.SentFrom.IsValid() {
		listener.Close() // nobody will come
		if closed := <-done; !errors.Is(closed, net.ErrClosed) {
			err = errors.Join(err, closed)
		}
		return r, err
	}
	err = errors.Join(err, <-done)
	r.Received, r.Source, r.ReceivedBy = received.Received, received.Source, received.ReceivedBy
	return r, err
}

// sendTCP sends the pattern and waits for the receiver to close.
func sendTCP(cfg StreamConfig, deadline time.Time, r *StreamResult) error {
	var conn net.Conn
	err := cfg.From.Do(func() (err error) {
		conn, err = dialHere("tcp", cfg.Dial, deadline)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	r.SentFrom = addrPort(conn.LocalAddr())
	buf := make([]byte, cfg.Size)
	for r.Sent < cfg.Bytes {
		part := buf[:min(len(buf), cfg.Bytes-r.Sent)]
		pattern(part, r.Sent)
		n, err := conn.Write(part)
		r.Sent += n
		if err != nil {
			return err
		}
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	if n, err := conn.Read(buf); n != 0 || !isEOF(err) {
		return fmt.Errorf("the receiver answers with %d bytes, %w", n, err)
	}
	return nil
}

func receiveTCP(l *net.TCPListener, deadline time.Time, cfg StreamConfig, r *StreamResult) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	r.Source, r.ReceivedBy = addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		if err := verify(buf[:n], r.Received); err != nil {
			return err
		}
		r.Received += n
		switch {
		case isEOF(err) && r.Received == cfg.Bytes:
			return nil
		case isEOF(err):
			return fmt.Errorf("the stream ends after %d bytes of %d", r.Received, cfg.Bytes)
		case err != nil:
			return err
		}
	}
}
