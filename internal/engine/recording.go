package engine

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/run"
)

// recording is the packets that the programs of a run record: their ring, what limits them, and
// who reads them. All programs of the run share it, those of rules and of replies and those that
// come later, so that packets are in one order, and limits hold for the whole run.
type recording struct {
	*run.Recording
	ringMap, control *ebpf.Map
	ring             *ring
	window           window
	packet           recorded
	head             int    // bytes of a packet as it left that a record has room for
	lost             uint64 // that have been told
	clock            hostClock
	of               *source // of the last packet, and its number
	number           uint32

	mu      sync.Mutex // guards what follows
	users   int
	sources map[uint32]*source
	next    uint32        // number of a source
	stop    chan struct{} // of the reader, if there is one
	done    chan struct{}
	over    bool // it is to be finished, until then
	until   time.Time
	// finished: the reader has ended. abandoned: it has not when all users had, so the ring is left
	// to it.
	finished, abandoned bool
}

// source is a program that records.
type source struct {
	packet run.Packet // what is known of all of its packets
	gone   time.Time  // when the program went, or 0
	end    uint64     // up to where records were reserved then
}

const (
	// ringSize is the size of the ring in bytes: room for a million packets a second for some
	// 25 ms. It costs no time.
	ringSize = 8 << 20
	// testRingSize is that of a program that is only tested, packet by packet.
	testRingSize = 256 << 10
)

// newRecording makes the maps; the recording has one user.
func newRecording(o *run.Recording, size uint32) (_ *recording, err error) {
	r := &recording{Recording: o, head: bpf.Recording{Bytes: o.Bytes}.Head(), users: 1, sources: map[uint32]*source{}}
	defer func() {
		if err != nil {
			err = errors.Join(hook.ExplainLoad(fmt.Errorf("make the ring of packets: %w", err)), r.release())
		}
	}()
	r.ringMap, err = ebpf.NewMap(&ebpf.MapSpec{Name: "repacket_ring", Type: ebpf.RingBuf, MaxEntries: size})
	if err != nil {
		return nil, err
	}
	r.control, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "repacket_shown", Type: ebpf.Array, KeySize: 4, ValueSize: bpf.RecordControlSize, MaxEntries: 1,
	})
	if err != nil {
		return nil, err
	}
	r.ring, err = openRing(r.ringMap)
	return r, err
}

// record has the programs of a run record into one ring, if packets are asked for.
func (s *Prepared) record() (err error) {
	if s.opt.Record == nil {
		return nil
	}
	s.recording, err = newRecording(s.opt.Record, ringSize)
	if s.replies != nil {
		s.replies.recording = s.recording
	}
	return err
}

// recorder is the recording of a program that is to be loaded, or nil: that of the run, or one of
// its own.
func (o LoadOptions) recorder() (*recording, error) {
	switch {
	case o.Record == nil:
		return nil, nil
	case o.recording != nil:
		return o.recording.use(), nil
	case o.Drawn:
		return newRecording(o.Record, testRingSize)
	}
	return newRecording(o.Record, ringSize)
}

// use adds a user of the recording, which may be nil.
func (r *recording) use() *recording {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users++
	return r
}

// release takes a user off; with the last one the maps go. r may be nil.
func (r *recording) release() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	r.users--
	last := r.users == 0
	r.mu.Unlock()
	if !last {
		return nil
	}
	r.finish()
	return errors.Join(r.closeRing(), closeAll(r.ringMap, r.control))
}

// closeRing closes the ring, unless it is still read.
func (r *recording) closeRing() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done != nil && !r.finished {
		r.abandoned = true
		return nil
	}
	return r.ring.close()
}

// options are what a program is compiled with that records as a source.
func (r *recording) options(source uint32) *bpf.Recording {
	if r == nil {
		return nil
	}
	return &bpf.Recording{
		Ring: r.ringMap.FD(), Control: r.control.FD(), Source: source,
		Rate: r.Rate, Every: r.Every, Most: r.Most, Bytes: r.Bytes,
	}
}

// join numbers a program that records. No number is given twice, so that a record is never taken
// for that of another program.
func (r *recording) join() uint32 {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, s := range r.sources { // forget those whose last record has long been read
		const inFlight = time.Second // some processor may still run the program for a moment
		if !s.gone.IsZero() && time.Since(s.gone) > inFlight && r.ring.given() >= s.end {
			delete(r.sources, n)
		}
	}
	r.next++
	return r.next
}

