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
	done  chan struct{}
	stop  chan struct{}
	watch sync.WaitGroup
	// reached has room for the one limit that is reached, so that nobody need wait for it.
	reached chan run.Limit
	// settled has room for what becomes of the one set of rules that waits to be confirmed.
	settled chan run.Settled
	gone    error     // the interface was removed; read behind watch
	over    run.Limit // which limit was reached; read behind done
	// attached is when the rules were attached, and before what the interface had counted
	// just before, or unknown why that is not known.
	attached time.Time
	before   hook.LinkState
	unknown  error
	until    time.Time // when the time of the run is over, if it has one

	replacing sync.Mutex // one Replace at a time
	mu        sync.Mutex // guards what follows
	rules     linked
	replies   linked   // what rewrites the replies, if anything does or did
	waiting   *waiting // rules that are to be confirmed, or nil
	closed    bool
	final     run.Counts // once it is closed
	here      bool       // once it is closed: the interface was not moved away before
}

// linked is a program that a session holds on its interface. Where it has been detached, its
// link is nil, and of the rest only the record is there.
type linked struct {
	link hook.Handle
	installed
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
	r := &Session{opt: s.opt, iface: s.iface.Index, done: make(chan struct{}), stop: make(chan struct{}), reached: make(chan run.Limit, 1), settled: make(chan run.Settled, 1)}
	s.ready = ready
	p, err := s.attachSet(func(side *Prepared, p *installed) (undo func() error, err error) {
		r.countFromNow()
		h, err := hook.Link(side.iface.Index, side.opt.Direction, p.loaded.Program, p.choice.Hook)
		if err != nil {
			return nil, err
		}
		r.side(side).link = h
		return h.Close, nil
	})
	if err != nil {
		return nil, err
	}
	r.rules.installed, r.opt.Hook = *p.rules, p.rules.choice.Hook
	if p.replies != nil {
		r.replies.installed = *p.replies
	}
	r.began = p.attachment(s)
	// The time counts from now on, not from before the kernel's wait.
	r.until = time.Now().Add(s.opt.For)
	for _, side := range s.sides() {
		if side.opt.For > 0 {
			err = errors.Join(err, r.side(side).loaded.expireIn(side.opt.For))
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.detach(), p.close())
	}
	r.watch.Go(r.watchLimits)
	return r, nil
}

// side is what the session has of a side of its rule set.
func (r *Session) side(s *Prepared) *linked {
	if s.answers != nil {
		return &r.replies
	}
	return &r.rules
}

// detach detaches the rules, and then what rewrites their replies.
func (r *Session) detach() error {
	err := r.rules.link.Close()
	if r.replies.link != nil {
		err = errors.Join(err, r.replies.link.Close())
	}
	return err
}

// counts are the counts so far; r.mu is held.
func (r *Session) counts() (counts run.Counts, err error) {
	if counts, err = r.rules.record.counts(r.replies.record); err == nil {
		counts.Flows, err = r.rules.loaded.flows.usage()
	}
	if err == nil {
		err = r.rules.loaded.explain(counts.Rules)
	}
	return counts, err
}

// Attachment is how the session began.
func (r *Session) Attachment() run.Attachment { return r.began }

// Confine closes the programs, which the links hold. It reports whether Close takes CAP_NET_ADMIN.
func (r *Session) Confine() (netAdmin bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range []*linked{&r.rules, &r.replies} {
		if l.link != nil {
			netAdmin = netAdmin || l.link.Privileged()
			err = errors.Join(err, l.loaded.Program.Close())
		}
	}
	return netAdmin, err
}

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
	here, err := r.rules.link.Here()
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
	return r.counts()
}

// Done is closed when a limit is reached, or when the rules are gone, which Close then
// reports.
func (r *Session) Done() <-chan struct{} { return r.done }

// Reached tells the limit that is reached while replies are still rewritten.
func (r *Session) Reached() <-chan run.Limit { return r.reached }

// Settled tells what becomes of rules that were to be confirmed.
func (r *Session) Settled() <-chan run.Settled { return r.settled }

// Over says, once Done is closed, which limit was reached, if it was one.
func (r *Session) Over() run.Limit { return r.over }

// Close detaches the rules and returns the final counts.
func (r *Session) Close() (run.Counts, error) {
	close(r.stop)
	r.watch.Wait()
	r.settle()
	r.mu.Lock() // a Replace that tests its rules still comes too late
	defer r.mu.Unlock()
	r.here, _ = r.rules.link.Here() // if that is not known, nothing is said of the interface
	detached := r.detach()
	var err error
	r.final, err = r.counts()
	r.closed = true
	r.rules.loaded.recording.finish() // also where a Replace still uses it
	return r.final, errors.Join(r.gone, detached, err, r.rules.close(), r.replies.close(), r.waiting.close())
}

// limitPoll is how long a reached limit may stay unnoticed here; the kernel
// keeps it to the packet.
const limitPoll = 20 * time.Millisecond

// gonePoll is how long the interface, or what is on it, may be gone before it is noticed.
const gonePoll = 500 * time.Millisecond

func (r *Session) watchLimits() {
	if r.ends() {
		close(r.done)
	}
}

