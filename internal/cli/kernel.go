package cli

import (
	"io"
	"time"

	"repacket/internal/doctor"
	"repacket/internal/guard"
	"repacket/internal/run"
)

// Kernel is what the commands ask of the layers that touch the kernel. Class of package
// run says what kind of failure an error is.
type Kernel interface {
	// DefaultInterface is the interface of the default route.
	DefaultInterface() (string, error)
	// Interface is the number of an interface.
	Interface(name string) (index int, err error)
	// Interfaces are the names of all interfaces.
	Interfaces() ([]string, error)
	// Prepare inspects the target of a run, which it does not begin. Its errors are those
	// that are known before.
	Prepare(run.Options) (run.Prepared, error)
	// Connections finds the connections that rules on an interface may cut off.
	Connections(guard.Request) guard.Found
	// Detach detaches ours from a target, all sets of rules where there are more than one.
	Detach(run.Target) (run.Detached, error)
	// Confirm has rules of a target stay that would go back.
	Confirm(run.Target) (run.Confirmed, error)
	// List finds the rules of ours on an interface, or with "" on all of them.
	List(iface string) ([]run.Attached, error)
	// ListEverywhere is List of all interfaces in all network namespaces.
	ListEverywhere() ([]run.Attached, error)
	// TimePrograms has the kernel measure how long eBPF programs run, until what it gives is
	// closed; RunTime is how long one has run since, and how often.
	TimePrograms() (io.Closer, error)
	RunTime(program uint32) (time.Duration, uint64, error)
	// FirstTold reports whether nobody was told before that rules of a target went back by
	// themselves; it is so once.
	FirstTold(run.Target) bool
	// Verify tests in the kernel, on a number of packets, that a program does what its rules
	// say.
	Verify(opt run.Options, packets int) (run.Verified, error)
	// Doctor examines the machine and an interface, or with "" all of them.
	Doctor(iface string) ([]doctor.Row, error)
}
