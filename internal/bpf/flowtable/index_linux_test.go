package flowtable

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
)

// countMarks counts the marks in the index.
func countMarks(t *testing.T, m *ebpf.Map) (n int) {
	t.Helper()
	value, err := m.LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	buckets := (len(value) - 64) / 704
	for at := 64 + 640*buckets; at < len(value); at += 4 {
		if binary.LittleEndian.Uint32(value[at:]) != 0 {
			n++
		}
	}
	return n
}

// TestOtherVersionGoes: where a flow takes the place of one of the other version of IP, the index forgets that one.
func TestOtherVersionGoes(t *testing.T) {
	table, m := testTable(t, 1) // two buckets
	four, six := loadTest(t, table, false, caller(wordsIP)), loadTest(t, table, true, caller(wordsIP6))
	flow := func(form Form, n uint64) call {
		c := call{form: form, owner: 1, key: [wordsIP6]uint64{17 << 32, n}, value: [wordsIP6]uint64{17<<32 | 99, n}}
		if form > 3 {
			c.key[4], c.value[4] = n, n
		}
		return c
	}
	for round, form := range []Form{4, 1, 6, 3, 2} {
		p, words := four, wordsIP
		if form > 3 {
			p, words = six, wordsIP6
		}
		for n := range uint64(14) {
			c := flow(form, n)
			if c.kind = track; c.run(t, p, words).result != Tracked {
				t.Fatalf("form %d, flow %d is not tracked", form, n)
			}
			c.kind, c.key, c.value = original, c.value, c.key
			if got := c.run(t, p, words); got.result != 1 || got.value != c.value {
				t.Errorf("form %d, flow %d: found %+v", form, n, got)
			}
		}
		if n := countMarks(t, m); n != 14 {
			t.Errorf("round %d: %d marks of 14 flows", round, n)
		}
	}
}
