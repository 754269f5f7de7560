package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/programs"
	"repacket/test/testnet"
)

// event is a line of --json, as far as it is looked at here.
type event struct {
	Event     string
	Interface string
	Found     bool
}

// outcome is what a command with a fault has led to.
type outcome struct {
	calls  []call
	status int
	events []event
	output string         // as it came, both streams
	during programs.State // while a run runs
}

// told reports whether an event of a name was told, and is the first of them.
func (o *outcome) told(name string) (event, bool) {
	for _, e := range o.events {
		if e.Event == name {
			return e, true
		}
	}
	return event{}, false
}

// execute runs a command in a namespace with one fault. A run is looked at when it has
// told that it is attached, and is then asked to stop.
func execute(ns *lab.Namespace, args []string, at hook, runs bool, f fault) (*outcome, error) {
	numbers, toParent, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer numbers.Close()
	cmd := testnet.Command(ns, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childArgs+"="+strings.Join(args, "\n"))
	cmd.ExtraFiles = []*os.File{toParent}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	toParent.Close()
	if err != nil {
		return nil, err
	}
	o := &outcome{}
	supervised := make(chan error, 1)
	go func() {
		var err error
		o.calls, err = supervise(process{pid: cmd.Process.Pid, old: at.old}, numbers, f)
		supervised <- err
	}()
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	var during error
	for lines.Scan() {
		o.output += lines.Text() + "\n"
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			during = errors.Join(during, fmt.Errorf("%q: %w", lines.Text(), err))
			continue
		}
		o.events = append(o.events, e)
		if e.Event == "attached" && runs {
			during = errors.Join(during, ns.Do(func() (err error) { o.during, err = programs.Look(ifname); return err }), cmd.Process.Signal(unix.SIGINT))
		}
	}
	err = cmd.Wait()
	o.output += stderr.String()
	o.status = cmd.ProcessState.ExitCode()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil
	}
	return o, errors.Join(err, lines.Err(), during, <-supervised)
}

// supervise takes the listener of a child, whose number comes by a pipe, and decides
// how its system calls end.
func supervise(p process, numbers *os.File, f fault) ([]call, error) {
	var listener int
	_, err := fmt.Fscanln(bufio.NewReader(numbers), &listener)
	if err != nil {
		return nil, fmt.Errorf("read the number of the listener: %w", err)
	}
	p.pidfd, err = unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(p.pidfd)
	own, err := unix.PidfdGetfd(p.pidfd, listener, 0)
	if err != nil {
		return nil, fmt.Errorf("take the listener: %w", err)
	}
	defer unix.Close(own)
	return p.supervise(own, f)
}
