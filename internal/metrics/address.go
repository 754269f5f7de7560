package metrics

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"repacket/internal/run"
)

// ErrAddress is the error of an address that cannot be read.
var ErrAddress = errors.New("no address of the form PORT or ADDRESS:PORT")

// ErrEverywhere is the error of a port without an address: to some that means this machine alone, to
// others everybody.
var ErrEverywhere = errors.New("a colon, and no address before it")

// ParseAddress reads where metrics are to be served: ADDRESS:PORT, or a PORT of the loopback address.
// The errors are ErrAddress and ErrEverywhere.
func ParseAddress(text string) (netip.AddrPort, error) {
	if port, err := strconv.ParseUint(text, 10, 16); err == nil {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)), nil
	}
	if port, ok := strings.CutPrefix(text, ":"); ok {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return netip.AddrPort{}, ErrEverywhere
		}
	}
	if port, ok := strings.CutPrefix(text, "localhost:"); ok {
		text = "127.0.0.1:" + port
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return at, ErrAddress
	}
	return at, nil
}

// ListenError is why nothing can be served at an address.
type ListenError struct {
	At  netip.AddrPort
	Err error
}

func (e *ListenError) Error() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return fmt.Sprintf("metrics cannot be served at %s: another program listens there", e.At)
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("metrics cannot be served at %s: this machine does not have the address %s", e.At, e.At.Addr())
	case errors.Is(e.Err, syscall.EACCES):
		return fmt.Sprintf("metrics cannot be served at %s: the privilege for ports below 1024 is missing", e.At)
	}
	return fmt.Sprintf("metrics cannot be served at %s: %v", e.At, e.Err)
}

// Unwrap is the kernel's error.
func (e *ListenError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *ListenError) Hint() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return fmt.Sprintf("ss -ltnp sport = :%d shows which; or take another port", e.At.Port())
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("ip address lists those that it has; %d alone is 127.0.0.1:%[1]d", e.At.Port())
	case errors.Is(e.Err, syscall.EACCES):
		return "take a port from 1024 up; or grant CAP_NET_BIND_SERVICE"
	}
	return ""
}

// Class says whose address it is, or which kind of failure else.
func (e *ListenError) Class() run.Class {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return run.Taken
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return run.Usage
	case errors.Is(e.Err, syscall.EACCES):
		return run.Privilege
	}
	return run.Failed
}

// Listen begins to listen at an address; port 0 is any that is free. The error is a *ListenError.
func Listen(at netip.AddrPort) (*net.TCPListener, error) {
	network := "tcp" // [::] is for IPv4 too
	if at.Addr().Is4() {
		network = "tcp4"
	}
	l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, &ListenError{at, kernelError(err)}
	}
	return l, nil
}

// kernelError is the kernel's part of an error of package net, which says the address once more.
func kernelError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
