package engine

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/field"
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
}

// Count is what one rule did with packets. Bytes are those of whole packets.
type Count struct {
	Matched, MatchedBytes     uint64
	Rewritten, RewrittenBytes uint64
}

// Run is rules that rewrite as long as the process lives, and not longer.
type Run struct {
	written []rule.Written
	loaded  *Loaded
	link    hook.Handle
	mode    hook.Mode
	note    string
	done    chan struct{}
	stop    chan struct{}
	watch   sync.WaitGroup
	gone    error // the interface was removed; read behind watch
}

// Start proves the rules and attaches them. Whatever fails, nothing stays
// behind. The errors are those of Load and of hook.Link.
func Start(cfg Config) (*Run, error) {
	r := &Run{written: cfg.Program.Written, done: make(chan struct{}), stop: make(chan struct{})}
	put, err := attach(cfg, true, func(index int, l *Loaded, mode hook.Mode) (err error) {
		r.link, err = hook.Link(index, cfg.Direction, l.Program, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.loaded, r.mode, r.note = put.loaded, put.mode, put.note
	if cfg.For > 0 {
		// The time counts from now on, not from before the kernel's wait.
		if err := r.loaded.SetDeadline(monotonic(cfg.For)); err != nil {
			return nil, errors.Join(err, r.link.Close(), r.loaded.Close())
		}
	}
	r.watch.Go(func() { r.watchLimits(cfg) })
	return r, nil
}

// Hook is where the program sits: Native, Generic or TC.
func (r *Run) Hook() hook.Mode { return r.mode }

// Note is a line to tell about the choice of the hook, or "".
func (r *Run) Note() string { return r.note }

// Counts are the counts so far, by rule as written.
func (r *Run) Counts() ([]Count, error) { return counts(r.loaded, r.written) }

// LeftAlone are the packets left alone so far.
func (r *Run) LeftAlone() (LeftAlone, error) { return r.loaded.LeftAlone() }

// Done is closed when the limit or the time is reached, or when the interface
// is removed, which Close then tells.
func (r *Run) Done() <-chan struct{} { return r.done }

// Close detaches and returns the final counts.
func (r *Run) Close() ([]Count, error) {
	close(r.stop)
	r.watch.Wait()
	detached := r.link.Close()
	final, err := r.Counts()
	return final, errors.Join(r.gone, detached, err, r.loaded.Close())
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
	there := time.NewTicker(gonePoll)
	defer there.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-over:
			close(r.done)
			return
		case <-there.C:
			if r.detached() {
				r.gone = fmt.Errorf("%s is gone: the interface was removed", cfg.Interface)
				close(r.done)
				return
			}
		case <-look:
			if n, err := r.loaded.Taken(); err == nil && n >= cfg.Limit {
				close(r.done)
				return
			}
		}
	}
}

// detached tells whether the program is no longer there, as when the interface
// goes.
func (r *Run) detached() bool {
	gone, err := r.link.Gone()
	return err == nil && gone
}

// placed is a program on an interface.
type placed struct {
	loaded *Loaded
	mode   hook.Mode
	note   string
}

// putter attaches a loaded program.
type putter func(index int, l *Loaded, mode hook.Mode) error

// attach loads the program for the hook that is chosen and lets put attach it;
// where the kernel refuses that and the choice is ours, the same for the next.
func attach(cfg Config, foreground bool, put putter) (*placed, error) {
	iface, err := hook.Interface(cfg.Interface)
	if err != nil {
		return nil, err
	}
	choice, err := hook.Choose(cfg.Mode, cfg.Direction, iface, needOf(cfg.Program))
	if err != nil {
		return nil, err
	}
	sends, err := targets(cfg.Program, iface, choice.Mode)
	if err != nil {
		return nil, err
	}
	for {
		p, err := attachBy(cfg, iface, choice.Mode, sends, foreground, put)
		if err == nil {
			p.note = choice.Why
			return p, nil
		}
		next, ok := choice.Instead(err)
		if !ok {
			return nil, err
		}
		choice = next
	}
}

// attachBy attaches in one mode.
func attachBy(cfg Config, iface hook.Iface, mode hook.Mode, sends map[string]int, foreground bool, put putter) (*placed, error) {
	o := LoadOptions{
		Limit: cfg.Limit, Timed: cfg.For > 0, Broken: cfg.Broken, Clang: cfg.Clang,
		Redirect: sends, Fragments: mode == hook.Native && iface.MTU > oneBuffer,
	}
	if mode == hook.TC {
		o.Hook = bpf.TC
	}
	if iface.Link == hook.RawIPLink {
		o.Link = field.RawIP
	}
	p, err := place(cfg, iface, mode, o, foreground, put)
	if errors.Is(err, unix.ERANGE) && mode == hook.Native && !o.Fragments {
		// A veth goes by the MTU of its peer, which cannot be seen from here.
		o.Fragments = true
		p, err = place(cfg, iface, mode, o, foreground, put)
	}
	return p, err
}

// oneBuffer is an MTU in bytes up to which every driver gives XDP a packet in
// one buffer. The kernel holds to it: while a program is attached that is not
// aware of several buffers, the MTU cannot be raised beyond what one holds.
const oneBuffer = 1500

// preflight is the number of packets that prove rules before they are
// attached: what takes a few milliseconds for one rule.
func preflight(p *rule.Program) int { return min(60+40*len(p.Rules), 1000) }

// proved loads the rules while a twin with counters of its own is put to the
// proof.
func proved(p *rule.Program, o LoadOptions) (*Loaded, error) {
	var l *Loaded
	var loading error
	var load sync.WaitGroup
	load.Go(func() { l, loading = Load(p, o) })
	_, err := Prove(p, o, preflight(p))
	load.Wait()
	switch {
	case loading != nil:
		return nil, loading
	case err != nil:
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func place(cfg Config, iface hook.Iface, mode hook.Mode, o LoadOptions, foreground bool, put putter) (*placed, error) {
	l, err := proved(cfg.Program, o)
	if err != nil {
		return nil, hook.ExplainLoad(err)
	}
	if cfg.For > 0 {
		err = l.SetDeadline(monotonic(cfg.For))
	}
	if err == nil {
		err = hook.Label(l.Program, meta(cfg, iface, mode, foreground))
	}
	if err == nil {
		err = put(iface.Index, l, mode)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &placed{loaded: l, mode: mode}, nil
}

func meta(cfg Config, iface hook.Iface, mode hook.Mode, foreground bool) hook.Meta {
	m := hook.Meta{
		Source:     cfg.Program.Source,
		Interface:  iface.Name,
		Ifindex:    iface.Index,
		Direction:  cfg.Direction.String(),
		Hook:       mode.String(),
		PID:        os.Getpid(),
		Foreground: foreground,
		Start:      time.Now().UnixNano(),
	}
	for _, w := range cfg.Program.Written {
		m.Rules = append(m.Rules, hook.MetaRule{Name: w.Name, Text: w.Text, Look: w.Look})
	}
	return m
}

// monotonic is the CLOCK_MONOTONIC time in nanoseconds that is d from now.
func monotonic(d time.Duration) uint64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(fmt.Sprintf("engine: no monotonic clock: %v", err)) // it has been there since Linux 2.6
	}
	return uint64(now.Nano() + int64(d))
}
