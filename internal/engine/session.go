package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"repacket/internal/hook"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// Session is rules that act as long as the process lives, and not longer.
type Session struct {
	opt   run.Options // with the hook that was taken
	began run.Attachment
	iface int // its number
	link  hook.Handle
	done  chan struct{}
	stop  chan struct{}
	watch sync.WaitGroup
	gone  error     // the interface was removed; read behind watch
	over  run.Limit // which limit was reached; read behind done
	// attached is when the rules were attached, and before what the interface had counted
	// just before, or unknown why that is not known.
	attached time.Time
	before   hook.LinkState
	unknown  error

	replacing sync.Mutex // one Replace at a time
	mu        sync.Mutex // guards what follows
	installed
	closed bool
	final  run.Counts // once it is closed
	here   bool       // once it is closed: the interface was not moved away before
}

// Start is Prepare, then Prepared.Start.
func Start(opt run.Options) (*Session, error) {
	s, err := Prepare(opt)
	if err != nil {
		return nil, err
	}
	return s.start(func() {})
}

// Start tests the rules and attaches them. Before anything is attached, it calls
// ready and waits for it. Whatever fails, nothing stays behind. The errors are
// those of Load and of hook.Link. It is for Options without Stay.
func (s *Prepared) Start(ready func()) (run.Session, error) { return s.start(ready) }

func (s *Prepared) start(ready func()) (*Session, error) {
	r := &Session{opt: s.opt, iface: s.iface.Index, done: make(chan struct{}), stop: make(chan struct{})}
	s.ready = ready
	p, err := s.attach(func(p *installed) (err error) {
		r.countFromNow()
		r.link, err = hook.Link(s.iface.Index, s.opt.Direction, p.loaded.Program, p.choice.Hook)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.installed, r.opt.Hook = *p, p.choice.Hook
	r.began = run.Attachment{Target: s.opt.Target, Hook: p.choice.Hook, Note: p.choice.Why, Advice: p.late}
	if s.opt.For > 0 {
		// The time counts from now on, not from before the kernel's wait.
		if err := r.loaded.expireIn(s.opt.For); err != nil {
			return nil, errors.Join(err, r.link.Close(), r.close())
		}
	}
	r.watch.Go(r.watchLimits)
	return r, nil
}

// Attachment is how the session began.
func (r *Session) Attachment() run.Attachment { return r.began }

// interfaceName is the name that the interface of the session has now. It is for a
// thread in the network namespace of Start. The errors are hook.NoInterfaceError, and
// ErrMoved where the interface has been moved to another network namespace.
func (r *Session) interfaceName() (string, error) {
	name, err := hook.NameOf(r.iface)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return name, nil
	}
	here, err := r.link.Here()
	if err == nil && !here {
		err = ErrMoved
	}
	return name, err
}

// ErrMoved is the error of looking for the interface of a run that has been moved to
// another network namespace, with the rules on it.
var ErrMoved = errors.New("the interface of the run has been moved to another network namespace: its rules go on there as they are")

// Counts are the counts so far, behind Close the final ones.
func (r *Session) Counts() (run.Counts, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return r.final, nil
	}
	return r.record.counts()
}

// Done is closed when a limit is reached, or when the rules are gone, which Close then
// reports.
func (r *Session) Done() <-chan struct{} { return r.done }

// Over says, once Done is closed, which limit was reached, if it was one.
func (r *Session) Over() run.Limit { return r.over }

// Close detaches the rules and returns the final counts.
func (r *Session) Close() (run.Counts, error) {
	close(r.stop)
	r.watch.Wait()
	r.mu.Lock() // a Replace that tests its rules still comes too late
	defer r.mu.Unlock()
	r.here, _ = r.link.Here() // if that is not known, nothing is said of the interface
	detached := r.link.Close()
	var err error
	r.final, err = r.record.counts()
	r.closed = true
	return r.final, errors.Join(r.gone, detached, err, r.close())
}

