package rule

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
)

// RuleInfo says what one rule as written does.
type RuleInfo struct { //nolint:revive // rule.Info would say less where it is used
	// Rule is its number, from 1.
	Rule int    `json:"rule"`
	Name string `json:"name,omitempty"`
	// Text is the rule in the user's words.
	Text string `json:"text"`
	// Look: packets that match are counted, not changed.
	Look bool `json:"look"`
	// Cases has one member, or one for each protocol that a short name among
	// the actions can mean.
	Cases []Case `json:"cases"`
}

// Case is what a rule does for one meaning of its short names.
type Case struct {
	// Complete is the rule with full names and all its brackets.
	Complete string `json:"complete"`
	// Headers are those that must be there, outermost first; "tcp or udp" where
	// one of several must be.
	Headers   []string   `json:"headers"`
	Changes   []Change   `json:"changes"`
	Checksums []Checksum `json:"checksums"`
	// Whole: the rule takes only what is all there, because it makes a sum over
	// all of it: whole datagrams, or IPv4 headers with all their options.
	Whole bool `json:"whole,omitempty"`
}

// Change is a field that can change, and where its bytes are.
type Change struct {
	Field  string `json:"field"`
	Header string `json:"header"`
	// First and Last are the bytes of the header that hold a part of the field,
	// from 0; Mask are its bits in them, big-endian.
	First int    `json:"first_byte"`
	Last  int    `json:"last_byte"`
	Mask  string `json:"mask"`
}

// Checksum is a checksum that changes with the fields.
type Checksum struct {
	Field string `json:"field"`
	// Always: its header is there in every packet that the rule takes.
	Always bool `json:"always"`
}

// Explanation says what each rule as written does.
func (p *Program) Explanation() []RuleInfo {
	infos := make([]RuleInfo, 0, len(p.Written))
	for i, w := range p.Written {
		infos = append(infos, RuleInfo{Rule: i + 1, Name: w.Name, Text: w.Text, Look: w.Look})
	}
	c := &checker{program: p}
	for _, r := range p.Rules {
		info := &infos[r.Index]
		info.Cases = append(info.Cases, c.explain(r))
	}
	return infos
}

func (c *checker) explain(r *Rule) Case {
	where := packets(c.whole(r))
	out := Case{Complete: r.Print(), Headers: []string{}, Changes: []Change{}, Checksums: []Checksum{}}
	for layer := 2; layer <= 4; layer++ {
		if bits := where.headers(layer); bits&1 == 0 {
			var names []string
			for _, p := range protocols(bits) {
				names = append(names, p.String())
			}
			out.Headers = append(out.Headers, strings.Join(names, " or "))
		}
	}
	for _, a := range r.Actions {
		f := a.Field
		out.Changes = append(out.Changes, Change{
			f.Name, f.Proto.String(), f.Byte(), f.Byte() + f.Size() - 1, fmt.Sprintf("0x%0*x", 2*f.Size(), f.Mask().Lo),
		})
		out.Whole = out.Whole || a.Op != Set
		for _, cover := range f.Covers {
			out.follow(r, where, cover.Check)
		}
	}
	return out
}

// follow adds a checksum that covers a field, unless an action names it or its
// header cannot be there.
func (e *Case) follow(r *Rule, where union, check string) {
	f := field.MustByName(check)
	named := slices.ContainsFunc(r.Actions, func(a Action) bool { return a.Field == f })
	listed := slices.ContainsFunc(e.Checksums, func(s Checksum) bool { return s.Field == check })
	headers := where.headers(f.Proto.Header().Layer)
	if named || listed || headers&(1<<f.Proto) == 0 {
		return
	}
	e.Checksums = append(e.Checksums, Checksum{check, headers == 1<<f.Proto})
}

// Explain is Explanation as people read it, a paragraph a rule.
func (p *Program) Explain() string {
	var b strings.Builder
	for _, info := range p.Explanation() {
		fmt.Fprintf(&b, "rule %d", info.Rule)
		if info.Name != "" {
			fmt.Fprintf(&b, " (%s)", info.Name)
		}
		fmt.Fprintf(&b, ": %s\n", printable(info.Text))
		for _, e := range info.Cases {
			b.WriteString(e.text(info.Look))
		}
	}
	return b.String()
}

func (e Case) text(look bool) string {
	headers := "none"
	if len(e.Headers) > 0 {
		headers = strings.Join(e.Headers, ", ")
	}
	text := "  in full: " + e.Complete + "\n  headers that must be there: " + headers + "\n"
	if look {
		return text + "  no then: packets that match are counted, none is changed\n"
	}
	var changes, sums []string
	for _, ch := range e.Changes {
		changes = append(changes, ch.text())
	}
	for _, s := range e.Checksums {
		sums = append(sums, s.text())
	}
	if len(sums) == 0 {
		sums = []string{"none"}
	}
	if e.Whole {
		text += "  only what is whole: no fragment, lengths that agree (ip_check: the whole header)\n"
	}
	return text + "  bytes that can change: " + strings.Join(changes, ", ") +
		"\n  checksums that follow: " + strings.Join(sums, ", ") + "\n"
}

// text is "udp_dest (udp bytes 2-3)", with the mask where it is a part only.
func (ch Change) text() string {
	text := fmt.Sprintf("%s (%s byte %d", ch.Field, ch.Header, ch.First)
	if ch.Last > ch.First {
		text = fmt.Sprintf("%s (%s bytes %d-%d", ch.Field, ch.Header, ch.First, ch.Last)
	}
	if strings.Trim(ch.Mask, "0xf") != "" || strings.Contains(ch.Mask[2:], "0") {
		text += ", bits " + ch.Mask
	}
	return text + ")"
}

// text is the checksum, when it is there and what it leaves alone: a UDP
// checksum of 0 means that there is none (RFC 768).
func (s Checksum) text() string {
	var notes []string
	if !s.Always {
		notes = append(notes, "where there")
	}
	if s.Field == "udp_check" {
		notes = append(notes, "0 stays 0")
	}
	if len(notes) == 0 {
		return s.Field
	}
	return s.Field + " (" + strings.Join(notes, ", ") + ")"
}
