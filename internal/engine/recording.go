package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// recording is the packets that a program records: their ring, what limits them, and who
// reads them.
type recording struct {
	*run.Recording
	ring, control *ebpf.Map
	reader        *ringbuf.Reader
	raw           ringbuf.Record
	packet        recorded
	head          int    // bytes of a packet as it left that a record has room for
	lost          uint64 // that have been told
	stop, done    chan struct{}
}

// ringSize is the size of the ring in bytes: room for a million packets a second for some
// 25 ms. It costs no time.
const ringSize = 8 << 20

// newRecording makes the maps.
func newRecording(o *run.Recording) (_ *recording, err error) {
	r := &recording{Recording: o, head: bpf.Recording{Bytes: o.Bytes}.Head()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make the ring of packets: %w", err), r.close())
		}
	}()
	r.ring, err = ebpf.NewMap(&ebpf.MapSpec{Name: "repacket_ring", Type: ebpf.RingBuf, MaxEntries: ringSize})
	if err != nil {
		return nil, err
	}
	r.control, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "repacket_shown", Type: ebpf.Array, KeySize: 4, ValueSize: bpf.RecordControlSize, MaxEntries: 1,
	})
	if err != nil {
		return nil, err
	}
	r.reader, err = ringbuf.NewReader(r.ring)
	return r, err
}

// options are what a program is compiled with; r may be nil.
func (r *recording) options() *bpf.Recording {
	if r == nil {
		return nil
	}
	return &bpf.Recording{
		Ring: r.ring.FD(), Control: r.control.FD(), Rate: r.Rate, Every: r.Every, Most: r.Most, Bytes: r.Bytes,
	}
}

// atOnce is a deadline at which nothing is waited for.
var atOnce = time.Unix(1, 0)

// reset makes the limits as new, and has what is in the ring forgotten.
func (r *recording) reset() error {
	if r == nil {
		return nil
	}
	if err := r.control.Put(uint32(0), bpf.RecordControl{}); err != nil {
		return fmt.Errorf("reset the limits of what is recorded: %w", err)
	}
	r.reader.SetDeadline(atOnce)
	for {
		if more, err := r.next(); err != nil || !more {
			return err
		}
	}
}

// next reads the next record; it is false at the deadline of the reader. What is recorded wakes
// nobody up, so there may be records then that are read first.
func (r *recording) next() (bool, error) {
	switch err := r.reader.ReadInto(&r.raw); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read a packet: %w", err)
	}
	return true, r.packet.parse(r.raw.RawSample, r.head)
}

// drainPeriod is how long a record may lie in the ring.
const drainPeriod = 10 * time.Millisecond

// closePatience is how long who is handed packets may take when all is over.
const closePatience = time.Second

// deliver begins to hand over the packets of a program, until the recording is closed.
func (r *recording) deliver(of run.Packet) error {
	epoch, err := monotonicEpoch()
	if err != nil {
		return err
	}
	r.stop, r.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(r.done)
		for {
			// Whether it is the last turn is asked before, so that nothing is left in the ring.
			last := closed(r.stop)
			r.reader.SetDeadline(time.Now().Add(drainPeriod))
			for {
				more, err := r.next()
				if err != nil {
					return // given up
				}
				if !more {
					break
				}
				r.Packet(r.packet.of(of, epoch))
			}
			r.tellLost()
			if r.Drained != nil {
				r.Drained()
			}
			if last {
				return
			}
			if now, err := monotonicEpoch(); err == nil { // somebody may have set the clock
				epoch = now
			}
		}
	}()
	return nil
}