// ends waits until a limit is reached and replies have been rewritten for long enough, or until
// the rules are gone. It is false where the run is stopped before.
func (r *Session) ends() bool {
	var over, poll, answered <-chan time.Time
	if r.opt.For > 0 {
		t := time.NewTimer(r.opt.For)
		defer t.Stop()
		over = t.C
	}
	if r.opt.Limit > 0 {
		t := time.NewTicker(limitPoll)
		defer t.Stop()
		poll = t.C
	}
	var settles <-chan time.Time
	if r.opt.RevertAfter > 0 {
		t := time.NewTicker(settlePoll)
		defer t.Stop()
		settles = t.C
	}
	there := time.NewTicker(gonePoll)
	defer there.Stop()
	reached := false
	for {
		var limit run.Limit
		select {
		case <-r.stop:
			return false
		case <-answered:
			return true
		case <-there.C:
			if r.gone = r.lost(); r.gone != nil {
				return true
			}
		case <-settles:
			r.settle()
		case <-over:
			limit = run.LimitTime
		case <-poll:
			// At tc a packet that goes beyond it is in the count for a moment.
			before := reached
			if reached = r.taken(); reached && before {
				limit = run.LimitCount
			}
		}
		if limit != "" {
			r.over, over, poll = limit, nil, nil
			if !r.rewritesReplies() {
				return true
			}
			r.reached <- limit
			t := time.NewTimer(repliesLonger)
			defer t.Stop()
			answered = t.C
		}
	}
}

// repliesLonger is run.RepliesLonger, but for tests.
var repliesLonger = run.RepliesLonger

// taken reports whether as many packets were acted on as the limit of the run is.
func (r *Session) taken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.rules.loaded.Taken()
	return err == nil && n >= r.opt.Limit
}

func (r *Session) rewritesReplies() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replies.link != nil
}

// lost is the error that the rules, or what rewrites their replies, are not on the interface
// any more; or nil.
func (r *Session) lost() error {
	r.mu.Lock() // a link is not detached while it is looked at
	defer r.mu.Unlock()
	for _, p := range []*linked{&r.rules, &r.replies} {
		if p.link == nil {
			continue
		}
		if loss, err := p.link.Lost(); err == nil && loss.How != hook.Kept {
			out := &hook.LostError{Interface: r.opt.Interface, Direction: r.opt.Direction, Hook: p.choice.Hook, Loss: loss}
			if out.Replies = p == &r.replies; out.Replies {
				out.Direction = r.opt.Direction.Other()
			}
			return out
		}
	}
	return r.lostPeer()
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
	if err := r.stillWaits(a.Target); err != nil {
		return a, err
	}
	if s.iface.Index != r.iface {
		return a, fmt.Errorf("%s is another interface now than when the run began", a.Interface)
	}
	s.repliesAt = r.repliesHook()
	var known []run.Advice
	if s.choose(r.opt.Program, r.opt.Hook) == nil {
		known = s.Advice()
	}
	if err := s.choose(p, r.opt.Hook); err != nil {
		return a, err
	}
	a.Advice = slices.DeleteFunc(s.Advice(), func(w run.Advice) bool { return slices.Contains(known, w) })
	if s.replies != nil && !s.replies.isIdle() {
		a.Replies = &run.RepliesAt{Direction: s.replies.opt.Direction, Hook: s.replies.choice.Hook, Note: s.replies.choice.Why}
	}
	if err := r.followFlows(s); err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, s.flows.Close()) }() // the programs have it
	if !r.recordInto(s) {
		return a, errClosed
	}
	defer func() { err = errors.Join(err, s.recording.release()) }()
	if err := r.testBeside(s); err != nil {
		return a, err
	}
	w, err := r.testBoth(s)
	if err != nil {
		return a, errors.Join(err, s.dropTested())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return a, errors.Join(errClosed, s.dropTested(), w.close())
	}
	r.waiting = w
	if err := r.swap(s); err != nil {
		r.waiting = nil
		return a, errors.Join(err, w.close())
	}
	r.opt.Program = p
	a.RevertAfter = r.opt.RevertAfter
	// The new rules act now, so this is no failure of theirs: at worst the deadline that was set
	// before the swap stands.
	_ = w.begin()
	return a, nil
}

// followFlows has other rules track flows in the table of those that run.
func (r *Session) followFlows(s *Prepared) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.rules.loaded; !r.closed && now.flows != nil && s.opt.Program.Tracks() {
		if s.flows, err = now.flows.followed(s.opt.Program, r.rules.record.meta, 0, s.opt.Clang); err != nil {
			return err
		}
		return s.shareFlows()
	}
	return s.trackFlows()
}

// recordInto has other rules record into the ring of those that run. It is false where the session
// is closed.
func (r *Session) recordInto(s *Prepared) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	s.recording = r.rules.loaded.recording.use()
	if s.replies != nil {
		s.replies.recording = s.recording
	}
	return true
}

// repliesHook is where the replies are rewritten, or Auto where they are not.
func (r *Session) repliesHook() run.Hook {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.replies.link == nil {
		return run.Auto
	}
	return r.replies.choice.Hook
}
