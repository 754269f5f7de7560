package engine

import (
	"cmp"
	"fmt"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// UsageError is what can never work, whatever the kernel is. It is known before
// anything is loaded.
type UsageError struct{ message, hint string }

func (e *UsageError) Error() string { return e.message }

// Hint says what to do instead.
func (e *UsageError) Hint() string { return e.hint }

// Class is that of a command line that cannot be carried out.
func (*UsageError) Class() run.Class { return run.Usage }

// Prepared is a run whose target has been inspected, once for the advice and for all
// that is then done there.
type Prepared struct {
	opt    run.Options // with the primary name of the interface
	iface  hook.Iface
	choice hook.Choice
	ready  func() // called before anything is attached, or nil
	// outlets are the interfaces that rules redirect to, by the words of the
	// rules; peers are the other ends of veths, by number, as far as they were asked for.
	outlets map[string]hook.Iface
	peers   map[int]hook.Iface
	// there are the rules whose place is taken, old is their record; or nil.
	there *hook.Program
	old   *record
	// replies is the side that rewrites the replies, for the other direction, or nil;
	// repliesThere is the program whose place it takes, or nil, and repliesAt the hook where
	// it has to be, or Auto.
	replies      *Prepared
	repliesThere *hook.Program
	repliesAt    run.Hook
	answers      *rule.Program // the rules, on the side of their replies, or nil
	flows        *Flows        // that the rules track, for both sides, or nil
	recording    *recording    // of the packets of both sides, or nil
	ahead        *Loaded       // a program that was tested before it is installed, or nil
	both         *Loaded       // the same, for rules that a run has yet to have confirmed
	// reverts is what the side is to do again unless its rules are confirmed, or nil; limits are
	// those that go on, or nil.
	reverts *Reversion
	limits  *limits
}

// Prepare inspects the target of a run and chooses the hook. The errors are those of
// hook.Interface and hook.Choose, UsageError and hook.UnsupportedError, and, to replace
// rules, those of finding them: hook.TakenError where a process holds them.
func Prepare(opt run.Options) (*Prepared, error) {
	s, err := inspect(opt)
	if err != nil {
		return nil, err
	}
	want := opt.Hook
	if s.there != nil { // between two hooks there would be a gap
		want = s.there.Hook
	}
	if err := s.choose(opt.Program, want); err != nil {
		return nil, err
	}
	return s, nil
}

// inspect is Prepare without a choice.
func inspect(opt run.Options) (s *Prepared, err error) {
	s = &Prepared{opt: opt, outlets: map[string]hook.Iface{}, peers: map[int]hook.Iface{}}
	if s.iface, err = hook.Interface(opt.Interface); err != nil {
		return nil, err
	}
	s.opt.Interface = s.iface.Name
	if !opt.Replace {
		return s, nil
	}
	if s.there, err = s.replaceable(); err != nil {
		return nil, err
	}
	there, err := repliesOf(s.iface.Index, opt.Direction)
	if err == nil {
		err = s.pending(there)
	}
	switch {
	case err != nil:
		return nil, err
	case len(there) > 1, len(there) == 1 && there[0].Meta.Foreground:
		return nil, hook.Taken(there)
	case len(there) == 1:
		s.repliesThere, s.repliesAt = there[0], there[0].Hook
	}
	return s, nil
}

// choose chooses the hook for rules.
func (s *Prepared) choose(p *rule.Program, want run.Hook) (err error) {
	s.opt.Program = p
	for _, r := range p.Rules {
		if _, known := s.outlets[r.Redirect]; known || r.Verdict != rule.ToInterface {
			continue
		}
		if s.outlets[r.Redirect], err = hook.Interface(r.Redirect); err != nil {
			return err
		}
	}
	s.choice, err = hook.Choose(want, s.opt.Direction, s.iface, need(p))
	if err == nil {
		s.choice, err = s.settle(s.choice)
	}
	if err == nil {
		err = s.prepareReplies(p)
	}
	return err
}

// Target is the target, by the interface's primary name.
func (s *Prepared) Target() run.Target { return s.opt.Target }

// replaceable finds the rules whose place is to be taken, or nil. The errors are
// UsageError, and hook.TakenError where a process holds them.
func (s *Prepared) replaceable() (*hook.Program, error) {
	ours, err := hook.Ours(s.iface.Index, s.opt.Direction)
	if err != nil || len(ours) == 0 { // another's is in the way or it is not, as for Attach
		return nil, err
	}
	a := ours[0]
	switch {
	case len(ours) > 1, a.Meta.Foreground, a.Meta.RepliesOf != "":
		return nil, hook.Taken(ours)
	case s.opt.Hook != run.Auto && s.opt.Hook != a.Hook:
		return nil, &UsageError{
			fmt.Sprintf("the rules on %s are at %s: those at %s could not take their place without a gap", s.iface.Name, a.Hook, s.opt.Hook),
			"leave out --hook, or detach them first",
		}
	}
	return a, nil
}

// pending is the error that rules wait to be confirmed which would be replaced, or nil.
func (s *Prepared) pending(replies []*hook.Program) error {
	for _, a := range append(replies, s.there) {
		if a != nil && a.Revert.Pending() {
			left, err := lastingJiffies(a.Revert.Deadline - a.Revert.Now)
			return cmp.Or(err, error(&PendingError{Target: s.opt.Target, Left: left}))
		}
	}
	return nil
}

// settle rejects a choice that cannot do what the rules ask for, or finds
// another one that can.
func (s *Prepared) settle(c hook.Choice) (hook.Choice, error) {
	for {
		err := s.impossible(c.Hook)
		if err == nil {
			return c, nil
		}
		next, ok := c.Instead(err)
		if !ok {
			return c, err
		}
		c = next
	}
}

// impossible is why the rules cannot do what they say at a hook, or nil.
func (s *Prepared) impossible(m run.Hook) error {
	if s.opt.Direction == run.Out {
		if why, hint := s.opt.Program.NotLeaving(); why != "" {
			return &UsageError{why, hint}
		}
	}
	for _, r := range s.opt.Program.Rules {
		if r.Verdict == rule.ToInterface {
			if err := s.impossibleOutlet(m, s.outlets[r.Redirect]); err != nil {
				return err
			}
		}
	}
	if err := s.certainLoop(); err != nil {
		return err
	}
	_, err := s.vethPeers(m)
	return err
}

// impossibleOutlet is why packets cannot be redirected to an interface.
func (s *Prepared) impossibleOutlet(m run.Hook, to hook.Iface) error {
	switch {
	case to.Link == hook.OtherLink:
		return &hook.UnsupportedError{
			Interface: to.Name, Hook: m,
			Reason: to.Name + " carries neither Ethernet nor bare IP: packets cannot be redirected to it",
		}
	case !s.iface.Ethernet && to.Ethernet:
		return &hook.UnsupportedError{
			Interface: s.iface.Name, Hook: m,
			Reason: fmt.Sprintf("packets of %s have no Ethernet header, so the kernel drops them where they are redirected to %s", s.iface.Name, to.Name),
			Advice: "redirect to an interface without Ethernet, or let the routing table send them",
		}
	case m != run.TC && s.iface.Ethernet && !to.Ethernet:
		return &hook.UnsupportedError{
			Interface: s.iface.Name, Hook: m,
			Reason:     fmt.Sprintf("XDP redirects packets of %s with their Ethernet header, which %s does not have", s.iface.Name, to.Name),
			TryGeneric: true,
		}
	}
	return nil
}

// options are what a program is loaded with for a hook.
func (s *Prepared) options(m run.Hook) LoadOptions {
	o := LoadOptions{
		Limit: s.opt.Limit, Timed: s.opt.For > 0, Broken: s.opt.Broken, Clang: s.opt.Clang, Record: s.opt.Record,
		Why: s.opt.Why && s.answers == nil, Answers: s.answers, Flows: s.flows, recording: s.recording, Revert: s.reverts, limits: s.limits,
		Fragments: m == run.XDP && s.iface.MTU > oneBuffer, Redirect: map[string]int{},
	}
	if m == run.TC {
		o.Hook = bpf.TC
	}
	o.Link = s.link()
	for word, i := range s.outlets {
		o.Redirect[word] = i.Index
	}
	return o
}

// link is what packets begin with.
func (s *Prepared) link() field.Link {
	if s.iface.Link == hook.RawIPLink {
		return field.RawIP
	}
	return field.Ethernet
}

// need is what rules ask of a hook.
func need(p *rule.Program) (n hook.Need) {
	for _, r := range p.Rules {
		for _, a := range r.Actions {
			n.Sums = n.Sums || isLayer4Sum(a.Field)
			for _, c := range a.Field.Covers {
				n.Sums = n.Sums || isLayer4Sum(field.MustByName(c.Check))
			}
		}
	}
	return n
}

func isLayer4Sum(f *field.Field) bool { return f.Kind == field.Checksum && f.Proto != field.IP }