// monotonicEpoch is when CLOCK_MONOTONIC was 0, as the clock on the wall says now.
func monotonicEpoch() (time.Time, error) {
	now, err := monotonic(0)
	return time.Now().Round(0).Add(-time.Duration(now)), err
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// tellLost tells how many more packets the ring had no room for.
func (r *recording) tellLost() {
	var c bpf.RecordControl
	if r.control.Lookup(uint32(0), &c) == nil && c.Lost > r.lost {
		r.Lost(c.Lost - r.lost)
		r.lost = c.Lost
	}
}

// close hands over what is left in the ring, and gives all back to the kernel; r may be nil. Where
// who is handed the packets does not come back, it goes on without.
func (r *recording) close() error {
	if r == nil {
		return nil
	}
	if r.stop != nil {
		close(r.stop)
		select {
		case <-r.done:
		case <-time.After(closePatience):
		}
	}
	var err error
	if r.reader != nil {
		err = r.reader.Close()
	}
	return errors.Join(err, closeAll(r.ring, r.control))
}

// recorded is a record as it was read.
type recorded struct {
	bpf.Record
	// before are the bytes of the packet as it arrived, after the first ones as it left, both
	// without an offloaded VLAN tag.
	before, after []byte
	packet        run.Packet
	out           [2][]byte // with the tag
	whole         []byte    // as it left
}

// tagLen is the length of a VLAN tag (IEEE 802.1Q), addressesLen that of the addresses before it.
const (
	tagLen       = 4
	addressesLen = 12
)

// parse reads a record from the ring, with so many bytes of the packet as it left. Its bytes are
// those of raw.
func (r *recorded) parse(raw []byte, head int) error {
	r.Record = bpf.ReadRecord(raw)
	if len(raw) < bpf.RecordHeader+head+int(r.Captured) || int(r.Left) > head {
		return fmt.Errorf("read a packet: a record of %d bytes", len(raw))
	}
	r.after = raw[bpf.RecordHeader:][:r.Left]
	r.before = raw[bpf.RecordHeader+head:][:r.Captured]
	return nil
}

// of is the packet of the record, of which all but what the record says is known. It is
// overwritten by the next.
func (r *recorded) of(known run.Packet, epoch time.Time) *run.Packet {
	r.packet = known
	p := &r.packet
	p.Time = epoch.Add(time.Duration(r.Time))
	p.Rule, p.Length, p.Segments = int(r.Rule), int(r.Length), int(r.Segments)
	before, after := r.sides(known.Link)
	if r.Tagged != 0 && p.Link == field.Ethernet && len(before) >= addressesLen {
		p.Length += tagLen
		r.out[0] = withTag(r.out[0][:0], before, r.TagType, r.Tag)
		r.out[1] = withTag(r.out[1][:0], after, r.TagTypeLeft, r.TagLeft)
		before, after = r.out[0], r.out[1]
	}
	p.Before, p.After = before, after
	if p.Written().Verdict == rule.Drop {
		p.After = nil
	}
	return p
}

// sides are the bytes of both sides, as many of each. Behind what is recorded of the packet as
// it left, it is as it arrived; where that is not sure, there is no more of either.
func (r *recorded) sides(link field.Link) (before, after []byte) {
	n := min(len(r.before), len(r.after))
	if n == len(r.before) || !r.headersWithin(link, n) {
		return r.before[:n], r.after[:n]
	}
	r.whole = append(append(r.whole[:0], r.after...), r.before[n:]...)
	return r.before, r.whole
}

// headersWithin reports whether all headers are within the first n bytes, as they always are
// where no IPv6 extension headers make them longer: 14 bytes of Ethernet, 8 of tags, and what an
// ICMP error quotes, 60 of IPv4, 8 of ICMP, 60 of IPv4 and 20 of TCP, or less.
func (r *recorded) headersWithin(link field.Link, n int) bool {
	const longest, typeIPv6, typeTag, typeService = 170, 0x86dd, 0x8100, 0x88a8
	if n < longest {
		return false
	}
	at := 0
	if link == field.Ethernet {
		at = addressesLen
		for t := binary.BigEndian.Uint16(r.before[at:]); t == typeTag || t == typeService; t = binary.BigEndian.Uint16(r.before[at:]) {
			if at += tagLen; at > longest/2 {
				return false
			}
		}
		if binary.BigEndian.Uint16(r.before[at:]) != typeIPv6 {
			return true
		}
		at += 2
	} else if r.before[0]>>4 != 6 {
		return true
	}
	switch r.before[at+nextHeaderAt] {
	case hopByHop, routing, fragment, destination:
		return false
	case icmp6: // errors quote packets, which may have extension headers
		return r.before[at+headerIPv6] >= firstInformational
	}
	return true
}

// What an IPv6 header has where (RFC 8200 section 3), and the numbers of extension headers and of
// ICMPv6 (IANA), of whose types the errors are below 128 (RFC 4443 section 2.1).
const (
	nextHeaderAt       = 6
	headerIPv6         = 40
	hopByHop           = 0
	routing            = 43
	fragment           = 44
	icmp6              = 58
	destination        = 60
	firstInformational = 128
)

// withTag appends a packet with its offloaded tag in the place that it has on the wire. The
// type is in network order, as the kernel has it.
func withTag(to, packet []byte, tagType, tag uint32) []byte {
	to = append(to, packet[:addressesLen]...)
	to = binary.NativeEndian.AppendUint16(to, uint16(tagType))
	to = binary.BigEndian.AppendUint16(to, uint16(tag))
	return append(to, packet[addressesLen:]...)
}
