//go:build !linux

package cli

import (
	"os"

	"repacket/internal/run"
)

// callerOrigin is who calls this process.
func callerOrigin() run.Origin { return run.Origin{UID: os.Getuid()} }
