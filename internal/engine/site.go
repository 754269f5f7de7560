package engine

import (
	"fmt"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/rule"
)

// UsageError is what can never work, whatever the kernel is. It is known before
// anything is loaded.
type UsageError struct{ message, hint string }

func (e *UsageError) Error() string { return e.message }

// Hint says what to do instead.
func (e *UsageError) Hint() string { return e.hint }

// Site is where rules are to go, looked at but as it was.
type Site struct {
	asked  Config // what Look was given
	cfg    Config
	iface  hook.Iface
	choice hook.Choice
	ready  func() // called before anything is attached, or nil
	// outlets are the interfaces that rules redirect to, by the words of the
	// rules.
	outlets map[string]hook.Iface
	// old is the record of the program whose place is taken, or nil.
	old *record
}

// Look looks at where rules are to go and chooses the hook, for the advice and for
// what is then done there. The errors are those of hook.Interface and hook.Choose, UsageError
// and ErrUnsupported, and, to replace others, those of Replace that are known before
// anything is loaded.
func Look(cfg Config) (*Site, error) {
	asked := cfg
	_, cfg, err := cfg.taking()
	if err != nil {
		return nil, err
	}
	s, err := newSite(cfg)
	if err != nil {
		return nil, err
	}
	s.asked, s.asked.Interface = asked, s.iface.Name
	return s, nil
}

// InterfaceName is the name proper of the interface.
func (s *Site) InterfaceName() string { return s.iface.Name }

// newSite is Look for a configuration that takes the place of known rules or of none.
func newSite(cfg Config) (*Site, error) {
	iface, err := hook.Interface(cfg.Interface)
	if err != nil {
		return nil, err
	}
	cfg.Interface = iface.Name
	s := &Site{cfg: cfg, iface: iface, outlets: map[string]hook.Iface{}}
	for _, r := range cfg.Program.Rules {
		if r.Verdict != rule.ToInterface {
			continue
		}
		if s.outlets[r.Redirect], err = hook.Interface(r.Redirect); err != nil {
			return nil, err
		}
	}
	s.choice, err = hook.Choose(cfg.Mode, cfg.Direction, iface, need(cfg.Program))
	if err == nil {
		s.choice, err = s.settle(s.choice)
	}
	return s, err
}

// settle refuses a choice that cannot do what the rules ask for, or finds
// another one that can.
func (s *Site) settle(c hook.Choice) (hook.Choice, error) {
	for {
		err := s.refuses(c.Mode)
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

// refuses is why the rules cannot do what they say at a hook, or nil.
func (s *Site) refuses(m hook.Mode) error {
	if s.cfg.Direction == hook.Out {
		if why, hint := s.cfg.Program.NotLeaving(); why != "" {
			return &UsageError{why, hint}
		}
	}
	for _, r := range s.cfg.Program.Rules {
		if r.Verdict == rule.ToInterface {
			if err := s.refusesOutlet(m, s.outlets[r.Redirect]); err != nil {
				return err
			}
		}
	}
	if err := s.refusesLoop(); err != nil {
		return err
	}
	_, err := s.peers(m)
	return err
}

// refusesOutlet is why packets cannot be redirected to an interface.
func (s *Site) refusesOutlet(m hook.Mode, to hook.Iface) error {
	switch {
	case to.Link == hook.OtherLink:
		return &hook.ErrUnsupported{
			Interface: to.Name, Mode: m,
			Reason: to.Name + " carries neither Ethernet nor bare IP: packets cannot be redirected to it",
		}
	case !s.iface.Ethernet && to.Ethernet:
		return &hook.ErrUnsupported{
			Interface: s.iface.Name, Mode: m,
			Reason: fmt.Sprintf("packets of %s have no Ethernet header, so the kernel drops them where they are redirected to %s", s.iface.Name, to.Name),
			Advice: "redirect to an interface without Ethernet, or let the routing table send them",
		}
	case m != hook.TC && s.iface.Ethernet && !to.Ethernet:
		return &hook.ErrUnsupported{
			Interface: s.iface.Name, Mode: m,
			Reason:     fmt.Sprintf("XDP redirects packets of %s with their Ethernet header, which %s does not have", s.iface.Name, to.Name),
			TryGeneric: true,
		}
	}
	return nil
}

// options are what a program is loaded with for a hook.
func (s *Site) options(m hook.Mode) LoadOptions {
	o := LoadOptions{
		Limit: s.cfg.Limit, Timed: s.cfg.For > 0, Broken: s.cfg.Broken, Clang: s.cfg.Clang,
		Fragments: m == hook.Native && s.iface.MTU > oneBuffer,
	}
	if m == hook.TC {
		o.Hook = bpf.TC
	}
	if s.iface.Link == hook.RawIPLink {
		o.Link = field.RawIP
	}
	if len(s.outlets) > 0 {
		o.Redirect = map[string]int{}
	}
	for word, i := range s.outlets {
		o.Redirect[word] = i.Index
	}
	return o
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

// exactSum is the checksum of layer 4 that a rule sets to a value or leaves as it
// arrived, or nil.
func exactSum(r *rule.Rule) *field.Field {
	for _, a := range r.Actions {
		if isLayer4Sum(a.Field) && !a.Op.Sums() {
			return a.Field
		}
	}
	return nil
}
