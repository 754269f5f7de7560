package cli

import (
	"errors"
	"testing"
	"time"
)

// wantUsage expects the failure of a wrong command line.
func wantUsage(t *testing.T, err error, msg, hint string) {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a *Failure", err)
	}
	if f.Status != exitUsage || f.Error() != msg || f.Hint != hint {
		t.Errorf("got status %d, %q, hint %q\nwant status 2, %q, hint %q", f.Status, f.Error(), f.Hint, msg, hint)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		count, duration string
		wantCount       uint64
		wantDuration    time.Duration
	}{
		{"", "", 0, 0},
		{"1", "", 1, 0},
		{"18446744073709551615", "", 1<<64 - 1, 0},
		{"", "30s", 0, 30 * time.Second},
		{"5", "1h30m", 5, 90 * time.Minute},
		{"", "250ms", 0, 250 * time.Millisecond},
	} {
		o := options{count: tt.count, duration: tt.duration}
		err := o.checkLimits()
		count, duration := o.limit, o.lasts
		if err != nil || count != tt.wantCount || duration != tt.wantDuration {
			t.Errorf("-c %q --for %q: got %d, %v, %v", tt.count, tt.duration, count, duration, err)
		}
	}
}

func TestLimitErrors(t *testing.T) {
	t.Parallel()
	const c = "-c takes a number of packets from 1 up, not "
	const d, above = "--for takes a duration such as 30s, 5m or 24h, not ", "--for takes a duration above 0, not "
	const units = "the units are ms, s, m and h, up to 2000000h"
	for _, tt := range []struct{ count, duration, msg, hint string }{
		{"0", "", c + `"0"`, "-c 10"},
		{"-1", "", c + `"-1"`, "-c 10"},
		{"ten", "", c + `"ten"`, "-c 10"},
		{"1.5", "", c + `"1.5"`, "-c 10"},
		{"18446744073709551616", "", c + `"18446744073709551616"`, "-c 10"},
		{"", "30", d + `"30"`, "for seconds: --for 30s"},
		{"", "0", above + `"0"`, ""},
		{"", "0s", above + `"0s"`, ""},
		{"", "-3s", above + `"-3s"`, ""},
		{"", "soon", d + `"soon"`, units},
		{"", "9999999h", d + `"9999999h"`, units},
		{"", "7d", d + `"7d"`, "in hours: --for 168h"},
	} {
		o := options{count: tt.count, duration: tt.duration}
		err := o.checkLimits()
		wantUsage(t, err, tt.msg, tt.hint)
	}
}
