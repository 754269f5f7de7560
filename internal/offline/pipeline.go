package offline

import (
	"errors"
	"io"
	"sync"

	"repacket/internal/capture"
	"repacket/internal/field"
	"repacket/internal/run"
)

// job is a batch on its way: read, rewritten by one of the workers, and written in order.
type job struct {
	capture.Batch
	out      []byte // what the batch has become: its bytes, or those of edited
	edited   []byte
	edits    []capture.Edit
	counts   []ruleTally
	total    totals
	limited  bool // the limit is reached
	shown    []run.Packet
	finished chan struct{}
}

// ruleTally is what a rule did in a batch.
type ruleTally struct {
	rule int
	tally
}

// work is the whole run.
func (s *Session) work() {
	defer close(s.done)
	err := s.pipeline()
	var damaged *capture.DamagedError
	if s.opt.Output != nil {
		if err == nil || errors.As(err, &damaged) { // what could be read is kept
			err = errors.Join(err, s.opt.Output.Commit())
		} else {
			err = errors.Join(err, s.opt.Output.Abort())
		}
	}
	s.err = err
	if s.over == "" {
		s.over = run.LimitEnd
	}
}

// pipeline reads, rewrites and writes at the same time.
func (s *Session) pipeline() error {
	n := s.workers()
	free := make(chan *job, 2*n+2)
	for range cap(free) {
		free <- &job{finished: make(chan struct{}, 1)}
	}
	todo, ordered := make(chan *job, cap(free)), make(chan *job, cap(free))
	over := make(chan struct{}) // nobody writes any more
	var readErr error
	var running sync.WaitGroup
	running.Go(func() {
		readErr = s.feed(free, todo, ordered, over)
		close(todo)
		close(ordered)
	})
	for i := range n {
		running.Go(func() {
			w := worker{Session: s, counts: make([]tally, len(s.counts)), left: s.opt.Limit}
			if s.reasons != nil {
				w.why = s.reasons[i]
			}
			for j := range todo {
				w.rewrite(j)
				j.finished <- struct{}{}
			}
		})
	}
	err := s.drain(ordered, free)
	close(over)
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err != nil: // whoever reads a pipe may never come back
		return err
	}
	running.Wait()
	return readErr
}

// errEnough: the limit is reached and nothing is written.
var errEnough = errors.New("enough")

// feed reads the file and hands out its batches.
func (s *Session) feed(free <-chan *job, todo, ordered chan<- *job, over <-chan struct{}) error {
	for {
		var j *job
		select {
		case j = <-free:
		case <-over:
			return nil
		}
		switch err := s.reader.Next(&j.Batch); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := s.readable(&j.Batch); err != nil {
			return err
		}
		select {
		case <-over:
			return nil
		default:
			ordered <- j
			todo <- j
		}
	}
}

// readable checks the link types of the packets of a batch, and makes the machines for them.
func (s *Session) readable(b *capture.Batch) error {
	last := ^uint32(0)
	for i := range b.Packets {
		if p := &b.Packets[i]; p.Interface != last {
			last = p.Interface
			link := b.Interface(p).Link
			if !link.Known() {
				return &LinkTypeError{link}
			}
			if link != capture.Ethernet {
				if _, err := s.machine(field.RawIP); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// drain writes batches in their order. It returns early if the run is to stop.
func (s *Session) drain(ordered <-chan *job, free chan<- *job) error {
	var to *capture.Writer
	if s.opt.To != nil {
		to = capture.NewWriter(s.opt.To, s.resizes)
	}
	for {
		var j *job
		select {
		case next, more := <-ordered:
			if !more {
				if to != nil {
					return to.Close()
				}
				return nil
			}
			j = next
		case <-s.stop:
			return ErrStopped
		}
		<-j.finished
		if to != nil {
			if err := to.Write(&j.Batch, j.out); err != nil {
				return &WriteError{err}
			}
		}
		s.add(j)
		s.hand(j)
		if j.limited && to == nil {
			s.over = run.LimitCount
			return errEnough
		}
		select {
		case <-s.stop:
			return ErrStopped
		case free <- j:
		}
	}
}

// WriteError says that the output cannot be written.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return e.Err.Error() }

// Unwrap is the error of writing.
func (e *WriteError) Unwrap() error { return e.Err }

// add adds what has happened in a batch.
func (s *Session) add(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range j.counts {
		s.counts[c.rule].packets += c.packets
		s.counts[c.rule].bytes += c.bytes
	}
	s.total.add(&j.total)
}
