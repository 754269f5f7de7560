package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

// senderWord, as the first argument, makes bench the sender: packets are sent by a
// process of its own, pinned to a CPU, so that neither the measuring nor what is
// measured shares anything with it.
const senderWord = "sender"

// maxSent bounds what a sender sends.
const maxSent = 1_000_000

// sending says what a sender sends.
type sending struct {
	Count int // packets, beside those to warm up
	Warm  int // packets that are sent first, and not timed
	CPU   int // that the sender is pinned to; none if negative

	// Echo requests to an address, the next one when the reply is there:
	Echo  netip.Addr
	Bytes int // of each IPv4 packet

	// Or datagrams to a server over IPv4, Bytes long with their Ethernet headers, of which so
	// many wait for their answers at a time:
	Ask    netip.AddrPort
	Window int

	// Or a frame, on an interface, one after the other:
	Interface string
	Frame     string // hexadecimal
}

// sent is what a sender did, and how long it took: nanoseconds for each round trip,
// or for each frame, as the mean over a block of them, or each answer.
type sent struct {
	Packets     int // those to warm up included
	Nanoseconds []float64
}

// send has a sender in the namespace send it.
func (s sending) send(ns *lab.Namespace) (sent, error) {
	self, err := os.Executable()
	if err != nil {
		return sent{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	order, err := json.Marshal(s)
	if err != nil {
		return sent{}, err
	}
	var out, complaint bytes.Buffer
	cmd := testnet.CommandContext(ctx, ns, self, senderWord, string(order))
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return sent{}, fmt.Errorf("the sender: %w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	var done sent
	if err := json.Unmarshal(out.Bytes(), &done); err != nil {
		return sent{}, fmt.Errorf("read what the sender says: %w", err)
	}
	return done, nil
}

// senderMain is the sender. Its one argument is the order.
func senderMain(w io.Writer, args []string) error {
	if len(args) != 1 {
		return errors.New("the sender takes one argument, from bench itself")
	}
	var s sending
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		return err
	}
	if s.Count < 1 || s.Warm < 0 || s.Count+s.Warm > maxSent {
		return fmt.Errorf("%d packets and %d to warm up cannot be sent, only 1 to %d in all", s.Count, s.Warm, maxSent)
	}
	if err := alone(s.CPU); err != nil {
		return err
	}
	send := s.frames
	switch {
	case s.Echo.IsValid():
		send = s.echoes
	case s.Ask.IsValid():
		send = s.asks
	}
	done, err := send()
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(done)
}

// block is over how many frames a mean is taken: so many that reading the clock costs
// nothing, and so few that most blocks are not interrupted.
const block = 50

// frames sends the frame. On a veth, the call takes it to behind the hooks of the
// other end.
func (s sending) frames() (done sent, err error) {
	frame, err := hex.DecodeString(s.Frame)
	if err != nil {
		return done, err
	}
	ifi, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return done, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return done, os.NewSyscallError("socket", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
		return done, os.NewSyscallError("bind", err)
	}
	send := func(n int) error {
		for range n {
			if _, err := unix.Write(fd, frame); err != nil {
				return os.NewSyscallError("write", err)
			}
			done.Packets++
		}
		return nil
	}
	if err := send(s.Warm); err != nil {
		return done, err
	}
	for left := s.Count; left > 0; left -= block {
		n := min(block, left)
		began := time.Now()
		if err := send(n); err != nil {
			return done, err
		}
		done.Nanoseconds = append(done.Nanoseconds, float64(time.Since(began).Nanoseconds())/float64(n))
	}
	return done, nil
}

// usableCPUs are the CPUs that this process may use, the last one first: interrupts prefer
// the first.
func usableCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read which CPUs there are: %w", err)
	}
	var list []int
	for cpu := len(set)*64 - 1; cpu >= 0; cpu-- {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
}
