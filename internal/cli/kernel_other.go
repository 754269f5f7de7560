//go:build !linux

package cli

import (
	"context"
	"errors"
	"io"
	"time"

	"repacket/internal/doctor"
	"repacket/internal/guard"
	"repacket/internal/run"
)

// systemDemo: there is no demo where there are no network namespaces.
var systemDemo func(ctx context.Context, out io.Writer) error

func systemKernel() Kernel { return noKernel{} }

// noKernel stands where rules can be checked but packets not be reached.
type noKernel struct{}

var errNeedsLinux = &Failure{
	Status: exitUnsupported,
	Err:    errors.New("live packets need Linux"),
	Hint:   "repacket check and repacket fields work here",
}

func (noKernel) DefaultInterface() (string, error)         { return "", errNeedsLinux }
func (noKernel) Interface(string) (int, error)             { return 0, errNeedsLinux }
func (noKernel) Interfaces() ([]string, error)             { return nil, errNeedsLinux }
func (noKernel) Prepare(run.Options) (run.Prepared, error) { return nil, errNeedsLinux }
func (noKernel) Connections(guard.Request) guard.Found     { return guard.Found{} }
func (noKernel) Detach(run.Target) (run.Detached, error)   { return run.Detached{}, errNeedsLinux }
func (noKernel) Confirm(run.Target) (run.Confirmed, error) { return run.Confirmed{}, errNeedsLinux }
func (noKernel) List(string) ([]run.Attached, error)       { return nil, errNeedsLinux }
func (noKernel) FirstTold(run.Target) bool                 { return false }
func (noKernel) ListEverywhere() ([]run.Attached, error)   { return nil, errNeedsLinux }
func (noKernel) TimePrograms() (io.Closer, error)          { return nil, errNeedsLinux }
func (noKernel) RunTime(uint32) (time.Duration, uint64, error) {
	return 0, 0, errNeedsLinux
}

func (noKernel) Verify(run.Options, int) (run.Verified, error) {
	return run.Verified{}, errNeedsLinux
}
func (noKernel) Doctor(string) ([]doctor.Row, error) { return nil, errNeedsLinux }
