package engine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWindowSorts: records that are out of order by less than the window come out in order, each
// once, and none before its place can be known.
func TestWindowSorts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		n := 1 + r.IntN(4*windowSize)
		var in []held
		for i := range n {
			in = append(in, held{time: uint64(10 * i), start: uint64(i)})
		}
		for i := 0; i+windowSize/2 <= n; i += windowSize / 2 { // each stays within half a window
			part := in[i : i+windowSize/2]
			r.Shuffle(len(part), func(a, b int) { part[a], part[b] = part[b], part[a] })
		}
		var w window
		var out []uint64
		for _, h := range in {
			if oldest, full := w.push(h); full {
				out = append(out, oldest.time)
			}
			if r.IntN(20) == 0 { // a turn ends: nothing is older than this that is still to come
				for before := uint64(10*len(out) + 10); ; {
					oldest, ok := w.pop(before)
					if !ok {
						break
					}
					out = append(out, oldest.time)
				}
			}
			if first := w.begins(math.MaxUint64); first != math.MaxUint64 && slices.Contains(out, 10*first) {
				t.Fatalf("seed %d: the record at %d is held and has come out", seed, first)
			}
		}
		for {
			oldest, ok := w.pop(math.MaxUint64)
			if !ok {
				break
			}
			out = append(out, oldest.time)
		}
		if !slices.IsSorted(out) || len(out) != n || out[0] != 0 || out[n-1] != uint64(10*(n-1)) {
			t.Fatalf("seed %d: %d records come out as %v", seed, n, out)
		}
	}
}
