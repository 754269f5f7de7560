package cli

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/demo"
	"repacket/internal/doctor"
	"repacket/internal/engine"
	"repacket/internal/guard"
	"repacket/internal/hook"
	"repacket/internal/run"
	"repacket/internal/session"
)

// systemDemo is the demo, in network namespaces that it takes root to make.
func systemDemo(ctx context.Context, out io.Writer) error {
	err := demo.Run(ctx, out)
	if errors.Is(err, unix.EPERM) {
		return &Failure{Status: exitPrivilege, Err: err, Hint: "run it as root: sudo repacket demo"}
	}
	return err
}

func systemKernel() Kernel { return linuxKernel{} }

// linuxKernel is the kernel that this process runs on.
type linuxKernel struct{}

func (linuxKernel) DefaultInterface() (string, error) { return hook.DefaultRoute() }

func (linuxKernel) Interface(name string) (int, error) {
	i, err := hook.Resolve(name)
	return i.Index, err
}

func (linuxKernel) Interfaces() ([]string, error) { return hook.Names() }

func (linuxKernel) Prepare(o run.Options) (run.Prepared, error) { return engine.Prepare(o) }

func (linuxKernel) Connections(r guard.Request) guard.Found { return session.Find(r) }

func (linuxKernel) Detach(t run.Target) (run.Detached, error) { return engine.Detach(t) }

func (linuxKernel) Confirm(t run.Target) (run.Confirmed, error) { return engine.Confirm(t) }

func (linuxKernel) List(iface string) ([]run.Attached, error) { return engine.List(iface) }

func (linuxKernel) ListEverywhere() ([]run.Attached, error) { return engine.ListEverywhere() }

func (linuxKernel) TimePrograms() (io.Closer, error) { return engine.TimePrograms() }

func (linuxKernel) RunTime(program uint32) (time.Duration, uint64, error) {
	return engine.RunTime(program)
}

func (linuxKernel) FirstTold(t run.Target) bool { return engine.FirstTold(t) }

func (linuxKernel) Verify(o run.Options, packets int) (run.Verified, error) {
	return engine.Verify(o, packets)
}

func (linuxKernel) Doctor(iface string) ([]doctor.Row, error) {
	return doctor.Report(doctor.Live{}, iface)
}
