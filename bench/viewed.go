package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

// viewed is the command with its stdout on a terminal, as a person has it who looks at packets.
type viewed struct {
	cmd      *testnet.Cmd
	cancel   context.CancelFunc
	master   *os.File
	stderr   *bufio.Reader
	reading  sync.WaitGroup
	from     sync.Once
	terminal int // lines that the terminal was shown
}

// startViewed starts the command and waits until its rules are attached. A terminal that does not
// read begins to when it is to end.
func startViewed(ns *lab.Namespace, binary string, reads bool, args ...string) (_ *viewed, err error) {
	master, slave, err := openTerminal()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, slave.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	w := &viewed{cmd: testnet.CommandContext(ctx, ns, binary, args...), cancel: cancel, master: master}
	w.cmd.Stdout = slave
	stderr, err := w.cmd.StderrPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, errors.Join(err, master.Close())
	}
	if reads {
		w.read()
	}
	w.stderr = bufio.NewReader(stderr)
	for line := ""; !strings.Contains(line, "Ctrl-C") && !attachedLine.MatchString(line); {
		if line, err = w.stderr.ReadString('\n'); err != nil {
			cancel()
			return nil, errors.Join(fmt.Errorf("no rules were attached: %w", err), w.cmd.Wait(), master.Close())
		}
	}
	return w, nil
}

// attachedLine is the line that says that the rules are attached.
var attachedLine = regexp.MustCompile(`^\S+: (native XDP|generic XDP|tc)`)

// read begins to read the terminal.
func (w *viewed) read() {
	w.from.Do(func() {
		w.reading.Go(func() {
			for lines := bufio.NewReader(w.master); ; w.terminal++ {
				if _, err := lines.ReadString('\n'); err != nil { // EIO when the command has ended
					return
				}
			}
		})
	})
}

// What the summary says.
var (
	rewrittenPackets = regexp.MustCompile(`(?m)^rewrite (\d+) pkts in `)
	savedPackets     = regexp.MustCompile(`(?m)^(\d+) packets? written to `)
)

// stop ends the command as Ctrl-C does, and tells how many packets were shown or saved. That all were
// rewritten is held against how many were sent.
func (w *viewed) stop(sent int) (seen int, err error) {
	defer w.cancel()
	signalled := w.cmd.Process.Signal(os.Interrupt)
	w.read()
	said, reading := io.ReadAll(w.stderr)
	err = errors.Join(signalled, reading, w.cmd.Wait())
	w.reading.Wait()
	if err := errors.Join(err, w.master.Close()); err != nil {
		return 0, fmt.Errorf("%w: %s", err, said)
	}
	if n := numberIn(rewrittenPackets, said); n != sent {
		return 0, fmt.Errorf("%d packets were sent, and %d counted as rewritten", sent, n)
	}
	return w.terminal + numberIn(savedPackets, said), nil
}

// numberIn is the number in a text, or 0.
func numberIn(what *regexp.Regexp, text []byte) int {
	m := what.FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return n
}

// openTerminal makes a terminal.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	number := 0
	if err == nil {
		number, err = unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make a terminal: %w", err), master.Close())
	}
	return master, slave, nil
}
