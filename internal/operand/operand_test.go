package operand

import (
	"slices"
	"strings"
	"testing"

	"repacket/internal/field"
)

// TestEveryOpHasItsLine: an operation finds its line by its number.
func TestEveryOpHasItsLine(t *testing.T) {
	t.Parallel()
	for i := range table {
		if o := Op(i).Operand(); o.Op != Op(i) {
			t.Errorf("line %d is that of operation %d", i, o.Op)
		}
	}
	if last := Restore; int(last) != len(table)-1 {
		t.Errorf("%d lines, the last operation is %d", len(table), last)
	}
}

// TestKinds: which words fields take, by semantics.md 2.7.
func TestKinds(t *testing.T) {
	t.Parallel()
	for kind, want := range map[field.Kind]string{
		field.Checksum: "fix bad",
		field.Flag:     "random hash",
		field.Number:   "atleast atmost random hash",
		field.Port:     "atleast atmost random hash",
		field.Address6: "atleast atmost random hash",
	} {
		if got := strings.Join(Words(kind), " "); got != want {
			t.Errorf("%v takes %q, want %q", kind, got, want)
		}
		signed := slices.ContainsFunc(For(kind), func(o *Operand) bool { return o.Sign == "+" })
		if signed != (kind != field.Checksum && kind != field.Flag) {
			t.Errorf("%v is counted in: %v", kind, signed)
		}
	}
}

// TestFound: by its word, by its sign, and by what other tools call it.
func TestFound(t *testing.T) {
	t.Parallel()
	if o, ok := ByWord("atmost"); !ok || o.Print("60") != "atmost 60" {
		t.Errorf("atmost: %v", o)
	}
	if o, ok := BySign("-"); !ok || o.Print("1") != "-1" {
		t.Errorf("-: %v", o)
	}
	if o, ok := Elsewhere("symhash"); !ok || o.Print("") != "hash" {
		t.Errorf("symhash: %v", o)
	}
	for _, word := range []string{"", "+", "symhash", "set"} {
		if o, ok := ByWord(word); ok {
			t.Errorf("%q is %v", word, o)
		}
	}
	if _, ok := BySign(""); ok {
		t.Error("no sign is one")
	}
}

// TestWhole: a flow label of 0 stands for none, so no flow has it (RFC 6437).
func TestWhole(t *testing.T) {
	t.Parallel()
	label, port := field.MustByName("ip6_flow"), field.MustByName("udp_src")
	for _, c := range []struct {
		op   Op
		f    *field.Field
		want field.Range
	}{
		{Hash, label, field.Range{Lo: field.V(1), Hi: field.V(0xfffff)}},
		{Random, label, field.Range{Hi: field.V(0xfffff)}},
		{Hash, port, field.Range{Hi: field.V(0xffff)}},
	} {
		if got := c.op.Operand().Whole(c.f); got != c.want {
			t.Errorf("%s %s is of %v, want %v", c.f.Name, c.op.Operand().Word, got, c.want)
		}
	}
}
