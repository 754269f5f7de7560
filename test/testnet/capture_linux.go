package testnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"repacket/internal/lab"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Tag is a VLAN tag.
type Tag struct {
	TPID uint16 // 0x8100 (802.1Q) or 0x88a8 (802.1ad)
	TCI  uint16 // priority, drop eligible, VLAN identifier
}

// Checksum is what the kernel knows about a packet's layer-4 checksum, with the
// kernel's numbers (include/linux/skbuff.h).
type Checksum uint8

// What the kernel knows.
const (
	ChecksumNone        Checksum = iota // nothing
	ChecksumUnnecessary                 // it is right
	ChecksumComplete                    // the sum over the whole packet, as hardware computes it
	ChecksumPartial                     // it is to be finished when the packet leaves
	// ChecksumUnknown: none or partial, and this kernel cannot tell.
	ChecksumUnknown
)

// String is the state's name.
func (c Checksum) String() string {
	names := [...]string{"none", "unnecessary", "complete", "partial", "none or partial"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("checksum(%d)", uint8(c))
}

// Packet is a packet with its metadata.
type Packet struct {
	Data     []byte // without an offloaded tag
	Outgoing bool   // it leaves the interface
	// VLAN is a tag that the kernel keeps beside the frame; nil if there is
	// none, though Data may hold tags too.
	VLAN *Tag
	// Checksum never is Complete here: packet sockets see that as None (see
	// Skbs).
	Checksum Checksum
	Offload  Offload // work that is still to be done on the packet
}

// Frame is the packet as it would be on a cable as far as tags go: with the one
// that was offloaded.
func (p Packet) Frame() []byte {
	if p.VLAN == nil || len(p.Data) < 12 {
		return bytes.Clone(p.Data)
	}
	f := bytes.Clone(p.Data[:12])
	f = binary.BigEndian.AppendUint16(f, p.VLAN.TPID)
	f = binary.BigEndian.AppendUint16(f, p.VLAN.TCI)
	return append(f, p.Data[12:]...)
}

// captureBuffer holds the largest packet: IPv6 and IPv4 of BIG TCP.
const captureBuffer = 1<<19 + 1<<10

// Capture receives packets with what is kept beside them.
//
// It stands where tcpdump stands: it sees what arrives before tc does, and
// behind XDP; and what leaves behind tc.
type Capture struct {
	file *os.File
	buf  []byte
	oob  []byte
}

// CaptureConfig says what is captured.
type CaptureConfig struct {
	From     net.HardwareAddr // only this source; nil is any
	Outgoing bool             // also what leaves the interface
}

// OpenCapture captures at the interface of that name in the namespace.
func OpenCapture(ns *lab.Namespace, name string, cfg CaptureConfig) (*Capture, error) {
	filter := fromFilter(cfg.From)
	if !cfg.Outgoing {
		filter = lab.FrameFilter(cfg.From)
	}
	file, err := rawSocket(ns, name, filter)
	if err != nil {
		return nil, fmt.Errorf("capture at %s: %w", name, err)
	}
	return &Capture{file, make([]byte, vnetHeaderSize+captureBuffer), make([]byte, 256)}, nil
}

// fromFilter accepts frames in both directions.
func fromFilter(from net.HardwareAddr) []bpf.Instruction {
	return lab.FrameFilter(from)[3:]
}

// Receive returns the next packet, which is the caller's. When none has come by
// the deadline the error is os.ErrDeadlineExceeded; what has come already is
// returned after it, too.
func (c *Capture) Receive(deadline time.Time) (Packet, error) {
	p, err := c.receive(deadline)
	if err != nil {
		return Packet{}, fmt.Errorf("capture: %w", err)
	}
	return p, nil
}

func (c *Capture) receive(deadline time.Time) (Packet, error) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return Packet{}, err
	}
	var m message
	if err := raw.Control(func(fd uintptr) { m = c.receiveFrom(fd) }); err != nil {
		return Packet{}, err
	}
	if m.again() {
		if err := c.file.SetReadDeadline(deadline); err != nil {
			return Packet{}, err
		}
		err := raw.Read(func(fd uintptr) bool {
			m = c.receiveFrom(fd)
			return !m.again()
		})
		if err != nil {
			return Packet{}, err
		}
	}
	if m.err != nil {
		return Packet{}, os.NewSyscallError("recvmsg", m.err)
	}
	if m.n < vnetHeaderSize {
		return Packet{}, fmt.Errorf("%d bytes are no packet", m.n)
	}
	return c.decode(m)
}

// message is what recvmsg has left in the buffers.
type message struct {
	n, oobn int
	from    unix.Sockaddr
	err     error
}

// again: there was nothing.
func (m message) again() bool {
	return errors.Is(m.err, unix.EAGAIN) || errors.Is(m.err, unix.EINTR)
}

func (c *Capture) receiveFrom(fd uintptr) (m message) {
	m.n, m.oobn, _, m.from, m.err = unix.Recvmsg(int(fd), c.buf, c.oob, unix.MSG_DONTWAIT)
	return m
}

// decode puts together the packet and its metadata.
func (c *Capture) decode(m message) (Packet, error) {
	p := Packet{Data: bytes.Clone(c.buf[vnetHeaderSize:m.n])}
	var good bool
	p.Offload, good = parseHeader(c.buf)
	if ll, ok := m.from.(*unix.SockaddrLinklayer); ok {
		p.Outgoing = ll.Pkttype == unix.PACKET_OUTGOING
	}
	messages, err := unix.ParseSocketControlMessage(c.oob[:m.oobn])
	if err != nil {
		return Packet{}, err
	}
	status := uint32(0)
	for _, c := range messages {
		if c.Header.Level == unix.SOL_PACKET && c.Header.Type == unix.PACKET_AUXDATA {
			status = readAux(c.Data, &p)
		}
	}
	switch {
	case status&unix.TP_STATUS_CSUMNOTREADY != 0:
		p.Checksum = ChecksumPartial
	case good:
		p.Checksum = ChecksumUnnecessary
	}
	return p, nil
}

// readAux takes the tag out of a tpacket_auxdata (include/uapi/linux/if_packet.h)
// and returns its status.
func readAux(aux []byte, p *Packet) uint32 {
	const size = 20
	if len(aux) < size {
		return 0
	}
	status := hostOrder.Uint32(aux)
	if status&unix.TP_STATUS_VLAN_VALID != 0 {
		p.VLAN = &Tag{TPID: 0x8100, TCI: hostOrder.Uint16(aux[16:])}
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			p.VLAN.TPID = hostOrder.Uint16(aux[18:])
		}
	}
	return status
}

// Close ends the capture.
func (c *Capture) Close() error { return c.file.Close() }
