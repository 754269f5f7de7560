package lab

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"syscall"
)

// Cmd is a command that runs inside a namespace. It is used like the exec.Cmd
// that it holds.
//
// The child is killed when the namespace is closed and when this process dies,
// so that it can never keep the namespace alive.
type Cmd struct {
	*exec.Cmd
	ns *Namespace
}

// Command is exec.Command, but the child runs inside the namespace.
func (n *Namespace) Command(name string, args ...string) *Cmd {
	return n.CommandContext(context.Background(), name, args...)
}

// CommandContext is exec.CommandContext, but the child runs inside the
// namespace.
func (n *Namespace) CommandContext(ctx context.Context, name string, args ...string) *Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return &Cmd{Cmd: cmd, ns: n}
}

// Start is exec.Cmd's Start. The child belongs to the namespace's own thread:
// the parent-death signal follows the thread that started the child, and any
// other thread may end at any time.
func (c *Cmd) Start() error {
	done := make(chan error)
	select {
	case c.ns.starts <- func() { done <- c.Cmd.Start() }:
		return <-done
	case <-c.ns.closed:
		return errors.New("start a command: the network namespace is closed")
	}
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
