package engine

import "testing"

// TestHostTime: the files are those that unshare(1) leaves with --monotonic 86400,
// with --monotonic -5 --boottime 7, and none. A clock of the namespace is that of
// the host with the offset added (time_namespaces(7)).
func TestHostTime(t *testing.T) {
	const host = 1000e9
	for text, now := range map[string]int64{
		"monotonic       86400         0\nboottime            0         0\n": 87400e9,
		"monotonic          -5         0\nboottime            7         0\n": 995e9,
		"monotonic           0 999999999\nboottime            0         0\n": 1000999999999,
		"": 1000e9,
	} {
		if got := hostTime(now, text); got != host {
			t.Errorf("%q: %d, want %.0f", text, got, host)
		}
	}
}
