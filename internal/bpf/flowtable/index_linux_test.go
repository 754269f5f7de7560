package flowtable

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
)

// countMarks counts the marks in the index.
func countMarks(t *testing.T, m *ebpf.Map) (n int) {
	t.Helper()
	n, _ = marksOf(t, m)
	return n
}

// marksOf counts the marks in the index, and those of the bucket that has most.
func marksOf(t *testing.T, m *ebpf.Map) (all, most int) {
	t.Helper()
	value, err := m.LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	buckets := (len(value) - 128) / 704
	for at := 128 + 640*buckets; at < len(value); at += 64 {
		here := 0
		for i := range 16 {
			if binary.LittleEndian.Uint32(value[at+4*i:]) != 0 {
				here++
			}
		}
		all, most = all+here, max(most, here)
	}
	return all, most
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

// TestBusy: who meets a bucket that stays busy says so in the end, and takes no flow of it for a
// missing one.
func TestBusy(t *testing.T) {
	for _, words := range []int{wordsIP, wordsIP6} {
		table, m := testTable(t, 1)
		ip6 := words == wordsIP6
		p := loadTest(t, table, ip6, caller(words))
		entered := call{kind: track, form: FormOf(ip6, 1), owner: 7}
		for word := range words {
			entered.key[word], entered.value[word] = uint64(10+word), uint64(20+word)
		}
		byKey, byValue := entered, entered
		byKey.kind, byValue.kind, byValue.key = find, original, entered.value
		calls := []struct {
			name       string
			call       call
			free, busy uint32
		}{
			{"track", entered, 0, 2},
			{"find", byKey, 7, 1 << 16},
			{"find by value", byValue, 7, 1 << 16},
		}
		check := func(busy bool) {
			for _, c := range calls {
				want := c.free
				if busy {
					want = c.busy
				}
				if got := c.call.run(t, p, words).result; got != want {
					t.Errorf("%d words, busy: %v: %s returns %d, want %d", words, busy, c.name, got, want)
				}
			}
		}
		check(false)
		moveSequences(t, m)
		check(true)
		moveSequences(t, m)
		check(false)
	}
}

// moveSequences adds one to the sequence number of each bucket, as who begins and who ends to write there does.
func moveSequences(t *testing.T, m *ebpf.Map) {
	t.Helper()
	value, err := m.LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	buckets := (len(value) - 128) / 704
	for b := range buckets {
		binary.LittleEndian.PutUint32(value[128+640*b:], 1+binary.LittleEndian.Uint32(value[128+640*b:]))
	}
	if err := m.Put(uint32(0), value); err != nil {
		t.Fatal(err)
	}
}
