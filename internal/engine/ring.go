package engine

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring is a BPF ring buffer, mapped by its only reader (Documentation/bpf/ringbuf.rst of the
// kernel). Records are read where they lie, so that reading one takes no copy; their room is given
// back by giveBack.
type ring struct {
	// consumer is the page that says up to where records were given back; producer is the page
	// that says up to where they were reserved, and behind it the data, twice, so that no record
	// is in two parts.
	consumer, producer []byte
	data               []byte
	mask               uint64
	at                 uint64 // where the next record begins
}

// What a record of a ring begins with (BPF_RINGBUF_HDR_SZ): its length, of which two bits say how
// far it is.
const (
	ringHeader  = 8
	ringBusy    = 1 << 31 // BPF_RINGBUF_BUSY_BIT: it is being written
	ringDiscard = 1 << 30 // BPF_RINGBUF_DISCARD_BIT: it is none
)

// openRing maps a RINGBUF map, which the ring does not own.
func openRing(m *ebpf.Map) (*ring, error) {
	page, size := os.Getpagesize(), int(m.MaxEntries())
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the ring: %w", err)
	}
	producer, err := unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map the ring: %w", err), unix.Munmap(consumer))
	}
	return &ring{consumer: consumer, producer: producer, data: producer[page:], mask: uint64(size - 1)}, nil
}

// close unmaps the ring, which may be nil. What was read from it is gone.
func (r *ring) close() error {
	if r == nil {
		return nil
	}
	return errors.Join(unix.Munmap(r.consumer), unix.Munmap(r.producer))
}

// position is a position of a ring that the kernel reads or writes.
func position(page []byte) *uint64 { return (*uint64)(unsafe.Pointer(unsafe.SliceData(page))) }

// reserved is up to where records have been reserved.
func (r *ring) reserved() uint64 { return atomic.LoadUint64(position(r.producer)) }

// given is up to where records have been given back.
func (r *ring) given() uint64 { return atomic.LoadUint64(position(r.consumer)) }

// next is the next record that is complete and begins before a position; start is where it begins.
func (r *ring) next(before uint64) (record []byte, start uint64, ok bool) {
	for r.at < before {
		start := r.at & r.mask
		header := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[start])))
		if header&ringBusy != 0 {
			return nil, 0, false
		}
		length := uint64(header &^ (ringBusy | ringDiscard))
		at := r.at
		r.at += (ringHeader + length + 7) &^ 7
		if header&ringDiscard == 0 {
			return r.data[start+ringHeader:][:length:length], at, true
		}
	}
	return nil, 0, false
}

// giveBack gives the room of records back that begin before a position.
func (r *ring) giveBack(before uint64) { atomic.StoreUint64(position(r.consumer), before) }

// forget gives back all records that there are.
func (r *ring) forget() {
	end := r.reserved()
	for {
		if _, _, more := r.next(end); !more {
			break
		}
	}
	r.giveBack(r.at)
}
