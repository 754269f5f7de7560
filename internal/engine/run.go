package engine

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"repacket/internal/hook"
	"repacket/internal/rule"
)

// Config says what runs where.
type Config struct {
	Program   *rule.Program
	Interface string
	Direction hook.Direction
	// Mode is where to attach; Auto chooses by what the interface is.
	Mode hook.Mode
	// Limit is the number of packets to act on before all pass, or 0 for all.
	Limit uint64
	// For is how long packets are acted on before all pass, or 0 for ever.
	For time.Duration
	// Broken makes the program wrong on purpose, to see that it is found out.
	Broken bool
	// Clang has clang compile the program; then neither Limit nor For is kept.
	Clang bool
	// Stay: the rules are to outlive the process, as Attach and not Start has it.
	// What begins with a Config knows by itself; Look does not.
	Stay bool
	// Replace: they are to take the place of ours if there are any, as Replace
	// does. Look heeds it, and Attach of what was looked at.
	Replace bool
}

// Count is what one rule did with packets. Bytes are those of whole packets.
type Count struct {
	Matched, MatchedBytes     uint64
	Rewritten, RewrittenBytes uint64
}

// Run is rules that rewrite as long as the process lives, and not longer.
type Run struct {
	cfg     Config // with the mode that was taken
	ifindex int
	link    hook.Handle
	done    chan struct{}
	stop    chan struct{}
	watch   sync.WaitGroup
	gone    error  // the interface was removed; read behind watch
	over    string // which limit was reached; read behind done

	replacing sync.Mutex // one Replace at a time
	mu        sync.Mutex // guards what follows
	placed
	closed bool
	final  tally // once it is closed
}

// tally is all that a run has counted.
type tally struct {
	rules []RuleCount
	alone LeftAlone
}

// Start is Look, then Site.Start.
func Start(cfg Config) (*Run, error) {
	cfg.Stay, cfg.Replace = false, false
	s, err := Look(cfg)
	if err != nil {
		return nil, err
	}
	return s.Start(func() {})
}

// Start proves the rules and attaches them. Before anything is attached, it calls
// ready and waits for it. Whatever fails, nothing stays behind. The errors are
// those of Load and of hook.Link. It is for a Config without Stay.
func (s *Site) Start(ready func()) (*Run, error) {
	r := &Run{done: make(chan struct{}), stop: make(chan struct{})}
	cfg := s.cfg
	s.ready = ready
	put, err := s.attach(func(index int, p *placed) (err error) {
		r.ifindex = index
		r.link, err = hook.Link(index, cfg.Direction, p.loaded.Program, p.choice.Mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.placed, r.cfg = *put, cfg
	r.cfg.Mode = put.choice.Mode
	if cfg.For > 0 {
		// The time counts from now on, not from before the kernel's wait.
		if err := r.loaded.expireIn(cfg.For); err != nil {
			return nil, errors.Join(err, r.link.Close(), r.close())
		}
	}
	r.watch.Go(func() { r.watchLimits(cfg) })
	return r, nil
}

// InterfaceName is the name that the interface of the run has now. It is for a
// thread in the network namespace of Start. The errors are hook.ErrNoInterface, and
// ErrMoved where the interface has been moved to another network namespace.
func (r *Run) InterfaceName() (string, error) {
	name, err := hook.NameOf(r.ifindex)
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

// Hook is where the program sits: Native, Generic or TC.
func (r *Run) Hook() hook.Mode { return r.cfg.Mode }

// Note says in a line which hook was chosen and why, as hook.Choice does.
func (r *Run) Note() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.choice.Why
}

// Late is what to tell about a hook that was taken in place of the one that
// Site.Advice spoke of, because the kernel refused that.
func (r *Run) Late() []Advice {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late
}

// Counts are the counts so far, by rule as written, of the rules that run.
func (r *Run) Counts() ([]Count, error) {
	rules, err := r.Rules()
	return ofRules(rules), err
}

// Rules are the rules that run, as written, with their counts so far; behind
// them those that were replaced and had something to do. Behind Close they are
// the final ones.
func (r *Run) Rules() ([]RuleCount, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return r.final.rules, nil
	}
	return r.record.rules()
}

// ofRules are the counts of rules that were not replaced.
func ofRules(rules []RuleCount) (out []Count) {
	for _, c := range rules {
		if !c.Gone {
			out = append(out, c.Count)
		}
	}
	return out
}

// LeftAlone are the packets left alone so far, behind Close the final ones.
func (r *Run) LeftAlone() (LeftAlone, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return r.final.alone, nil
	}
	return r.record.leftAlone()
}

// Done is closed when the limit or the time is reached, or when the interface
// is removed, which Close then tells.
func (r *Run) Done() <-chan struct{} { return r.done }

// The limits that can be over: that of packets, and that of time.
const (
	OverCount = "count"
	OverTime  = "time"
)

// Over says, once Done is closed, which limit was reached: OverCount, OverTime,
// or "" if it was none.
func (r *Run) Over() string { return r.over }

// Close detaches and returns the final counts.
func (r *Run) Close() ([]Count, error) {
	close(r.stop)
	r.watch.Wait()
	r.mu.Lock() // a Replace that proves its rules still comes too late
	defer r.mu.Unlock()
	detached := r.link.Close()
	var err, aloneErr error
	r.final.rules, err = r.record.rules()
	r.final.alone, aloneErr = r.record.leftAlone()
	r.closed = true
	return ofRules(r.final.rules), errors.Join(r.gone, detached, err, aloneErr, r.close())
}

// limitPoll is how long a reached limit may stay unnoticed here; the kernel
// keeps it to the packet.
const limitPoll = 20 * time.Millisecond

// gonePoll is how long the interface may be gone before it is noticed.
const gonePoll = 500 * time.Millisecond

func (r *Run) watchLimits(cfg Config) {
	var over <-chan time.Time
	if cfg.For > 0 {
		t := time.NewTimer(cfg.For)
		defer t.Stop()
		over = t.C
	}
	var look <-chan time.Time
	if cfg.Limit > 0 {
		t := time.NewTicker(limitPoll)
		defer t.Stop()
		look = t.C
	}
	reached := false
	there := time.NewTicker(gonePoll)
	defer there.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-over:
			r.over = OverTime
			close(r.done)
			return
		case <-there.C:
			if r.detached() {
				r.gone = fmt.Errorf("the rules on %s are gone: the interface was removed, or they were taken off", cfg.Interface)
				close(r.done)
				return
			}
		case <-look:
			// At tc a packet that goes beyond it is in the count for a moment.
			before := reached
			n, err := r.taken()
			if reached = err == nil && n >= cfg.Limit; reached && before {
				r.over = OverCount
				close(r.done)
				return
			}
		}
	}
}

// taken is Loaded.Taken of the program that runs.
func (r *Run) taken() (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loaded.Taken()
}

// detached tells whether the program is no longer there, as when the interface
// goes.
func (r *Run) detached() bool {
	gone, err := r.link.Gone()
	return err == nil && gone
}
