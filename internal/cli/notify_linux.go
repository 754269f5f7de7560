package cli

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reloadingState says that the rules are being read again. The manager takes the next READY=1
// for an answer to this by the time (sd_notify(3)).
func reloadingState() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}
