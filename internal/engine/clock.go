package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the CLOCK_MONOTONIC time in nanoseconds that is d from now, as
// programs in the kernel see it: without the offset of a time namespace.
func monotonic(d time.Duration) (uint64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(fmt.Sprintf("engine: no monotonic clock: %v", err)) // it has been there since Linux 2.6
	}
	offsets, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without time namespaces there is none
		return 0, fmt.Errorf("read the offsets of the time namespace: %w", err)
	}
	return uint64(hostTime(now.Nano(), string(offsets)) + int64(d)), nil
}

// hostTime takes from a time of CLOCK_MONOTONIC in nanoseconds what the time
// namespace has added: in the file of offsets the clock has a line with its name,
// seconds and nanoseconds (time_namespaces(7)).
func hostTime(now int64, offsets string) int64 {
	for line := range strings.Lines(offsets) {
		var seconds, rest int64
		if n, _ := fmt.Sscanf(line, "monotonic %d %d", &seconds, &rest); n == 2 {
			return now - seconds*int64(time.Second) - rest
		}
	}
	return now
}
