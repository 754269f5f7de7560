package rule

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// RuleInfo says what one rule as written does.
type RuleInfo struct { //nolint:revive // rule.Info would say less where it is used
	// Rule is its number, from 1.
	Rule int    `json:"rule"`
	Name string `json:"name,omitempty"`
	// Text is the rule in the user's words.
	Text string `json:"text"`
	// DryRun: packets that match are counted, not changed.
	DryRun bool `json:"dry_run"`
	// File is the file whose rows the rule stands for, and Rows their number.
	File string `json:"file,omitempty"`
	Rows int    `json:"rows,omitempty"`
	// Cases has one member, or one for each protocol that a generic field among
	// the actions can mean.
	Cases []Case `json:"cases"`
	// Replies says what becomes of the replies, or is nil.
	Replies *RepliesInfo `json:"replies,omitempty"`
}

// Case is what a rule does for one meaning of its generic fields.
type Case struct {
	// Complete is the rule with full names and all its brackets.
	Complete string `json:"complete"`
	// Headers are those that must be there, outermost first; "tcp or udp" where
	// one of several must be.
	Headers   []string   `json:"headers"`
	Changes   []Change   `json:"changes"`
	Checksums []Checksum `json:"checksums"`
	// Others are the protocols without fields whose checksums follow the addresses
	// too, where the packet may be one of theirs.
	Others []string `json:"other_checksums,omitempty"`
	// Whole: the rule takes only what is all there, because it makes a sum over
	// all of it: whole datagrams, or IPv4 headers with all their options.
	Whole bool `json:"whole,omitempty"`
	// wholeHeader and wholeDatagram are which of the two.
	wholeHeader, wholeDatagram bool
	// Only says of fields that are there only on some packets on which.
	Only []string `json:"only,omitempty"`
	// Computed says of what is not given as it stands how it comes about:
	// arithmetic, copies, what is drawn for each packet.
	Computed []string `json:"computed,omitempty"`
	// Swaps are the headers whose source and destination change places.
	Swaps []string `json:"swaps,omitempty"`
	// Verdict is drop, reflect or redirect, and Interface where to.
	Verdict   string `json:"verdict,omitempty"`
	Interface string `json:"interface,omitempty"`
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
	// Routed: it changes only where the pseudo-header has another address than the IP
	// header: behind a routing header, a source route, or the option Home Address.
	Routed bool `json:"routed,omitempty"`
}

// Explanation says what each rule as written does.
func (p *Program) Explanation() []RuleInfo { return newSolver(p.Source).explanation(p) }

func (v *solver) explanation(p *Program) []RuleInfo {
	infos := make([]RuleInfo, 0, len(p.Written))
	for i, w := range p.Written {
		infos = append(infos, RuleInfo{Rule: i + 1, Name: w.Name, Text: w.Text, DryRun: w.DryRun})
	}
	for _, r := range p.Rules {
		if r.Quote {
			continue
		}
		info := &infos[r.Index]
		info.Cases = append(info.Cases, v.explain(r, len(info.Text)))
		if r.Rows != nil {
			info.File, info.Rows = r.Rows.File, r.Rows.Len
		}
		info.replies(r)
	}
	if p.Replies != nil {
		for _, r := range p.Replies.Rules {
			if r.Quote {
				continue
			}
			info := infos[r.Index].Replies
			info.Complete = append(info.Complete, r.Print())
		}
	}
	return infos
}

