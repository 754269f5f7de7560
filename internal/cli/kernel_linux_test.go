package cli

import (
	"fmt"
	"io/fs"
	"testing"
)

// TestKernelsFilesMissing: a container without /sys or /proc is told what it lacks.
func TestKernelsFilesMissing(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]struct {
		status int
		hint   string
	}{
		"/sys/devices/system/cpu/possible": {exitUnsupported, "the kernel's files are looked for in /sys: mount -t sysfs sys /sys"},
		"/proc/self/mountinfo":             {exitUnsupported, "the kernel's files are looked for in /proc: mount -t proc proc /proc"},
		"/system/file":                     {exitFailed, ""},
	} {
		err := fmt.Errorf("make the counters: %w", &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist})
		if status, hint := explain(err); status != want.status || hint != want.hint {
			t.Errorf("%s: %d, %q", path, status, hint)
		}
	}
}
