package field

import (
	"testing"

	"pgregory.net/rapid"
)

// width is small enough to try every value.
const width = 5

// members is a set as a list of its values, which the properties are about.
func members(s Set) (in [1 << width]bool) {
	for v := range in {
		in[v] = s.Contains(V(uint64(v)))
	}
	return in
}

func drawRanges(t *rapid.T) []Range {
	one := rapid.Custom(func(t *rapid.T) Range {
		v := rapid.Uint64Range(0, 1<<width-1)
		return Range{V(v.Draw(t, "lo")), V(v.Draw(t, "hi"))}
	})
	return rapid.SliceOfN(one, 0, 6).Draw(t, "ranges")
}

func TestSetProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ranges, more := drawRanges(t), drawRanges(t)
		a, b := NewSet(ranges...), NewSet(more...)
		inA, inB := members(a), members(b)
		union, both, rest := members(a.Union(b)), members(a.Intersect(b)), members(a.Complement(width))
		count, meet := 0, false
		for v := range inA {
			meet = meet || inA[v] && inB[v]
			want := false
			for _, r := range ranges {
				want = want || r.Lo.Lo <= uint64(v) && uint64(v) <= r.Hi.Lo
			}
			if inA[v] != want {
				t.Fatalf("%d in %v: %v", v, a, inA[v])
			}
			if union[v] != (inA[v] || inB[v]) || both[v] != (inA[v] && inB[v]) || rest[v] == inA[v] {
				t.Fatalf("%d: a %v b %v union %v both %v rest %v", v, inA[v], inB[v], union[v], both[v], rest[v])
			}
			if inA[v] {
				count++
			}
		}
		if a.Empty() != (count == 0) || a.Full(width) != (count == 1<<width) {
			t.Fatalf("%v has %d values: empty %v full %v", a, count, a.Empty(), a.Full(width))
		}
		if _, one := a.Single(); one != (count == 1) {
			t.Fatalf("%v has %d values: single %v", a, count, one)
		}
		if a.Meets(b) != meet {
			t.Fatalf("%v meets %v: %v", a, b, a.Meets(b))
		}
		if a.Equal(b) != (inA == inB) {
			t.Fatalf("%v equal %v: %v", a, b, a.Equal(b))
		}
	})
}

// TestSetAtTheTop tries the place where the next value does not fit.
func TestSetAtTheTop(t *testing.T) {
	t.Parallel()
	for _, w := range []int{1, 16, 32, 64, 128} {
		top := One(Ones(w))
		if got := top.Complement(w).Union(top); !got.Full(w) {
			t.Errorf("width %d: the top and the rest are %v", w, got)
		}
		if !All(w).Complement(w).Empty() || !(Set{}).Complement(w).Full(w) {
			t.Errorf("width %d: all and nothing are not each other's complement", w)
		}
	}
}