func (v *solver) explain(r *Rule, bytes int) Case {
	v.sets.turn(bytes)
	where := v.sets.packets(v.complete(r))
	out := Case{Complete: r.Print(), Headers: []string{}, Changes: []Change{}, Checksums: []Checksum{}}
	for layer := range field.Layers {
		if bits := where.Headers(layer); !bits.Has(field.None) {
			var names []string
			for _, p := range bits.List() {
				names = append(names, p.String())
			}
			out.Headers = append(out.Headers, strings.Join(names, " or "))
		}
	}
	out.only(r)
	out.Computed = computed(r)
	for _, a := range r.Actions {
		out.Whole = out.Whole || a.Op.Sums()
		out.wholeHeader = out.wholeHeader || a.Op.Sums() && a.Field.Proto == field.IP
		out.wholeDatagram = out.wholeDatagram || a.Op.Sums() && a.Field.Proto != field.IP
		if a.Idle() || has(r.Cond, a) {
			continue
		}
		out.rewritten(a)
		for _, cover := range a.Field.Covers {
			out.follow(r, where, Checksum{Field: cover.Check})
		}
	}
	for _, s := range r.Swaps {
		out.Swaps = append(out.Swaps, s.Proto.String())
		src, dest := s.Fields()
		out.change(src)
		out.change(dest)
		for _, cover := range src.Covers {
			if !cover.Pseudo { // a sum does not care for the order
				continue
			}
			out.follow(r, where, Checksum{Field: cover.Check, Routed: true})
		}
	}
	out.others(r, where)
	if r.Verdict != Pass {
		out.Verdict, out.Interface = r.Verdict.String(), r.Redirect
	}
	return out
}

// others notes the protocols without fields whose checksums follow: where an address
// is rewritten, and a packet may have none of the headers that have fields.
func (e *Case) others(r *Rule, where packetset.Set) {
	for _, a := range r.Actions {
		if a.Idle() || has(r.Cond, a) || a.Field.Kind != field.Address4 && a.Field.Kind != field.Address6 || a.Field.Proto == field.ARP {
			continue
		}
		if !where.Headers(field.TransportLayer).Has(field.None) {
			continue
		}
		for _, o := range field.OthersOver(a.Field.Proto) {
			if !slices.Contains(e.Others, o.Name) {
				e.Others = append(e.Others, o.Name)
			}
		}
	}
}

// has reports whether every packet that meets a condition has the value already that an
// action sets.
func has(cond Expr, a Action) bool {
	list := []Expr{cond}
	if and, ok := cond.(And); ok {
		list = and.X
	}
	return a.Op == operand.Set && a.Cell == 0 && slices.ContainsFunc(list, func(x Expr) bool {
		t, ok := x.(Test)
		if !ok || t.Field != a.Field || len(t.Cells) > 0 {
			return false
		}
		v, single := t.In.Single()
		return single && v == a.Value
	})
}

// rewritten adds the bits that an action can change: of a prefix the upper
// ones, of a checksum that stays as it was none.
func (e *Case) rewritten(a Action) {
	f := *a.Field
	if a.Op == operand.Prefix && a.Cell == 0 {
		f.Width = a.Bits
	}
	if f.Width > 0 && a.From != a.Field {
		e.change(&f)
	}
}

func (e *Case) change(f *field.Field) {
	ones, shift := field.Ones(f.Width), f.Shift() // a prefix may be wide and end inside a byte
	mask := field.Value{Hi: ones.Hi<<shift | ones.Lo>>(64-shift), Lo: ones.Lo << shift}
	hi, lo := "", fmt.Sprintf("%0*x", 2*min(f.Size(), 8), mask.Lo)
	if f.Size() > 8 {
		hi = fmt.Sprintf("%x", mask.Hi) // its first bit is one
	}
	e.Changes = append(e.Changes, Change{f.Name, f.Proto.String(), f.Byte(), f.Byte() + f.Size() - 1, "0x" + hi + lo})
}

// only says where fields are there that are not in every packet that has their
// header.
func (e *Case) only(r *Rule) {
	var fields []*field.Field
	for _, t := range find[Test](r.Cond) {
		fields = append(fields, t.Field)
	}
	for _, a := range r.Actions {
		fields = append(fields, a.Needs()...)
	}
	for _, f := range fields {
		if f.Only == nil {
			continue
		}
		if text := f.Name + " is there only with " + printOnly(f); !slices.Contains(e.Only, text) {
			e.Only = append(e.Only, text)
		}
	}
}

