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

// TestHostClock: the epoch is as near as the clocks were read, stays where it may be right, and
// follows a clock that was set.
func TestHostClock(t *testing.T) {
	t.Parallel()
	const second, year = 1e9, 3e16
	var c hostClock
	for _, read := range []struct {
		begun, wall, ended, want int64
	}{
		{5 * second, year + 5*second + 400, 5*second + 900, year - 500},              // not known better
		{6 * second, year + 6*second + 50, 6*second + 100, year - 50},                // and now it is
		{7 * second, year + 7*second + 20, 9 * second, year - 50},                    // interrupted: it may still be so
		{10 * second, year - 90*second + 30, 10*second + 60, year - 100*second + 30}, // set back
		{11 * second, year + 11*second + 30, 11*second + 40, year - 10},              // and forward
	} {
		if c.set(read.begun, read.wall, read.ended); c.epoch.UnixNano() != read.want {
			t.Errorf("%+v: the epoch is %d", read, c.epoch.UnixNano())
		}
	}
}