// limitPoll is how long a reached limit may stay unnoticed here; the kernel
// keeps it to the packet.
const limitPoll = 20 * time.Millisecond

// gonePoll is how long the interface may be gone before it is noticed.
const gonePoll = 500 * time.Millisecond

func (r *Session) watchLimits() {
	var over <-chan time.Time
	if r.opt.For > 0 {
		t := time.NewTimer(r.opt.For)
		defer t.Stop()
		over = t.C
	}
	var poll <-chan time.Time
	if r.opt.Limit > 0 {
		t := time.NewTicker(limitPoll)
		defer t.Stop()
		poll = t.C
	}
	reached := false
	there := time.NewTicker(gonePoll)
	defer there.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-over:
			r.over = run.LimitTime
			close(r.done)
			return
		case <-there.C:
			if gone, err := r.link.Gone(); err == nil && gone {
				r.gone = fmt.Errorf("the rules on %s are gone: the interface was removed, or they were detached", r.opt.Interface)
				close(r.done)
				return
			}
		case <-poll:
			// At tc a packet that goes beyond it is in the count for a moment.
			before := reached
			r.mu.Lock()
			n, err := r.loaded.Taken()
			r.mu.Unlock()
			if reached = err == nil && n >= r.opt.Limit; reached && before {
				r.over = run.LimitCount
				close(r.done)
				return
			}
		}
	}
}

// errClosed: the session has ended.
var errClosed = errors.New("the run has ended")

// Replace tests other rules and puts them in the place of those that run, in
// one step, at the same hook. The limit and the time of the run go on. Whatever
// fails, the old rules go on. It may be called while other methods are, from a
// thread in the network namespace of Start. The errors are those of Prepare, of
// Load and of hook.Handle.
func (r *Session) Replace(p *rule.Program) (a run.Attachment, err error) {
	r.replacing.Lock()
	defer r.replacing.Unlock()
	a = run.Attachment{Target: r.opt.Target, Hook: r.opt.Hook, Replaced: true}
	if a.Interface, err = r.interfaceName(); err != nil {
		return a, err
	}
	now := r.opt
	now.Interface = a.Interface
	s, err := inspect(now)
	if err != nil {
		return a, err
	}
	if s.iface.Index != r.iface {
		return a, fmt.Errorf("%s is another interface now than when the run began", a.Interface)
	}
	var known []run.Advice
	if s.choose(r.opt.Program, r.opt.Hook) == nil {
		known = s.Advice()
	}
	if err := s.choose(p, r.opt.Hook); err != nil {
		return a, err
	}
	a.Advice = slices.DeleteFunc(s.Advice(), func(w run.Advice) bool { return slices.Contains(known, w) })
	l, err := r.tested(s)
	if err != nil {
		return a, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return a, errors.Join(errClosed, l.Close())
	}
	s.old = r.record
	_, err = s.finish(l, s.choice, r.take)
	if err == nil {
		r.opt.Program = p
	}
	return a, err
}

// tested loads and tests other rules beside those that run, for the same hook
// and with the same limits.
func (r *Session) tested(s *Prepared) (*Loaded, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errClosed
	}
	o := s.options(r.choice.Hook)
	o.Fragments = o.Fragments || r.loaded.fragments // else the driver would refuse
	shared, err := r.loaded.clone()
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	o.limits = &shared
	l, err := tested(s.opt.Program, o)
	if err != nil {
		return nil, hook.ExplainLoad(err)
	}
	return l, nil
}

// take puts a program in the place of the one that runs; r.mu is held.
func (r *Session) take(p *installed) error {
	if err := r.link.Update(p.loaded.Program); err != nil {
		return err
	}
	old := r.installed
	r.installed = *p
	r.choice, r.late = old.choice, old.late
	// What passes everything at the other end of a veth harms nobody, so it
	// stays until the run ends, whether the new rules need it or not.
	r.peers = slices.Concat(old.peers, p.peers)
	old.peers = nil
	// The new program is there, so this is no failure of the swap.
	_ = old.close()
	return nil
}
