package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ipHeader    = 20 // without options
	icmpHeader  = 8
	echoRequest = 8
	echoReply   = 0
	// icmpFilter is ICMP_FILTER (include/uapi/linux/icmp.h): a bit for each type that
	// a raw socket is not to receive.
	icmpFilter = 1
	// echoTimeout is how long a reply may take.
	echoTimeout = time.Second
)

// echoes sends echo requests back to back: no CPU has the time to fall asleep, which
// it does between pings at intervals, and the deeper the slower the next ping.
func (s sending) echoes() (done sent, err error) {
	request, err := newEcho(s.Bytes)
	if err != nil {
		return done, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return done, os.NewSyscallError("socket", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	wait := unix.NsecToTimeval(echoTimeout.Nanoseconds())
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, ^(1<<echoReply)),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Connect(fd, &unix.SockaddrInet4{Addr: s.Echo.As4()}),
	); err != nil {
		return done, fmt.Errorf("prepare a socket for pings: %w", err)
	}
	buf := make([]byte, 2*s.Bytes)
	for i := range s.Warm + s.Count {
		request.number(uint16(i))
		began := time.Now()
		err := request.exchange(fd, buf)
		took := time.Since(began)
		done.Packets++
		if err != nil {
			return done, fmt.Errorf("ping %d: %w", done.Packets, err)
		}
		if i >= s.Warm {
			done.Nanoseconds = append(done.Nanoseconds, float64(took.Nanoseconds()))
		}
	}
	return done, nil
}

// echo is an echo request (RFC 792) without its IP header.
type echo []byte

// newEcho is a request that is so many bytes long with its IP header.
func newEcho(bytes int) (echo, error) {
	if bytes < ipHeader+icmpHeader || bytes > 65535 {
		return nil, fmt.Errorf("there are no pings of %d bytes, IP header included", bytes)
	}
	e := make(echo, bytes-ipHeader)
	e[0] = echoRequest
	binary.BigEndian.PutUint16(e[4:], uint16(os.Getpid()))
	for i := range e[icmpHeader:] {
		e[icmpHeader+i] = byte(i)
	}
	return e, nil
}

// number gives the request its sequence number, and the checksum of that.
func (e echo) number(n uint16) {
	binary.BigEndian.PutUint16(e[6:], n)
	e[2], e[3] = 0, 0
	binary.BigEndian.PutUint16(e[2:], ^onesSum(e))
}

// onesSum is the ones' complement sum of 16-bit words (RFC 1071).
func onesSum(b []byte) uint16 {
	var sum uint32
	for i, v := range b {
		sum += uint32(v) << (8 * (1 - i%2))
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// exchange sends the request and waits for its reply.
func (e echo) exchange(fd int, buf []byte) error {
	if _, err := unix.Write(fd, e); err != nil {
		return os.NewSyscallError("write", err)
	}
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("no reply within %v", echoTimeout)
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("read", err)
		case e.answeredBy(buf[:n]):
			return nil
		}
	}
}

// answeredBy reports whether an IPv4 packet is the reply: what is not is somebody
// else's, or late.
func (e echo) answeredBy(packet []byte) bool {
	if len(packet) != ipHeader+len(e) || packet[0] != 0x45 {
		return false
	}
	reply := packet[ipHeader:]
	return reply[0] == echoReply && reply[1] == 0 && string(reply[4:]) == string(e[4:])
}
