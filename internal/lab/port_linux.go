package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Port sends and receives whole Ethernet frames on one interface.
type Port struct {
	conn *packet.Conn
	buf  [1 << 16]byte
}

// OpenPort opens the interface of that name in the namespace. Receive gives the
// frames that arrive at it from the source MAC address from; nil means from
// anybody. What goes out of the interface is never received.
//
// An XDP program on the interface has seen the frames before. A VLAN tag is
// not part of what is received: Linux takes it out of the frame earlier.
func OpenPort(ns *Namespace, name string, from net.HardwareAddr) (*Port, error) {
	filter, err := bpf.Assemble(FrameFilter(from))
	if err != nil {
		return nil, fmt.Errorf("open %s for raw frames: %w", name, err)
	}
	p := &Port{}
	err = ns.Do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		p.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
		return err
	})
	if err == nil {
		err = p.growBuffer()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s for raw frames: %w", name, err), p.Close())
	}
	return p, nil
}

// FrameFilter accepts arriving frames with the source MAC address from, or all of
// them for nil.
func FrameFilter(from net.HardwareAddr) []bpf.Instruction {
	const drop, accept = 0, 1 << 18
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: drop},
	}
	for i, b := range from {
		program = append(program,
			bpf.LoadAbsolute{Off: uint32(6 + i), Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(b), SkipTrue: 1},
			bpf.RetConstant{Val: drop})
	}
	return append(program, bpf.RetConstant{Val: accept})
}

// ReceiveBuffer is room for some thousand small frames; the kernel's default
// holds less than three hundred and drops the rest in silence.
const ReceiveBuffer = 8 << 20

func (p *Port) growBuffer() error {
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ReceiveBuffer)
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", set)
}

// Send puts a frame on the wire as it is: Ethernet header first, at least 14
// bytes, no frame check sequence.
func (p *Port) Send(frame []byte) error {
	// A raw socket takes the destination from the frame; the address only has
	// to be there.
	if _, err := p.conn.WriteTo(frame, &packet.Addr{HardwareAddr: make(net.HardwareAddr, 6)}); err != nil {
		return fmt.Errorf("send %d bytes: %w", len(frame), err)
	}
	return nil
}

// Receive returns the next frame, which is the caller's. When none has come by
// the deadline the error is os.ErrDeadlineExceeded.
func (p *Port) Receive(deadline time.Time) ([]byte, error) {
	if err := p.conn.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	n, _, err := p.conn.ReadFrom(p.buf[:])
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return bytes.Clone(p.buf[:n]), nil
}

// Dropped is how many frames came too fast to be received since it was asked
// last.
func (p *Port) Dropped() (int, error) {
	stats, err := p.conn.Stats()
	if err != nil {
		return 0, fmt.Errorf("ask for dropped frames: %w", err)
	}
	return int(stats.Drops), nil
}

// Close closes the port.
func (p *Port) Close() error {
	if p.conn == nil {
		return nil
	}
	return p.conn.Close()
}
