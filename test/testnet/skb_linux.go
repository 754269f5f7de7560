package testnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"repacket/internal/lab"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// Skb is a packet as tc programs see it.
type Skb struct {
	Data     []byte // the bytes; the tag in metadata is not among them
	Length   int    // in bytes; more than Data where that is cut short
	Type     uint8  // PACKET_HOST, PACKET_OTHERHOST, …
	Protocol uint16 // the Ethernet type that the kernel goes by
	VLAN     *Tag   // the tag in metadata
	// Segments is how many packets it stands for; 0 unless it is a
	// GSO packet, and of one from a raw socket or a tun until it has left.
	Segments int
	Segment  int // payload bytes of each
	Checksum Checksum
	// Sum is what a device has found, where Checksum is Complete: the sum of all
	// from the network header on, folded to 16 bits (RFC 1071).
	Sum uint16
}

// skbData is how much of a packet is looked at: a jumbo frame.
const skbData = 9216

// Skbs shows the packets that pass tc at one interface in one direction, behind
// all programs that were there before or that come at the head, as ours do: so
// it shows what those have made of a packet.
type Skbs struct {
	hook    *tcHook
	ring    *ebpf.Map
	lost    *ebpf.Map
	program *ebpf.Program
	reader  *ringbuf.Reader
}

// WatchSkbs looks at the interface of that name in the namespace.
func WatchSkbs(ns *lab.Namespace, name string, d Direction) (*Skbs, error) {
	s := &Skbs{}
	if err := s.open(ns, name, d); err != nil {
		return nil, errors.Join(fmt.Errorf("look at packets of %s: %w", name, err), s.Close())
	}
	return s, nil
}

func (s *Skbs) open(ns *lab.Namespace, name string, d Direction) (err error) {
	ring := &ebpf.MapSpec{Name: "lab_skbs", Type: ebpf.RingBuf, MaxEntries: 4 << 20}
	if s.ring, err = ebpf.NewMap(ring); err != nil {
		return err
	}
	lost := &ebpf.MapSpec{Name: "lab_lost", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}
	if s.lost, err = ebpf.NewMap(lost); err != nil {
		return err
	}
	if s.reader, err = ringbuf.NewReader(s.ring); err != nil {
		return err
	}
	if s.program, err = loadSkbProgram(s.ring, s.lost); err != nil {
		return err
	}
	s.hook, err = attachTC(ns, name, s.program, d)
	return err
}

// Receive returns the next packet. When none has come by the deadline the error
// is os.ErrDeadlineExceeded.
func (s *Skbs) Receive(deadline time.Time) (Skb, error) {
	s.reader.SetDeadline(deadline)
	record, err := s.reader.Read()
	if err != nil {
		return Skb{}, fmt.Errorf("look at packets: %w", err)
	}
	return parseSkb(record.RawSample), nil
}

// Lost is how many packets came too fast to be looked at.
func (s *Skbs) Lost() (int, error) {
	var n uint64
	if err := s.lost.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("ask for lost packets: %w", err)
	}
	return int(n), nil
}

// Close takes the program off.
func (s *Skbs) Close() error {
	var errs []error
	if s.hook != nil {
		errs = append(errs, s.hook.Close())
	}
	if s.program != nil {
		errs = append(errs, s.program.Close())
	}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	if s.lost != nil {
		errs = append(errs, s.lost.Close())
	}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	return errors.Join(errs...)
}

// parseSkb reads a record of the program: see skbRecord.
func parseSkb(b []byte) Skb {
	word := func(at int) uint32 { return hostOrder.Uint32(b[at:]) }
	s := Skb{
		Length:   int(word(recordLength)),
		Type:     uint8(word(recordType)),
		Protocol: networkOrder(word(recordProtocol)),
		Segments: int(word(recordSegments)),
		Segment:  int(word(recordSegment)),
		Checksum: skbChecksum(b),
	}
	if s.Checksum == ChecksumComplete {
		s.Sum = foldedSum(word(recordSum))
	}
	if word(recordTagged) != 0 {
		s.VLAN = &Tag{TPID: networkOrder(word(recordTPID)), TCI: uint16(word(recordTCI))}
	}
	s.Data = append(s.Data, b[recordData:recordData+min(s.Length, skbData)]...)
	return s
}

// networkOrder reads a number that the kernel left in the packet's order.
func networkOrder(v uint32) uint16 {
	return binary.BigEndian.Uint16(hostOrder.AppendUint16(nil, uint16(v)))
}

// foldedSum folds a sum of the kernel's, which is in this machine's order.
func foldedSum(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return networkOrder(sum)
}

// skbChecksum puts together what the kernel says of the sum itself and what its
// helpers say, which holds on older kernels too.
func skbChecksum(b []byte) Checksum {
	summed := Checksum(hostOrder.Uint32(b[recordSummed:]))
	switch {
	case summed != ChecksumUnknown:
		return summed
	case hostOrder.Uint32(b[recordComplete:]) != 0:
		return ChecksumComplete
	case hostOrder.Uint32(b[recordUnnecessary:]) != 0:
		return ChecksumUnnecessary
	}
	return ChecksumUnknown
}
