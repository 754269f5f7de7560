package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

// startRule is the rule that is started, and startNFT the same for nft.
const (
	startRule = "if udp_src 1000 then udp_dest 5202"
	startNFT  = `table netdev bench {
	chain in {
		type filter hook ingress device "left" priority 0;
		udp sport 1000 udp dport set 5202
	}
}
`
)

// starting is a way to bring the rule into the kernel.
type starting struct {
	name string
	// once does it and undoes it, and returns the time that doing it took, and
	// as much of it as the kernel waited in the call that attaches.
	once        func() (whole, waited time.Duration, err error)
	whole, work []float64 // milliseconds
	memory      int64     // the most, in KiB, 0 if not known
}

// startPart shows how long starting takes, and what it takes.
func startPart(o options) (_ string, err error) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	ways, done, err := startings(o, pair.A)
	if err != nil {
		return "", err
	}
	defer done()
	for range o.starts {
		for _, s := range ways {
			whole, waited, err := s.once()
			if err != nil {
				return "", fmt.Errorf("%s: %w", s.name, err)
			}
			s.whole = append(s.whole, milliseconds(whole))
			s.work = append(s.work, milliseconds(whole-waited))
		}
	}
	size, err := sizes(o, pair.A)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("From exec to the rule in the kernel: milliseconds, %d times in turn.\n\n%s\n%s", o.starts, startTable(ways), size), nil
}

func startTable(ways []*starting) *table {
	t := &table{words: 1}
	t.add("", "whole", "lowest", "highest", "without the attach call's wait", "lowest", "highest", "most memory")
	for _, s := range ways {
		t.add(s.name, median(s.whole), slices.Min(s.whole), slices.Max(s.whole),
			median(s.work), slices.Min(s.work), slices.Max(s.work), mebibytes(s.memory*1024))
	}
	return t
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

func mebibytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// startings are the ways to start.
func startings(o options, ns *lab.Namespace) (ways []*starting, done func(), err error) {
	var cleanups []func()
	done = func() {
		for _, f := range cleanups {
			f()
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	trace, err := newTracer()
	if err != nil {
		return nil, nil, err
	}
	cleanups = append(cleanups, trace.close)
	cc, err := newCompiler()
	if err != nil {
		return nil, nil, err
	}
	cleanups = append(cleanups, cc.close)
	return []*starting{startOurs(o, ns, trace), startNft(ns), startClang(cc)}, done, nil
}

func startOurs(o options, ns *lab.Namespace, trace *tracer) *starting {
	s := &starting{name: "repacket -i left --hook xdp " + startRule}
	s.once = func() (whole, waited time.Duration, err error) {
		if err := trace.forget(); err != nil {
			return 0, 0, err
		}
		r, err := startProcess(o, ns)
		if err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, r.stop()) }()
		if waited, err = trace.longest(r.cmd.Process.Pid); err != nil {
			return 0, 0, err
		}
		memory, err := r.memory()
		s.memory = max(s.memory, memory)
		return r.attached, waited, err
	}
	return s
}

// process is a running repacket.
type process struct {
	cmd      *testnet.Cmd
	lines    *bufio.Reader
	attached time.Duration // from exec until it says so
}

// hookLine reads up to the line that names the hook: a warning comes first.
func (p *process) hookLine() (string, error) {
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "left: ") {
			return line, err
		}
	}
}

// startProcess starts the rule and waits for the line that names the hook.
func startProcess(o options, ns *lab.Namespace) (*process, error) {
	args := append([]string{"-i", "left", "--hook", "xdp"}, strings.Fields(startRule)...)
	p := &process{cmd: testnet.Command(ns, o.binary, args...)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(stderr)
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := p.hookLine()
	p.attached = time.Since(began)
	if err == nil && !strings.Contains(line, "native XDP") {
		err = fmt.Errorf("it says %q", line)
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// stop ends the process as Ctrl-C does.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, p.lines); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// memory is the most that the process has had in memory so far, in KiB.
func (p *process) memory() (kib int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err := fmt.Sscan(rest, &kib)
			return kib, err
		}
	}
	return 0, errors.New("the kernel does not say how much memory the process has had")
}

func startNft(ns *lab.Namespace) *starting {
	s := &starting{name: "nft -f"}
	s.once = func() (whole, waited time.Duration, err error) {
		cmd := testnet.Command(ns, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(startNFT)
		began := time.Now()
		out, err := cmd.CombinedOutput()
		whole = time.Since(began)
		if err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, out)
		}
		s.memory = max(s.memory, peak(cmd.Cmd))
		return whole, 0, testnet.Command(ns, "nft", "delete", "table", "netdev", "bench").Run()
	}
	return s
}

// startClang compiles and loads, once for every start. The way
// from there to the interface is left out.
func startClang(cc *compiler) *starting {
	s := &starting{name: "clang -O2 and load"}
	s.once = func() (whole, waited time.Duration, err error) {
		cmd, object := cc.command("port", "v3", countFirst)
		defer func() { err = errors.Join(err, os.Remove(object)) }()
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, out)
		}
		p, err := cc.load(&benchRule{name: "port"}, "v3", countFirst)
		if err != nil {
			return 0, 0, err
		}
		whole = time.Since(began)
		p.close()
		s.memory = max(s.memory, peak(cmd))
		return whole, 0, nil
	}
	return s
}

// peak is the most that a process which has ended had in memory, in KiB.
func peak(cmd *exec.Cmd) int64 {
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return usage.Maxrss
	}
	return 0
}

// watched is how long the memory of a running process is watched.
const watched = 3 * time.Second

// sizes says what a running process takes, and the size of the binary.
func sizes(o options, ns *lab.Namespace) (string, error) {
	p, err := startProcess(o, ns)
	if err != nil {
		return "", err
	}
	time.Sleep(watched)
	memory, err := p.memory()
	if err := errors.Join(err, p.stop()); err != nil {
		return "", err
	}
	info, err := os.Stat(o.binary)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Most memory after %v of running: %s. The binary: %s.\n", watched, mebibytes(memory*1024), mebibytes(info.Size())), nil
}
