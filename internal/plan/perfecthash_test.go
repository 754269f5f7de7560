package plan

import (
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// hashTable is the only table of a rule with rows, and it is a Hash.
func hashTable(t *testing.T, text, rows string) *Table {
	t.Helper()
	p, err := rule.CheckWith(text, rule.Options{Open: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(rows)), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := BuildTables(p, field.Ethernet)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tables) != 1 || out.Tables[0].Kind != Hash {
		t.Fatalf("want one hash, not %d tables", len(out.Tables))
	}
	return out.Tables[0]
}

// find is the number of the row that the key comes to, or -1: what a program
// does, in the words of the doc comments.
func find(t *Table, key []uint32) int {
	s := t.PerfectHash()
	h := s.Hash(key)
	slot := h * uint64(s.Multipliers[h>>s.BucketShift()]) >> s.SlotShift()
	row := int(s.Slots[slot])
	if row < 0 {
		row = s.Spare
	}
	there := make([]uint32, len(key))
	t.Key(row, there)
	if !slices.Equal(there, key) {
		return -1
	}
	return row
}

// TestScatter: every row is found by its key, the first of those that share one,
// and no other key finds any. Keys are of one window to eight.
func TestScatter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, rule string
		windows    int
		row        func(r *rand.Rand) string // the values of the key
	}{
		{"addresses", "if ip_dest @a then ttl @d", 1, func(r *rand.Rand) string { return fmt.Sprintf("10.%d.0.%d,0,0", r.IntN(256), r.IntN(256)) }},
		{"addresses in a row", "if ip_dest @a then ttl @d", 1, func(r *rand.Rand) string { return fmt.Sprintf("10.0.%d.%d,0,0", r.IntN(4), r.IntN(256)) }},
		{"few", "if ip_dest @a then ttl @d", 1, func(r *rand.Rand) string { return fmt.Sprintf("0.0.0.%d,0,0", r.IntN(9)) }},
		{"MACs", "if eth_src @a then ttl @d", 2, func(r *rand.Rand) string { return fmt.Sprintf("02:00:00:00:%02x:%02x,0,0", r.IntN(256), r.IntN(256)) }},
		{"flows", "if ip_src @a ip_dest @b udp_dest @c then ttl @d", 3, func(r *rand.Rand) string {
			return fmt.Sprintf("10.0.0.%d,10.0.%d.0,%d", r.IntN(256), r.IntN(256), r.IntN(9))
		}},
		{"IPv6", "if ip6_dest @a then ip6_hlim @d", 4, func(r *rand.Rand) string { return fmt.Sprintf("2001:db8:%x::%x,0,0", r.IntN(256), r.IntN(256)) }},
		{"pairs of IPv6", "if ip6_src @a ip6_dest @b then ip6_hlim @d", 8, func(r *rand.Rand) string {
			return fmt.Sprintf("%x::%x,%x::,0", r.IntN(256), r.IntN(256), r.IntN(256))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(8, uint64(test.windows)))
			lines := []string{"a,b,c,d"}
			for range 3000 {
				lines = append(lines, fmt.Sprintf("%s,%d", test.row(r), r.IntN(256)))
			}
			table := hashTable(t, test.rule+" from rows.csv", strings.Join(lines, "\n"))
			if table.Len() != 3000 || len(table.key) != test.windows {
				t.Fatalf("%d rows with keys of %d windows", table.Len(), len(table.key))
			}
			first := map[string]int{} // by the key's own text, as it was read
			for i, line := range lines[1:] {
				if _, known := first[keyText(test.rule, line)]; !known {
					first[keyText(test.rule, line)] = i
				}
			}
			key := make([]uint32, test.windows)
			known := map[string]bool{}
			for i, line := range lines[1:] {
				table.Key(i, key)
				known[fmt.Sprint(key)] = true
				if got, want := find(table, key), first[keyText(test.rule, line)]; got != want {
					t.Fatalf("row %d (%s): found %d, not %d", i, line, got, want)
				}
			}
			for range 20000 {
				for i := range key { // most of them near those that are there
					key[i] ^= 1 << r.IntN(32)
				}
				if got := find(table, key); got >= 0 && !known[fmt.Sprint(key)] {
					t.Fatalf("key %x is in no row, and found row %d", key, got)
				}
				if r.IntN(8) == 0 {
					table.Key(r.IntN(3000), key)
				}
			}
		})
	}
}

// keyText is what of a row the rule asks for.
func keyText(rule, line string) string {
	return strings.Join(strings.Split(line, ",")[:strings.Count(rule, "@")-1], ",")
}

// TestScatterTriesAgain: keys that the first factor gives one hash, and a bucket
// whose keys no multiplier parts, are placed by another factor.
func TestScatterTriesAgain(t *testing.T) {
	t.Parallel()
	first := mixed(0) | 1
	inverse := uint64(1) // modulo 2^64: each step doubles the bits that are right
	for range 6 {
		inverse *= 2 - first*inverse
	}
	var same, close strings.Builder
	fold := func(h uint64) uint64 { return h ^ h>>32 }
	for i := range uint64(20) {
		p := 0x1234567800000000 + i
		pair, last := p*inverse, uint32(fold(p)^fold(0x1234567800000000))
		fmt.Fprintf(&same, "%s,%s,%d\n", inMemory(uint32(pair)), inMemory(uint32(pair>>32)), bits.ReverseBytes32(last))
	}
	for i := range 8 {
		fmt.Fprintf(&close, "0.0.%d.0\n", i)
	}
	for name, test := range map[string]struct{ rule, rows string }{
		"one hash":          {"if ip_src @a ip_dest @b tcp_seq @c then ip_ttl 9 from rows.csv", "a,b,c\n" + same.String()},
		"none of the slots": {"if ip_dest @a then ip_ttl 9 from rows.csv", "a\n" + close.String()},
	} {
		t.Run(name, func(t *testing.T) {
			table := hashTable(t, test.rule, test.rows)
			if table.tryPerfectHash(0) != nil {
				t.Fatal("the first try does not fail: it shows nothing")
			}
			key := make([]uint32, len(table.key))
			for row := range table.Len() {
				table.Key(row, key)
				if got := find(table, key); got != row {
					t.Errorf("row %d: found %d", row, got)
				}
			}
			if table.PerfectHash().Factor == first {
				t.Error("the factor is still the first")
			}
		})
	}
}

// TestScatterGrows: many failures in a row bring more slots.
func TestScatterGrows(t *testing.T) {
	t.Parallel()
	table := hashTable(t, "if ip_dest @a then ip_ttl 9 from rows.csv", "a\n"+strings.Repeat("10.0.0.1\n10.0.0.2\n10.0.0.3\n", 9))
	least, most := 1<<30, 0
	for try := range 3 * triesASize {
		if s := table.tryPerfectHash(try); s != nil {
			least, most = min(least, len(s.Slots)), max(most, len(s.Slots))
		}
	}
	if most != 4*least {
		t.Errorf("from %d slots to %d", least, most)
	}
}

// inMemory is the address whose bytes are those of a little-endian number.
func inMemory(v uint32) string {
	return fmt.Sprintf("%d.%d.%d.%d", v&255, v>>8&255, v>>16&255, v>>24)
}
