package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

// serverWord, as the first argument, makes bench a server that sends each datagram back.
const serverWord = "server"

// serving says where a server serves.
type serving struct {
	At  netip.AddrPort // IPv4
	CPU int            // that the server is pinned to; none if negative
}

// start starts a server in the namespace and waits until it serves. The server ends when it is
// stopped.
func (s serving) start(ns *lab.Namespace) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	order, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	cmd := testnet.CommandContext(ctx, ns, self, serverWord, string(order))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	if err := awaitLine(bufio.NewReader(out), "serving"); err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("the server: %w", err), cmd.Wait())
	}
	return func() error {
		cancel()
		_ = cmd.Wait() // killed
		return nil
	}, nil
}

// serverMain is the server. Its one argument is the order.
func serverMain(args []string) error {
	if len(args) != 1 {
		return errors.New("the server takes one argument, from bench itself")
	}
	var s serving
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		return err
	}
	if err := alone(s.CPU); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(s.At.Port()), Addr: s.At.Addr().As4()}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if _, err := fmt.Println("serving"); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	// There is one client: once connected to it, the server need not look up where to send.
	n, from, err := unix.Recvfrom(fd, buf, 0)
	if err == nil {
		err = unix.Connect(fd, from)
	}
	for err == nil {
		if _, err = unix.Write(fd, buf[:n]); err == nil {
			n, err = read(fd, buf)
		}
	}
	return os.NewSyscallError("echo", err)
}

// alone pins the calling thread to a CPU, and leaves nothing to the garbage collector.
func alone(cpu int) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	if cpu < 0 {
		return nil
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return nil
}

// read is unix.Read that signals, as those of Go's scheduler, do not interrupt.
func read(fd int, buf []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, buf); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// udpHeaders is how long the headers of a datagram are: Ethernet, IPv4 and UDP.
const udpHeaders = 14 + ipHeader + 8

// asks sends datagrams to a server that answers each of them, so many at a time as the window
// has room for. The socket takes answers only from where it asks. It tells how long an answer took,
// as the mean over each block of them.
func (s sending) asks() (done sent, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return done, os.NewSyscallError("socket", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	wait := unix.NsecToTimeval(echoTimeout.Nanoseconds())
	if err := errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(s.Ask.Port()), Addr: s.Ask.Addr().As4()}),
	); err != nil {
		return done, fmt.Errorf("prepare a socket: %w", err)
	}
	datagram, buf := make([]byte, s.Bytes-udpHeaders), make([]byte, 2*s.Bytes)
	began := time.Now()
	for answered := range s.Warm + s.Count {
		for ; done.Packets < min(s.Warm+s.Count, answered+s.Window); done.Packets++ {
			if _, err := unix.Write(fd, datagram); err != nil {
				return done, os.NewSyscallError("write", err)
			}
		}
		if _, err := read(fd, buf); err != nil {
			return done, fmt.Errorf("answer %d: %w", answered+1, err)
		}
		if (answered+1)%askedBlock != 0 {
			continue
		}
		now := time.Now()
		if answered >= s.Warm+askedBlock {
			done.Nanoseconds = append(done.Nanoseconds, float64(now.Sub(began).Nanoseconds())/askedBlock)
		}
		began = now
	}
	return done, nil
}

// askedBlock is over how many answers a mean is taken: several windows, and so few that most
// blocks are not interrupted.
const askedBlock = 128
