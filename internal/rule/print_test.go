package rule

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"repacket/internal/field"
)

// same compares checked programs, places in the source apart.
var same = cmp.Options{
	cmpopts.IgnoreTypes(Span{}),
	cmp.Comparer(func(a, b *field.Field) bool { return a == b }),
}

// sameAgain also leaves numbers of draws apart: each copy of a rule that is
// printed has its own.
var sameAgain = cmp.Options{same, cmpopts.IgnoreFields(Chance{}, "Index"), cmpopts.IgnoreFields(Action{}, "Draw")}

// written are the rules that the language can say: all but those for what ICMP errors quote.
func written(p *Program) []*Rule {
	return slices.DeleteFunc(slices.Clone(p.Rules), func(r *Rule) bool { return r.Quote })
}

// reprint writes a checked program so that it can be read again.
func reprint(p *Program) string {
	var rules []string
	for _, r := range written(p) {
		rules = append(rules, r.Print())
	}
	return strings.Join(rules, " else ")
}

// checkReprint fails unless what is printed reads as the same rules again.
func checkReprint(t interface{ Fatalf(string, ...any) }, source string, p *Program) {
	text := reprint(p)
	again, err := CheckWith(text, Options{Open: sheets})
	if err != nil {
		if strings.Contains(err.Error(), "nested more than") {
			return // printing adds brackets
		}
		t.Fatalf("%q is printed as %q, which is rejected: %v", source, text, err)
	}
	before, after := written(p), written(again)
	if len(after) != len(before) {
		t.Fatalf("%q has %d rules, its print %q %d", source, len(before), text, len(after))
	}
	for i, r := range after {
		if diff := cmp.Diff(before[i].Cond, r.Cond, sameAgain); diff != "" {
			t.Fatalf("%q is printed as %q, which means something else:\n%s", source, text, diff)
		}
		if diff := cmp.Diff(before[i].Actions, r.Actions, sameAgain, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q is printed as %q, which does something else:\n%s", source, text, diff)
		}
		was := before[i]
		if diff := cmp.Diff(was.Swaps, r.Swaps, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b Swap) bool { return a.Proto == b.Proto })); diff != "" {
			t.Fatalf("%q is printed as %q, which swaps something else:\n%s", source, text, diff)
		}
		if diff := cmp.Diff(was.Rows, r.Rows); diff != "" {
			t.Fatalf("%q is printed as %q, which takes other rows:\n%s", source, text, diff)
		}
		if r.Verdict != was.Verdict || r.Replies != was.Replies || r.Redirect != was.Redirect {
			t.Fatalf("%q is printed as %q, which sends packets elsewhere", source, text)
		}
	}
}

func TestPrintReadsAsTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source := drawProgram(t)
		if p, err := Check(source); err == nil {
			checkReprint(t, source, p)
		}
	})
}
