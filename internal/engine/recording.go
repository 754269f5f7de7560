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
	lost          uint64 // that have been told
	stop, done    chan struct{}
}

// ringSize is the size of the ring in bytes: room for a million packets a second for some
// 25 ms. It costs no time.
const ringSize = 8 << 20

// newRecording makes the maps.
func newRecording(o *run.Recording) (_ *recording, err error) {
	r := &recording{Recording: o}
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
	return &bpf.Recording{Ring: r.ring.FD(), Control: r.control.FD(), Rate: r.Rate, Every: r.Every, Most: r.Most}
}

// reset makes the limits as new, and has what is in the ring forgotten.
func (r *recording) reset() error {
	if r == nil {
		return nil
	}
	if err := r.control.Put(uint32(0), bpf.RecordControl{}); err != nil {
		return fmt.Errorf("reset the limits of what is recorded: %w", err)
	}
	for {
		if more, err := r.next(time.Time{}.Add(1)); err != nil || !more {
			return err
		}
	}
}

// next reads the next record; it is false at the deadline. What is recorded wakes nobody up, so
// there may be records then that are read first.
func (r *recording) next(deadline time.Time) (bool, error) {
	r.reader.SetDeadline(deadline)
	switch err := r.reader.ReadInto(&r.raw); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read a packet: %w", err)
	}
	return true, r.packet.parse(r.raw.RawSample)
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
			for {
				more, err := r.next(time.Now().Add(drainPeriod))
				if err != nil {
					return // given up
				}
				if !more {
					break
				}
				r.Packet(r.packet.of(of, epoch))
			}
			r.tellLost()
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
	before, after []byte // without an offloaded VLAN tag
	packet        run.Packet
	tagged        [2][bpf.RecordBytes + tagLen]byte
}

// tagLen is the length of a VLAN tag (IEEE 802.1Q), addressesLen that of the addresses before it.
const (
	tagLen       = 4
	addressesLen = 12
)

// parse reads a record from the ring. Its bytes are those of raw.
func (r *recorded) parse(raw []byte) error {
	if _, err := binary.Decode(raw, binary.NativeEndian, &r.Record); err != nil || len(raw) < bpf.RecordSize || r.Captured > bpf.RecordBytes {
		return fmt.Errorf("read a packet: a record of %d bytes: %w", len(raw), err)
	}
	r.before = raw[bpf.RecordHeader:][:r.Captured]
	r.after = raw[bpf.RecordHeader+bpf.RecordBytes:][:r.Captured]
	return nil
}

// of is the packet of the record, of which all but what the record says is known. It is
// overwritten by the next.
func (r *recorded) of(known run.Packet, epoch time.Time) *run.Packet {
	r.packet = known
	p := &r.packet
	p.Time = epoch.Add(time.Duration(r.Time))
	p.Rule, p.Length, p.Segments = int(r.Rule), int(r.Length), int(r.Segments)
	p.Before, p.After = r.before, r.after
	if r.Tagged != 0 && p.Link == field.Ethernet && len(r.before) >= addressesLen {
		p.Length += tagLen
		p.Before = withTag(r.tagged[0][:0], r.before, r.TagType, r.Tag)
		p.After = withTag(r.tagged[1][:0], r.after, r.TagTypeLeft, r.TagLeft)
	}
	if p.Written().Verdict == rule.Drop {
		p.After = nil
	}
	return p
}

// withTag appends a packet with its offloaded tag in the place that it has on the wire. The
// type is in network order, as the kernel has it.
func withTag(to, packet []byte, tagType, tag uint32) []byte {
	to = append(to, packet[:addressesLen]...)
	to = binary.NativeEndian.AppendUint16(to, uint16(tagType))
	to = binary.BigEndian.AppendUint16(to, uint16(tag))
	return append(to, packet[addressesLen:]...)
}
