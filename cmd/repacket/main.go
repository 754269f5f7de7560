// Command repacket rewrites header fields of live packets, in the kernel.
package main

import (
	"os"

	"repacket/internal/cli"
)

func main() { os.Exit(cli.Run(cli.System())) }
