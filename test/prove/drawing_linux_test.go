package prove

import (
	"math/rand/v2"
	"sync"

	"repacket/internal/field"
	"repacket/test/rulegen"
)

// drawing draws rule sets, the same ones for a seed.
type drawing struct {
	sync.Mutex
	seed, next uint64
	left       int
}

// some draws up to n rule sets that the checker takes.
func (d *drawing) some(n int) []*trial {
	d.Lock()
	defer d.Unlock()
	var out []*trial
	for len(out) < n && d.left > 0 {
		d.next++
		r := rand.New(rand.NewPCG(d.seed, d.next))
		style := rulegen.Style{Redirect: []string{elsewhere}, Operands: d.next%3 != 0, Chance: d.next%2 == 0}
		if d.next%onRaw == 0 {
			style.Link = field.RawIP
		}
		style.Replies = d.next%withReplies == 0
		s := rulegen.Source{Text: style.Program(r)}
		if d.next%withRows == 0 {
			s = style.Source(r)
		}
		s.Replies = style.Replies && r.IntN(3) > 0
		p, err := s.Check()
		if err != nil {
			continue
		}
		out = append(out, &trial{subject: subject{style.Link, s, p}, number: d.next, r: r})
		d.left--
	}
	return out
}
