package engine

import (
	"fmt"

	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/internal/why"
)

// miss notes why rules did not act on a packet, as the reference says.
func (b *bench) miss(frame []byte, got reference.Result) {
	if b.loaded.why == nil {
		return
	}
	if b.missed == nil {
		b.missed = map[int]*why.Sum{}
	}
	for _, m := range reference.Why(b.link, b.program, b.loaded.why.tests, frame, len(frame), got) {
		slot := why.Slot(m.Test, m.Miss)
		if b.missed[slot] == nil {
			b.missed[slot] = &why.Sum{Values: map[field.Value]uint64{}}
		}
		b.missed[slot].Packets++
		b.missed[slot].Values[m.Seen]++
	}
}

// checkWhy compares why rules did not act, over all packets.
func (b *bench) checkWhy() error {
	if b.loaded.why == nil {
		return nil
	}
	sums, err := b.loaded.why.sums()
	if err != nil {
		return err
	}
	for slot, got := range sums {
		want := b.missed[slot]
		if want == nil {
			want = &why.Sum{}
		}
		if different := differs(got, *want); different != "" {
			test, m := why.TestOf(slot)
			t := b.loaded.why.tests[test]
			return b.differs(DifferenceError{Missed: fmt.Sprintf("rule %d, %s, way %d: %s", t.Rule+1, t.Text, m, different)})
		}
	}
	return nil
}

// differs says how what a program has counted differs from what it should have, or "". Where a row
// has room for all of its values, each is counted exactly; else as not more.
func differs(got, want why.Sum) string {
	if got.Packets != want.Packets {
		return fmt.Sprintf("%d packets, expected %d", got.Packets, want.Packets)
	}
	var values [why.Rows]int
	for v := range want.Values {
		values[why.Row(v)]++
	}
	for v, n := range got.Values {
		if n > want.Values[v] {
			return fmt.Sprintf("%v seen in %d packets, expected %d", v, n, want.Values[v])
		}
	}
	for v, n := range want.Values {
		if values[why.Row(v)] <= why.Ways && got.Values[v] != n {
			return fmt.Sprintf("%v seen in %d packets, expected %d", v, got.Values[v], n)
		}
	}
	return ""
}
