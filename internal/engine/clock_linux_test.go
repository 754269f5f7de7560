package engine

import "testing"

// TestMonotonicOffset: the files are those that unshare(1) leaves with
// --monotonic 86400, with --monotonic -5 --boottime 7, and none.
func TestMonotonicOffset(t *testing.T) {
	for text, want := range map[string]int64{
		"monotonic       86400         0\nboottime            0         0\n": 86400e9,
		"monotonic          -5         0\nboottime            7         0\n": -5e9,
		"monotonic           0 999999999\nboottime            0         0\n": 999999999,
		"": 0,
	} {
		if got := monotonicOffset(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