// leave notes that a program has gone; its last records are still to be read. r may be nil.
func (r *recording) leave(n uint32) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sources[n]; s != nil {
		s.gone, s.end = time.Now(), r.ring.reserved()
	}
}

// source is the program of a number, or nil where it is not known any more.
func (r *recording) source(n uint32) *source {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sources[n]
}

// reset makes the limits as new, and has what is in the ring forgotten. Nobody may read it.
func (r *recording) reset() error {
	if r == nil {
		return nil
	}
	if err := r.control.Put(uint32(0), bpf.RecordControl{}); err != nil {
		return fmt.Errorf("reset the limits of what is recorded: %w", err)
	}
	r.ring.forget()
	return nil
}

// tested is the record of the packet that was tested last, if there is one.
func (r *recording) tested() (*recorded, error) {
	raw, _, there := r.ring.next(r.ring.reserved())
	if !there {
		return nil, nil
	}
	return &r.packet, r.packet.parse(raw, r.head)
}

// drainPeriod is how long a record may lie in the ring. What is recorded wakes nobody up.
const drainPeriod = 10 * time.Millisecond

// closePatience is how long who is handed packets may take when all is over.
const closePatience = time.Second

// deliver hands over the packets of a program from now on, until the recording is finished.
func (r *recording) deliver(number uint32, of run.Packet) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources[number] = &source{packet: of}
	if r.stop != nil || r.over {
		return nil
	}
	if r.clock, err = newHostClock(); err != nil {
		return err
	}
	r.stop, r.done = make(chan struct{}), make(chan struct{})
	go r.read(r.stop, r.done)
	return nil
}

// read hands over packets until it is stopped, and then what is left.
func (r *recording) read(stop <-chan struct{}, done chan<- struct{}) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.finished = true; r.abandoned {
			_ = r.ring.close() // nobody is left to tell
		}
		close(done)
	}()
	tick := time.NewTicker(drainPeriod)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-tick.C:
		case <-stop:
			last = true
		}
		r.drain(last)
		r.tellLost()
		if r.Drained != nil {
			r.Drained()
		}
	}
}

// givenAtOnce is how many bytes of the ring are read before their room is given back.
const givenAtOnce = 64 << 10

// drain hands over what is in the ring, in the order of time. What is younger than this turn may
// have to wait for something older of another processor, so it is left to the next turn, if there
// is one.
func (r *recording) drain(last bool) {
	r.clock.adjust()
	before := r.clock.now()
	if last {
		before = math.MaxUint64
	}
	given := r.ring.at
	for end := r.ring.reserved(); ; {
		raw, start, more := r.ring.next(end)
		if !more {
			break
		}
		if oldest, full := r.window.push(held{bpf.TimeOf(raw), raw, start}); full {
			r.hand(oldest.record)
		}
		if r.ring.at-given >= givenAtOnce {
			given = r.ring.at
			r.ring.giveBack(r.window.begins(given))
		}
	}
	for {
		oldest, ok := r.window.pop(before)
		if !ok {
			break
		}
		r.hand(oldest.record)
	}
	r.ring.giveBack(r.window.begins(r.ring.at))
}

// hand hands over a record.
func (r *recording) hand(raw []byte) {
	if err := r.packet.parse(raw, r.head); err != nil {
		r.Lost(1)
		return
	}
	if n := r.packet.Source; r.of == nil || n != r.number {
		r.of, r.number = r.source(n), n
	}
	if r.of == nil {
		r.Lost(1)
		return
	}
	r.Packet(r.packet.of(&r.of.packet, r.clock.epoch))
}

// tellLost tells how many more packets the ring had no room for.
func (r *recording) tellLost() {
	var c bpf.RecordControl
	if r.control.Lookup(uint32(0), &c) == nil && c.Lost > r.lost {
		r.Lost(c.Lost - r.lost)
		r.lost = c.Lost
	}
}

// finish hands over what is left in the ring, once no program runs any more; r may be nil. Where who
// is handed the packets does not come back, the run goes on without.
func (r *recording) finish() {
	if r == nil {
		return
	}
	r.mu.Lock()
	if !r.over {
		r.over, r.until = true, time.Now().Add(closePatience)
		if r.stop != nil {
			close(r.stop)
		}
	}
	done := r.done
	r.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-time.After(time.Until(r.until)):
	}
}
