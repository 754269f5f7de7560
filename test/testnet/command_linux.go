package testnet

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
)

// Cmd is a command that runs inside a namespace. It is used like the exec.Cmd
// that it holds.
//
// The child is killed when the namespace is closed and when this process dies,
// so that it can never keep the namespace alive.
type Cmd struct {
	*exec.Cmd
	ns *lab.Namespace
}

// Command is exec.Command, but the child runs inside the namespace.
func Command(n *lab.Namespace, name string, args ...string) *Cmd {
	return CommandContext(context.Background(), n, name, args...)
}

// CommandContext is exec.CommandContext, but the child runs inside the
// namespace.
func CommandContext(ctx context.Context, n *lab.Namespace, name string, args ...string) *Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return &Cmd{Cmd: cmd, ns: n}
}

// Start is exec.Cmd's Start. The child belongs to the namespace's own thread:
// the parent-death signal follows the thread that started the child, and any
// other thread may end at any time.
func (c *Cmd) Start() error {
	if err := c.ns.OnThread(c.Cmd.Start); err != nil {
		return fmt.Errorf("start a command: %w", err)
	}
	return nil
}

// Run is exec.Cmd's Run.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output is exec.Cmd's Output, without the piece of stderr in the error.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput is exec.Cmd's CombinedOutput.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// LikeNetnsExec does to the mounts of the calling thread what ip netns exec does: they are its own
// from then on, and /sys is a new one, without what was mounted in it.
func LikeNetnsExec() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "none", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Mount("lab", "/sys", "sysfs", 0, "")
}
