//go:build !linux

package cli

import (
	"context"
	"errors"
	"io"
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

func (noKernel) DefaultInterface() (string, error)    { return "", errNeedsLinux }
func (noKernel) Interface(string) (string, error)     { return "", errNeedsLinux }
func (noKernel) Number(string) (int, error)           { return 0, errNeedsLinux }
func (noKernel) Interfaces() ([]string, error)        { return nil, errNeedsLinux }
func (noKernel) Look(Job) (Site, error)               { return nil, errNeedsLinux }
func (noKernel) Detach(_, _ string) (Detached, error) { return Detached{}, errNeedsLinux }
func (noKernel) Verify(proofJob) (Verified, error)    { return Verified{}, errNeedsLinux }
func (noKernel) List() ([]Attached, error)            { return nil, errNeedsLinux }
