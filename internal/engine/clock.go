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
	offsets, err := timeOffsets()
	return uint64(hostTime(clock(unix.CLOCK_MONOTONIC), offsets) + int64(d)), err
}

// clock is the time of a clock in nanoseconds.
func clock(id int32) int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(id, &now); err != nil {
		panic(fmt.Sprintf("engine: no clock %d: %v", id, err)) // it has been there since Linux 2.6
	}
	return now.Nano()
}

// timeOffsets are the offsets of the time namespace, or "" where there are no such namespaces.
func timeOffsets() (string, error) {
	offsets, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the offsets of the time namespace: %w", err)
	}
	return string(offsets), nil
}

// hostClock turns times of CLOCK_MONOTONIC in the kernel into times on the wall. The two clocks run
// alike but where somebody sets the one on the wall.
type hostClock struct {
	offset int64 // of CLOCK_MONOTONIC in the time namespace, in nanoseconds
	// epoch is when CLOCK_MONOTONIC was 0, as the clock on the wall says.
	epoch time.Time
}

func newHostClock() (c hostClock, err error) {
	offsets, err := timeOffsets()
	c.offset = -hostTime(0, offsets)
	for range 5 { // one of them is not interrupted
		c.adjust()
	}
	return c, err
}

// now is CLOCK_MONOTONIC in nanoseconds, as programs in the kernel see it.
func (c *hostClock) now() uint64 { return uint64(clock(unix.CLOCK_MONOTONIC) - c.offset) }

// adjust asks whether somebody has set the clock on the wall.
func (c *hostClock) adjust() {
	begun := clock(unix.CLOCK_MONOTONIC)
	wall := clock(unix.CLOCK_REALTIME)
	c.set(begun-c.offset, wall, clock(unix.CLOCK_MONOTONIC)-c.offset)
}

// set is told the time on the wall, which was read between two of CLOCK_MONOTONIC. What may come
// from the time between these does not change the epoch: packets would be out of order.
func (c *hostClock) set(begun, wall, ended int64) {
	least, most := time.Unix(0, wall-ended), time.Unix(0, wall-begun)
	switch {
	case c.epoch.Before(least):
		c.epoch = least
	case c.epoch.After(most):
		c.epoch = most
	}
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
