package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"repacket/test/kernels/job"
)

// emulator is qemu's for the machines that we know kernels of.
const emulator = "qemu-system-x86_64"

// machine is a virtual machine. It has a processor, memory and two serial
// lines, and no network.
type machine struct {
	kernel, initrd string
	console        string // file for what the kernel says
	log            string // file for what the tests say
}

// command says how the machine is run. One processor: with two, 6.12 panics
// under emulation when XDP programs are swapped under traffic. After a panic
// the kernel restarts at once, which -no-reboot makes the machine's end.
func (m machine) command(ctx context.Context) *exec.Cmd {
	return exec.CommandContext(ctx, emulator,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1024",
		"-kernel", m.kernel, "-initrd", m.initrd,
		"-append", "console=ttyS0 panic=-1",
		"-serial", "file:"+m.console, "-serial", "stdio")
}

// listener takes what comes out of the machine.
type listener interface {
	release(name string)
	begin(pkg string)
	output(line string)
	end(result string)
}

// boot runs the machine to the end.
func boot(ctx context.Context, m machine, l listener) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := m.command(ctx)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	to, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	log, err := os.Create(m.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := cmd.Start(); err != nil {
		return err
	}
	err = listen(ctx, io.TeeReader(from, log), to, l)
	if err != nil {
		err = errors.Join(err, ctx.Err())
		stop() // it has nothing more to tell
	}
	if waited := cmd.Wait(); err == nil {
		err = waited
	}
	if err = errors.Join(err, consoleFault(m.console)); err == nil {
		return nil
	}
	return fmt.Errorf("%w %s\n%s", err, complaints.String(), tail(m.console))
}

// listen reads the results to their end. What is to be compiled meanwhile is
// answered.
func listen(ctx context.Context, from io.Reader, to io.Writer, l listener) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return errors.New("the virtual machine ended before its tests did")
		}
		mark, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch mark {
		case job.Release:
			l.release(value)
		case job.Begin:
			l.begin(value)
		case job.End:
			l.end(value)
		case job.Compile:
			if err := compile(ctx, value, to); err != nil {
				return err
			}
		case job.Broken:
			return fmt.Errorf("in the virtual machine: %s", value)
		case job.Done:
			_, err := io.Copy(io.Discard, lines)
			return err
		default:
			l.output(line)
		}
	}
}

// fault is how the kernel tells that it found a fault in itself.
var fault = regexp.MustCompile(`(?m)^.*(Kernel panic|Oops|BUG: |WARNING: CPU).*$`)

// consoleFault looks for a fault of the kernel's own.
func consoleFault(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if line := fault.Find(text); line != nil {
		return fmt.Errorf("the kernel said: %s (see %s)", line, path)
	}
	return nil
}

// tail is the end of a file, for people to read.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return path + " ends with:\n  " + strings.Join(lines[max(0, len(lines)-25):], "\n  ")
}
