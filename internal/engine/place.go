package engine

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/hook"
	"repacket/internal/rule"
)

// placed is a program on an interface.
type placed struct {
	loaded *Loaded
	record *record
	choice hook.Choice
	late   []Advice    // about a choice that was not the first
	peers  []io.Closer // programs at the other ends of veths
}

// close gives back what is not attached.
func (p *placed) close() error {
	err := errors.Join(p.loaded.Close(), closeAll(p.peers))
	if p.record != nil {
		err = errors.Join(err, p.record.close())
	}
	return err
}

// putter attaches a program to the interface of a number.
type putter func(index int, p *placed) error

// attach loads the program for the hook that is chosen and lets put attach it;
// where the kernel refuses that and the choice is ours, it goes on to the next.
func (s *Site) attach(put putter) (*placed, error) {
	c := s.choice
	for first := true; ; first = false {
		p, err := s.place(c, put)
		if err == nil {
			if !first {
				p.late = s.advice(c)
			}
			return p, nil
		}
		next, ok := c.Instead(err)
		if !ok {
			return nil, err
		}
		if c, err = s.settle(next); err != nil {
			return nil, err
		}
	}
}

// place loads and attaches the program for a hook.
func (s *Site) place(c hook.Choice, put putter) (*placed, error) {
	o := s.options(c.Mode)
	p, err := s.placeWith(o, c, put)
	if errors.Is(err, unix.ERANGE) && c.Mode == hook.Native && !o.Fragments {
		// A veth goes by the MTU of its peer, which cannot be seen from here.
		o.Fragments = true
		p, err = s.placeWith(o, c, put)
	}
	return p, err
}

func (s *Site) placeWith(o LoadOptions, c hook.Choice, put putter) (*placed, error) {
	l, err := proved(s.cfg.Program, o)
	if err != nil {
		return nil, hook.ExplainLoad(err)
	}
	if o.Timed {
		if err := l.expireIn(s.cfg.For); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return s.finish(l, c, put)
}

// finish takes the last steps to the interface with a program that is proved.
// After an error the program is closed.
func (s *Site) finish(l *Loaded, c hook.Choice, put putter) (p *placed, err error) {
	if s.ready != nil {
		s.ready()
	}
	p = &placed{loaded: l, choice: c}
	p.record, err = s.label(l, c.Mode)
	if err == nil {
		p.peers, err = s.openPeers(c.Mode)
	}
	if err == nil {
		err = put(s.iface.Index, p)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// label makes a program ours, and lets its counts go on from those of the one
// whose place it takes.
func (s *Site) label(l *Loaded, mode hook.Mode) (*record, error) {
	r := &record{meta: s.meta(mode)}
	if s.old != nil {
		err := hook.Follow(l.Program, s.old.counters)
		if err == nil { // from here on what came before s.old is final
			r, err = s.old.next(r.meta)
		}
		if err == nil {
			r.before, err = s.old.counters.Clone()
		}
		if err != nil {
			return nil, err
		}
	}
	r.counters = l.counters
	if err := hook.Label(l.Program, r.meta, l.counters); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// oneBuffer is an MTU in bytes up to which every driver gives XDP a packet in
// one buffer. The kernel holds to it: while a program is attached that is not
// aware of several buffers, the MTU cannot be raised beyond what one holds.
const oneBuffer = 1500

// preflight is the number of packets that prove rules before they are
// attached: the fewest that go through nearly every branch of the program, as
// many times more would. The reference looks at every rule for every packet, so
// thousands of rules are tried on fewer packets, to be attached within seconds;
// verify takes its time.
func preflight(p *rule.Program) int {
	const most, tests = 1000, 4_000_000
	rules := len(p.Rules)
	return min(20+40*rules, most, max(most/5, tests/max(1, rules)))
}

// proved loads the rules and puts the program to the proof. What is to draw
// random numbers or heeds the limits of another program cannot be proved itself:
// a twin is, with numbers that are handed in and limits of its own.
func proved(p *rule.Program, o LoadOptions) (*Loaded, error) {
	if o.limits != nil || p.Draws > 0 {
		return provedByTwin(p, o)
	}
	l, _, err := loadProved(p, o, preflight(p))
	if err != nil {
		return nil, err
	}
	if err := l.forget(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// provedByTwin loads the rules while a twin is put to the proof.
func provedByTwin(p *rule.Program, o LoadOptions) (*Loaded, error) {
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

func (s *Site) meta(mode hook.Mode) hook.Meta {
	m := hook.Meta{
		Interface:  s.iface.Name,
		Ifindex:    s.iface.Index,
		Direction:  s.cfg.Direction.String(),
		Hook:       mode.String(),
		PID:        os.Getpid(),
		PIDSpace:   hook.PIDSpace(),
		Foreground: !s.cfg.Stay,
		Start:      time.Now().UnixNano(),
		Limit:      s.cfg.Limit,
	}
	for _, w := range s.cfg.Program.Written {
		m.Rules = append(m.Rules, hook.NewMetaRule(w.Name, w.Text, w.DryRun, len(s.cfg.Program.Written)))
	}
	return m
}
