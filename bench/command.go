package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

// commandTime is how long another program may run before it is killed.
const commandTime = 2 * time.Minute

// running is the command in a process of its own, with its rules attached.
type running struct {
	cmd    *testnet.Cmd
	cancel context.CancelFunc
	events *json.Decoder
	hook   string // tc, xdp or xdp-generic
}

// event is an object of --json, as far as it is read here.
type event struct {
	Event   string
	Hook    string // of attached
	Message string // of error
	Total   struct{ Matched, Rewritten int }
}

// startRepacket starts the command with these arguments, which must attach rules, and
// waits until they are attached.
func startRepacket(ns *lab.Namespace, binary string, args ...string) (*running, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	r := &running{cmd: testnet.CommandContext(ctx, ns, binary, append([]string{"--json"}, args...)...), cancel: cancel}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	r.events = json.NewDecoder(out)
	attached, err := awaitEvent(r.events, "attached")
	if err != nil {
		cancel()
		_ = r.cmd.Wait()
		return nil, err
	}
	r.hook = attached.Hook
	return r, nil
}

// awaitEvent reads up to an event of that name.
func awaitEvent(d *json.Decoder, name string) (event, error) {
	for {
		var e event
		err := d.Decode(&e)
		switch {
		case errors.Is(err, io.EOF):
			return e, fmt.Errorf("repacket ended without the event %q", name)
		case err != nil:
			return e, fmt.Errorf("read the output of repacket: %w", err)
		case e.Event == "error":
			return e, fmt.Errorf("repacket: %s", e.Message)
		case e.Event == name:
			return e, nil
		}
	}
}

// stop ends the command as Ctrl-C does, and returns how many packets it has rewritten.
func (r *running) stop() (rewritten int, err error) {
	defer r.cancel()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		return 0, errors.Join(err, r.cmd.Wait())
	}
	summary, err := awaitEvent(r.events, "summary")
	return summary.Total.Rewritten, errors.Join(err, r.cmd.Wait())
}

// stopCounted is stop, and holds its count against how many packets were sent.
func (r *running) stopCounted(sent int) error {
	rewritten, err := r.stop()
	if err == nil && rewritten != sent {
		err = fmt.Errorf("%d packets were sent, and %d counted as rewritten", sent, rewritten)
	}
	return err
}
