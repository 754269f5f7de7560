package software

import (
	"encoding/binary"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// step is a plan.Step.
type step struct {
	cond    condition
	lookup  *lookup
	choices []step // of plan.Step.Select
	result  Result
	// needs are what has to have been captured for the step to be carried out.
	needs     []window
	flow      *plan.Flow
	computes  []compute
	adjusts   []sum // checksums that are changed by what the writes change
	fixes     []sum // and those that are made anew, the one of the IPv4 header last
	exchanges []exchange
	writes    []storing
	// asks are those of plan.Step.Why; then the step is no rule.
	asks []ask
}

// exchange is a plan.Exchange.
type exchange struct{ a, b window }

// source is a plan.Source.
type source struct {
	computed, xor bool
	slot          int
	row           plan.Place
}

func sourceOf(s plan.Source) source { return source{s.Computed, s.Xor, s.Slot, s.Row} }

// storing is a plan.Write.
type storing struct {
	window
	source
	made  bool
	value uint32
}

// sum is a plan.Sum.
type sum struct {
	check window
	proto field.Protocol
	l3    field.Protocol
	// start is Const; terms and rows are added to it.
	start       int64
	terms       []term
	rows        []int // offsets in the row
	words       int   // see headerWords
	bad         bool
	zeroIsNone  bool
	ones, other bool
}

// term is a plan.Term.
type term struct {
	window
	source
	made   bool
	factor int64
}

func (c *compiler) step(p plan.Step) step {
	s := step{cond: c.condition(p.Cond), result: Result{Rule: p.Rule, DryRun: p.DryRun, Verdict: p.Verdict, Redirect: p.Redirect}}
	for _, choice := range p.Select {
		s.choices = append(s.choices, c.step(choice))
	}
	if p.Lookup != nil {
		s.lookup = c.lookup(p.Lookup)
	}
	s.flow = p.Flow
	for _, x := range p.Computes {
		s.computes = append(s.computes, computeOf(x))
	}
	for _, x := range p.Sums {
		made := sumOf(x)
		switch {
		case x.Op == plan.Adjust:
			s.adjusts = append(s.adjusts, made)
		case x.Check.Proto == field.IP:
			made.words = headerWords(p.Cond)
			s.fixes = append(s.fixes, made)
		default:
			s.fixes = append([]sum{made}, s.fixes...)
		}
	}
	for _, x := range p.Exchanges {
		s.exchanges = append(s.exchanges, exchange{windowOf(x.A), windowOf(x.B)})
		s.needs = append(s.needs, windowOf(x.A), windowOf(x.B))
	}
	for _, x := range p.Writes {
		s.writes = append(s.writes, storing{windowOf(x.Window), sourceOf(x.Source), x.Made(), x.Value})
		s.needs = append(s.needs, windowOf(x.Window))
	}
	for _, x := range s.computes {
		s.needs = append(s.needs, x.reads...)
	}
	if p.Why != nil {
		s.asks = c.asks(p.Why)
	}
	c.scratchSize = max(c.scratchSize, p.Scratch())
	return s
}

// headerWords is the length in 32-bit words that the IPv4 header has as it leaves, by the
// condition of a step that makes its checksum anew, or 0 for the packet's own.
func headerWords(c plan.Cond) int {
	list := []plan.Cond{c}
	if and, is := c.(plan.And); is {
		list = and
	}
	for _, x := range list {
		switch x := x.(type) {
		case plan.WholeHeader:
			return x.Words
		case plan.And:
			if n := headerWords(x); n > 0 {
				return n
			}
		}
	}
	return 0
}

func sumOf(p plan.Sum) sum {
	s := sum{
		check: window{header: uint8(p.Check.Proto), size: 2, off: int32(p.Check.Byte()), mask: 0xffff},
		proto: p.Check.Proto, l3: p.L3, start: int64(p.Const), bad: p.Op == plan.Bad,
		zeroIsNone: p.ZeroIsNone, ones: p.Ones, other: p.Check == field.OtherCheck,
	}
	for _, t := range p.Terms {
		s.terms = append(s.terms, term{windowOf(t.Window), sourceOf(t.Source), t.Made(), int64(t.Factor)})
	}
	for _, r := range p.Rows {
		s.rows = append(s.rows, r.At.Offset())
	}
	return s
}

// mostSums is how many checksums a packet has: of layer 4 and of its IPv4 header, and of those
// that an ICMP error quotes.
const mostSums = 4

// act carries a step out. If something that it needs was not captured, the packet stays as
// it is.
func (r *Runner) act(s *step) Result {
	result := s.result
	if l := s.lookup; l != nil && l.rule != 0 {
		result.Rule = int(binary.LittleEndian.Uint32(r.row[l.rule.Offset():]))
	}
	if len(r.data) < r.length && !r.able(s) {
		return Result{Rule: -1, Skipped: Unwritten}
	}
	if s.flow != nil {
		r.hashFlow(s.flow)
	}
	for i := range s.computes {
		r.compute(&s.computes[i])
	}
	var checks [mostSums]uint32
	for i := range s.adjusts {
		checks[i] = r.adjusted(&s.adjusts[i])
	}
	length := 0 // of the datagram that is summed up
	if len(s.fixes) > 0 && s.fixes[0].proto != field.IP {
		length, _ = r.datagram(s.fixes[0].l3)
	}
	r.store(s)
	for i := range s.adjusts {
		if w := s.adjusts[i].check; r.has(w) {
			write(r.data[r.at[w.header]+int(w.off):], 2, checks[i])
		}
	}
	for i := range s.fixes {
		r.fix(&s.fixes[i], length)
	}
	return result
}

// able reports whether what a step needs of a packet that was cut off is there.
func (r *Runner) able(s *step) bool {
	for _, w := range s.needs {
		if !r.has(w) {
			return false
		}
	}
	for i := range s.adjusts {
		c := &s.adjusts[i]
		if at := r.at[c.check.header] + int(c.check.off); at >= len(r.data) {
			continue // there is nothing to change
		}
		if !r.has(c.check) || !r.hasAll(c.terms) {
			return false
		}
	}
	for i := range s.fixes {
		if end, ok := r.summedTo(&s.fixes[i]); !ok || end > len(r.data) {
			return false
		}
	}
	return s.flow == nil || r.hasFlow(s.flow)
}

func (r *Runner) hasAll(terms []term) bool {
	for _, t := range terms {
		if (!t.made || t.xor) && !r.has(t.window) {
			return false
		}
	}
	return true
}

// store makes the exchanges and the writes.
func (r *Runner) store(s *step) {
	for _, x := range s.exchanges {
		a, b := r.data[r.at[x.a.header]+int(x.a.off):], r.data[r.at[x.b.header]+int(x.b.off):]
		va, vb := read(a, x.a.size), read(b, x.b.size)
		write(a, x.a.size, vb)
		write(b, x.b.size, va)
	}
	for i := range s.writes {
		w := &s.writes[i]
		to, v := r.data[r.at[w.header]+int(w.off):], w.value
		if w.made {
			v = r.made(w.window, w.source)
		}
		if full := w.full().mask; w.mask != full {
			if len(to) < int(w.size) { // cut off in the window, behind what is written
				r.writePart(w.window, v)
				continue
			}
			v = read(to, w.size)&(full&^w.mask) | v&w.mask
		}
		write(to, w.size, v)
	}
}

// writePart writes the bytes of a window that were captured.
func (r *Runner) writePart(w window, v uint32) {
	at := r.at[w.header] + int(w.off)
	for i := 0; i < int(w.size) && at+i < len(r.data); i++ {
		shift := 8 * (int(w.size) - 1 - i)
		mask := byte(w.mask >> shift)
		r.data[at+i] = r.data[at+i]&^mask | byte(v>>shift)&mask
	}
}

// made is what a source has for a window.
func (r *Runner) made(w window, s source) uint32 {
	if s.computed {
		return read(r.scratch[s.slot:], w.size)
	}
	v := read(r.row[s.row.Offset():], w.size)
	if s.xor {
		there, _ := r.loadPart(w.full())
		v ^= there
	}
	return v
}

// modulus is that of the Internet checksum (RFC 1071).
const modulus = 65535

// change is what the writes change in what a checksum covers, modulo 65535.
func (r *Runner) change(s *sum) int64 {
	total := s.start
	for i := range s.terms {
		t := &s.terms[i]
		var v uint32
		if t.made {
			v = r.made(t.window, t.source) & t.mask
		} else {
			v, _ = r.load(t.window)
		}
		total -= t.factor * int64(v)
	}
	for _, at := range s.rows {
		total += int64(binary.BigEndian.Uint16(r.row[at:]))
	}
	total %= modulus
	if total < 0 {
		total += modulus
	}
	return total
}

// adjusted is a checksum changed by what the writes change (RFC 1624).
func (r *Runner) adjusted(s *sum) uint32 {
	old, ok := r.load(s.check)
	if !ok || s.zeroIsNone && old == 0 {
		return old
	}
	change := r.change(s)
	if change == 0 {
		return old
	}
	c := int64(old) - change
	if c %= modulus; c < 0 {
		c += modulus
	}
	if c == 0 && (s.zeroIsNone || s.other && r.neverZero) {
		return modulus
	}
	return uint32(c)
}

// summedTo is the end of what a checksum that is made anew covers, as the packet leaves: of
// the IPv4 header its length may be one that the step sets.
func (r *Runner) summedTo(s *sum) (end int, ok bool) {
	if s.proto != field.IP {
		length, whole := r.datagram(s.l3)
		return r.at[s.proto] + length, whole == yes
	}
	at := r.at[field.IP]
	if s.words > 0 || at >= len(r.data) {
		return at + 4*s.words, true
	}
	return at + s.headerLength(r), true
}

func (s *sum) headerLength(r *Runner) int { return 4 * int(r.data[r.at[field.IP]]&0xf) }

// fix makes a checksum anew in the packet as it leaves; length is that of the datagram.
func (r *Runner) fix(s *sum, length int) {
	start := r.at[s.proto]
	check := r.data[start+int(s.check.off):]
	write(check, 2, 0)
	var total uint64
	if s.proto == field.IP {
		total = added(r.data[start:][:s.headerLength(r)])
	} else {
		total = added(r.data[start:][:length]) + r.pseudoHeader(s, length)
	}
	c := (modulus - total%modulus) % modulus
	if c == 0 && s.ones {
		c = modulus
	}
	if s.bad {
		if c++; c > modulus {
			c = 1
		}
	}
	write(check, 2, uint32(c))
}

// pseudoHeader is the sum of the pseudo-header (RFC 9293 section 3.1, RFC 768, RFC 8200
// section 8.1).
func (r *Runner) pseudoHeader(s *sum, length int) uint64 {
	if s.proto == field.ICMP {
		return 0
	}
	return r.addresses(s.l3) + uint64(s.proto.Header().Number) + uint64(length)
}

// addresses is the sum of the addresses of the pseudo-header.
func (r *Runner) addresses(l3 field.Protocol) uint64 {
	both := plan.Flow{L3: l3}.Addresses()
	at := r.at[l3] + both.Off
	src, dest := r.data[at:at+both.Size/2], r.data[at+both.Size/2:at+both.Size]
	switch {
	case l3 == field.IP && r.lastHop != nil:
		dest = r.lastHop
	case l3 == field.IP6 && r.home != nil:
		src = r.home
	}
	return added(src) + added(dest)
}

// added is the sum of b in words of 16 bits; an odd last byte counts as if a zero followed.
func added(b []byte) (total uint64) {
	for ; len(b) >= 2; b = b[2:] {
		total += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += uint64(b[0]) << 8
	}
	return total
}