// follow adds a checksum that covers a field, unless an action names it or its
// header cannot be there.
func (e *Case) follow(r *Rule, where packetset.Set, sum Checksum) {
	f := field.MustByName(sum.Field)
	named := slices.ContainsFunc(r.Actions, func(a Action) bool { return a.Field == f })
	listed := slices.ContainsFunc(e.Checksums, func(s Checksum) bool { return s.Field == sum.Field })
	headers := where.Headers(f.Proto.Header().Layer)
	if named || listed || !headers.Has(f.Proto) {
		return
	}
	sum.Always = headers == packetset.HeadersOf(f.Proto)
	e.Checksums = append(e.Checksums, sum)
}

// Explain is Explanation as people read it, a paragraph a rule.
func (p *Program) Explain() string {
	var b strings.Builder
	for _, info := range p.Explanation() {
		fmt.Fprintf(&b, "rule %d", info.Rule)
		if info.Name != "" {
			fmt.Fprintf(&b, " (%s)", info.Name)
		}
		fmt.Fprintf(&b, ": %s\n", syntax.Printable(info.Text))
		if info.Rows > 0 {
			fmt.Fprintf(&b, "  for each of %s of %s, the first that matches\n", count(info.Rows, "row"), syntax.Printable(info.File))
		}
		for _, e := range info.Cases {
			b.WriteString(e.text(info.Text, info.DryRun))
		}
		b.WriteString(info.Replies.text())
	}
	return b.String()
}

func (e Case) text(written string, look bool) string {
	headers := "none"
	if len(e.Headers) > 0 {
		headers = strings.Join(e.Headers, ", ")
	}
	text := "  in full: " + e.Complete + "\n  headers that must be there: " + headers + "\n"
	if lines := slices.Concat(e.Only, e.Computed); len(lines) > 0 { // thousands, maybe
		text += "  " + strings.Join(lines, "\n  ") + "\n"
	}
	switch {
	case look && strings.HasSuffix(strings.ToLower(written), " pass"): // no test ends in it
		return text + "  then pass: packets that match are counted, none is changed\n"
	case look:
		return text + "  no then: packets that match are counted, none is changed\n"
	}
	return text + e.rewrites() + e.way()
}

// rewrites says what becomes of the packet's bytes.
func (e Case) rewrites() string {
	if len(e.Changes) == 0 {
		return ""
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
	text := ""
	switch {
	case e.wholeHeader && e.wholeDatagram:
		text = "  only what is whole: no fragment, lengths that agree (ip_check: the whole header)\n"
	case e.wholeDatagram:
		text = "  only what is whole: no fragment, lengths that agree\n"
	case e.wholeHeader:
		text = "  only what is whole: the header with its options\n"
	}
	for _, proto := range e.Swaps {
		text += fmt.Sprintf("  swapped: %s_src and %s_dest\n", proto, proto)
	}
	return text + "  bytes that can change: " + strings.Join(changes, ", ") +
		"\n  checksums that follow: " + strings.Join(sums, ", ") + "\n" + e.unknown()
}

// unknown says which checksums of other protocols follow, and that those of unknown
// ones do not.
func (e Case) unknown() string {
	if len(e.Others) == 0 {
		return ""
	}
	return "  of other protocols: " + strings.Join(e.Others, ", ") + "; checksums of unknown protocols are not followed\n"
}

// way says what becomes of the packet itself.
func (e Case) way() string {
	switch e.Verdict {
	case Drop.String():
		return "  then: dropped\n"
	case Reflect.String():
		return "  then: sent back out of the interface it came in by\n"
	case ToInterface.String():
		return "  then: sent out of " + syntax.Printable(e.Interface) + "\n"
	}
	return ""
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
	if s.Routed {
		notes = append(notes, "behind a source route, a routing header or a Home Address option")
	}
	if len(notes) == 0 {
		return s.Field
	}
	return s.Field + " (" + strings.Join(notes, ", ") + ")"
}
