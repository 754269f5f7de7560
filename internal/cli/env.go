// Package cli is the command: flags and words in, the environment handed in,
// an exit status out. It is the only package that prints.
//
// The output contract: stdout gets only what was asked for (lists, fields,
// what check says, JSON); status, summaries, warnings and errors go to
// stderr. With --json everything that has something to tell, errors included,
// is one object a line on stdout, and stderr stays empty.
package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"time"

	"repacket/internal/run"
	"repacket/internal/sandbox"
)

// Env is all that a command sees of the world around it.
type Env struct {
	// Args are the words of the command line, the program's own name left out.
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// IsTerminal reports whether what is written to w is looked at by a person.
	IsTerminal func(w io.Writer) bool
	// Width is how many columns the terminal has that w is, or 0.
	Width func(w io.Writer) int
	// Height is how many lines it has, or 0.
	Height func(w io.Writer) int
	// TakenByShell is the comparison on the line that a shell has taken for itself,
	// or "".
	TakenByShell func() string
	// Signals begins to catch the signals that stop a run or ask it for a
	// summary, or to read its rules again. Commands that do not call it are ended by
	// them as usual. Without reload, those that would ask to read the rules again stop
	// a run too, unless the process was started to ignore them (nohup).
	Signals func(reload bool) <-chan os.Signal
	// IgnoreBrokenPipes has what is written to a pipe that nobody reads fail, where it
	// else ends the process.
	IgnoreBrokenPipes func()
	// HungUp reports whether the terminal has been closed that the process had.
	HungUp func() bool
	// Exit ends the process with an exit status, whatever it is doing.
	Exit func(status int)
	// Patience is how long a signal that asks to stop waits for what is going on:
	// rules that are being loaded, over which the kernel can take long, or a reader
	// of what is printed who does not read.
	Patience time.Duration
	// FilePatience is how long a file that is read again may not answer: its mount can
	// be dead.
	FilePatience time.Duration
	// Notify tells the service manager a state of a run (sd_notify(3)). Without one it is nil.
	Notify func(state string) error
	Clock  Clock
	Kernel Kernel
	// Elevated: the process has privileges that are not its caller's own, by set-uid
	// or by capabilities. Then it executes no program.
	Elevated bool
	// AsCaller does something with the rights of the caller alone; what the caller
	// names is opened by it.
	AsCaller func(do func() error) error
	// Confine takes from the process what a run does not need once its rules are attached, and returns
	// what it has to leave it, as phrases. nil: nothing is taken.
	Confine func(sandbox.Need) (kept []string, err error)
	// Caller is who called the command, where that is not who the process is.
	Caller sandbox.Caller
	// Broken makes every program wrong on purpose, so that tests see the self-test
	// find it out. Only they set it.
	Broken bool
	// NoSession: the connection by which the caller came is not looked for. Only tests set it.
	NoSession bool
	// Origin is who calls the process, without the command; nil: it is not kept.
	Origin func() run.Origin
	// UserName is the name of a user, or "".
	UserName func(uid int) string
	// Log connects to the system's log, or is nil; what it returns is nil where there is none.
	Log func() Log
	// IsOwn reports whether this machine has an address.
	IsOwn func(netip.Addr) bool
	// Demo tells its story on out until it is over or ctx is. Where there is
	// no demo it is nil.
	Demo func(ctx context.Context, out io.Writer) error
}

// Clock is the time, and a beat.
type Clock interface {
	Now() time.Time
	// Tick sends on the channel every d, until stop is called.
	Tick(d time.Duration) (beat <-chan time.Time, stop func())
}

// System is the environment of a real process. One that has privileges which are not
// its caller's own is first freed of what it has from the caller.
func System() Env {
	raised, notify := elevated(), serviceManager()
	if raised {
		if err := distrust(); err != nil {
			panic(fmt.Sprintf("cli: keep away from the caller: %v", err)) // neither call can fail
		}
	}
	return Env{
		Args:              os.Args[1:],
		Stdin:             os.Stdin,
		Stdout:            os.Stdout,
		Stderr:            os.Stderr,
		Getenv:            os.Getenv,
		IsTerminal:        isTerminal,
		Width:             terminalWidth,
		Height:            terminalHeight,
		TakenByShell:      takenByShell,
		Signals:           catchSignals,
		IgnoreBrokenPipes: ignoreBrokenPipes,
		HungUp:            hungUp(),
		Exit:              os.Exit,
		Patience:          time.Second,
		FilePatience:      10 * time.Second,
		Elevated:          raised,
		AsCaller:          withCallersRights,
		Origin:            callerOrigin,
		UserName:          userName,
		Log:               systemLog,
		Confine:           sandbox.Enter,
		Caller:            caller(),
		IsOwn:             isOwn,
		Notify:            notify,
		Clock:             wallClock{},
		Kernel:            systemKernel(),
		Demo:              systemDemo,
	}
}

// isOwn reports whether an interface has an address.
func isOwn(a netip.Addr) bool {
	all, _ := net.InterfaceAddrs() // without them it is taken for another machine's
	return slices.ContainsFunc(all, func(own net.Addr) bool {
		p, err := netip.ParsePrefix(own.String())
		return err == nil && p.Addr().Unmap() == a
	})
}

// withCallersRights does something with the rights of the caller alone.
func withCallersRights(do func() error) error {
	if elevated() {
		return asCaller(do)
	}
	return do()
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) Tick(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// isTerminal takes every character device but /dev/null for a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

func catchSignals(reload bool) <-chan os.Signal {
	caught := slices.Concat(stopSignals(), summarySignals())
	for _, s := range reloadSignals() {
		if reload || !signal.Ignored(s) {
			caught = append(caught, s)
		}
	}
	// Room for some, so that none is lost while the rules are being attached.
	c := make(chan os.Signal, 8)
	signal.Notify(c, caught...)
	return c
}
