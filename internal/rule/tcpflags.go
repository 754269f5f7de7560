package rule

import (
	"math/bits"
	"strings"

	"repacket/internal/syntax"
)

// flagLists notes where a list of tcp_flags holds flags one by one: elsewhere
// such a list is a set of flags, here it is one value or another.
func (c *checker) flagLists(e Expr) {
	for _, t := range find[Test](e) {
		if flags := loneFlags(t); len(flags) > 1 {
			c.warn(syntax.Note, t.At, "", "tcp_flags is each of these alone: %s", strings.Join(flags, " or ")).
				Propose(syntax.Replace("for all of them, whatever else is set: ", t.At, "tcp_"+strings.Join(flags, " on tcp_")+" on", ""))
		}
	}
}

// loneFlags are the names of the flags that a test of tcp_flags is for, if each
// value that it takes is a single flag.
func loneFlags(t Test) (flags []string) {
	if t.Field.Name != "tcp_flags" || len(t.Cells) > 0 {
		return nil
	}
	for _, r := range t.In {
		for v := r.Lo.Lo; v <= r.Hi.Lo; v++ {
			word := t.Field.Names.Word(v)
			if bits.OnesCount64(v) != 1 || word == "" {
				return nil
			}
			flags = append(flags, word)
		}
	}
	return flags
}
