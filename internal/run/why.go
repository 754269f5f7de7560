package run

import (
	"cmp"
	"encoding/json"
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/why"
)

// Why is why a rule has not acted on packets (semantics.md 3.13).
type Why struct {
	// Packets are all that came to the rule or were taken by rules before, Matched of them
	// those on which it acted.
	Packets uint64 `json:"packets"`
	Matched uint64 `json:"matched"`
	// Taken are those on which rules before have acted; TakenBy is the only one of these
	// rules, from 1, or 0.
	Taken   uint64 `json:"taken"`
	TakenBy int    `json:"-"`
	// Missed are the tests that failed first, in the order of the rule.
	Missed []Missed `json:"missed"`
}

// Missed is a test of a rule that failed first, and what was seen there.
type Missed struct {
	Packets uint64 `json:"packets"`
	// Text is the test in the words of the user, or the action that Implied it.
	Text    string `json:"test"`
	Implied bool   `json:"implied,omitempty"`
	// Failed is header, field or test: what there was not, or that its value was another one.
	Failed string `json:"failed"`
	// Seen is what was there instead, the most frequent first. There may be more.
	Seen []Seen `json:"seen,omitempty"`

	Test why.Test `json:"-"`
	Miss why.Miss `json:"-"`
}

var missWords = [why.Misses]string{why.NoHeader: "header", why.NoField: "field", why.Failed: "test"}

// Seen is a value that was seen, in so many packets at least.
type Seen struct {
	// Field is the field whose value it is; nil: it is a header, see why.Instead.
	Field   *field.Field
	Value   field.Value
	Packets uint64
}

// String is the value as rules spell it.
func (s Seen) String() string {
	if s.Field == nil {
		return why.Instead(s.Value)
	}
	return rule.PrintValue(s.Field, s.Value)
}

// MarshalJSON has numbers as numbers, flags as true or false, and all else as a string.
func (s Seen) MarshalJSON() ([]byte, error) {
	out := struct {
		Value   any    `json:"value"`
		Packets uint64 `json:"packets"`
	}{s.String(), s.Packets}
	switch f := s.Field; {
	case f == nil || f.Kind.IsAddress():
	case f.Kind == field.Flag:
		out.Value = !s.Value.IsZero()
	default:
		out.Value = s.Value.Lo
	}
	return json.Marshal(out)
}

// mostSeen is how many values there are at most for a test.
const mostSeen = 10

// Explain says of the first rules why they have not acted, by what was counted for the tests,
// slot by slot, and how often each rule has matched meanwhile.
func Explain(rules []RuleCount, tests []why.Test, sums []why.Sum, matched []uint64) {
	for first := 0; first < len(tests); {
		w := &Why{Matched: matched[tests[first].Rule], Missed: []Missed{}}
		w.Packets = w.Matched
		for i, n := range matched[:tests[first].Rule] {
			switch {
			case n == 0:
				continue
			case w.Taken == 0:
				w.TakenBy = i + 1
			default:
				w.TakenBy = 0
			}
			w.Taken += n
		}
		w.Packets += w.Taken
		of := tests[first].Rule
		for ; first < len(tests) && tests[first].Rule == of; first++ {
			for m := range why.Misses {
				s := sums[why.Slot(first, m)]
				if s.Packets > 0 {
					w.Packets += s.Packets
					w.Missed = append(w.Missed, missed(tests[first], m, s))
				}
			}
		}
		rules[of].Why = w
	}
}

func missed(t why.Test, m why.Miss, s why.Sum) Missed {
	out := Missed{Packets: s.Packets, Text: t.Text, Implied: t.Implied, Failed: missWords[m], Test: t, Miss: m}
	var of *field.Field
	switch {
	case m == why.NoHeader:
	case m == why.NoField && t.GuardSees != nil:
		of = t.GuardSees
	case m == why.Failed && len(t.Sees) > 0:
		of = t.Sees[0] // the others are of its kind
	default:
		return out
	}
	for v, n := range s.Values {
		if of != nil || !v.IsZero() {
			out.Seen = append(out.Seen, Seen{of, v, n})
		}
	}
	slices.SortFunc(out.Seen, func(a, b Seen) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.Value.Cmp(b.Value))
	})
	out.Seen = out.Seen[:min(len(out.Seen), mostSeen)]
	return out
}
