package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/programs"
	"repacket/test/testnet"
)

// hook is where rules are attached: by its word on the command line, on a kernel that is old or
// not.
type hook struct {
	name, word string
	old        bool
}

var hooks = []hook{{"native XDP", "xdp", false}, {"generic XDP", "xdp-generic", false}, {"tcx", "tc", false}, {"clsact", "tc", true}}

// What is on the interface at first, and what takes its place.
const (
	oldRules = "if udp_dest 443 then udp_dest 8080"
	newRules = "if udp_dest 443 then udp_dest 8081"
)

// bed is a pair of namespaces with a stream from left to right, whose right end has the rules.
type bed struct {
	t      *testing.T
	at     hook
	pair   *lab.Pair
	wire   *wire
	ifname string
	folder string // the working folder of the commands
	temp   string // theirs for temporary files
	mark   string
	random *rand.Rand
}

var beds atomic.Int64

func newBed(t *testing.T, at hook, seed uint64) *bed {
	t.Helper()
	n := beds.Add(1)
	// By its name and mark what is left of it is told from what others leave.
	b := &bed{t: t, at: at, ifname: fmt.Sprintf("c%dx%d", os.Getpid(), n), folder: t.TempDir(), temp: t.TempDir(), random: rand.New(rand.NewPCG(seed, uint64(n)))}
	b.mark = fmt.Sprintf("%s=%s.%d", markVariable, b.ifname, seed)
	var err error
	if b.pair, err = lab.NewPair(lab.PairConfig{B: lab.End{Name: b.ifname}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.check(b.pair.Close()) })
	if b.wire, err = newWire(b.pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.check(b.wire.close()) })
	return b
}

func (b *bed) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Error(err)
	}
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// process is a command under way.
type process struct {
	*testnet.Cmd
	b     *bed
	args  []string
	out   bytes.Buffer // both streams
	began time.Time
	ended chan struct{}
}

// prepare makes a command that is yet to be started.
func (b *bed) prepare(env []string, args ...string) *process {
	p := &process{b: b, args: args, ended: make(chan struct{})}
	p.Cmd = testnet.Command(b.pair.B, "/proc/self/exe", append([]string{commandWord}, args...)...)
	p.Dir = b.folder
	p.Env = append(append(os.Environ(), b.mark, "TMPDIR="+b.temp), env...)
	if b.at.old {
		p.Env = append(p.Env, oldVariable+"=1")
	}
	p.Stdout, p.Stderr = &p.out, &p.out
	p.SysProcAttr.Setpgid = true
	return p
}

// start starts it, and has somebody wait for its end.
func (p *process) start() *process {
	p.b.t.Helper()
	p.began = time.Now()
	p.b.must(p.Start())
	go func() {
		_ = p.Wait() // its state says how it has ended
		close(p.ended)
	}()
	return p
}

func (b *bed) start(args ...string) *process {
	b.t.Helper()
	return b.prepare(nil, args...).start()
}

// hangs are commands that have not ended by themselves.
var hangs atomic.Int64

// status waits for the end of a command. That of one that a signal has killed is -1.
func (p *process) status() int {
	p.b.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		hangs.Add(1)
		_ = p.Process.Signal(unix.SIGQUIT) // tells what it waits for, where it does not catch it
		time.AfterFunc(time.Second, func() { _ = p.Process.Kill() })
		<-p.ended
		p.b.t.Errorf("%q does not end: %s", p.args, p.out.String())
	}
	return p.ProcessState.ExitCode()
}

// run runs a command to its end.
func (b *bed) run(args ...string) (status int, out string) {
	b.t.Helper()
	p := b.start(args...)
	status = p.status()
	return status, p.out.String()
}

// does is a command that has to work.
func (b *bed) does(args ...string) string {
	b.t.Helper()
	status, out := b.run(args...)
	if status != 0 {
		b.t.Fatalf("%q: status %d: %s", args, status, out)
	}
	return out
}

// attach attaches rules at the hook of the bed.
func (b *bed) attach(more ...string) {
	b.t.Helper()
	b.does(b.attachArgs(more...)...)
}

func (b *bed) attachArgs(more ...string) []string {
	return append([]string{"attach", "-i", b.ifname, "--hook", b.at.word}, more...)
}

// look is what the kernel has on the interface. Others may change it meanwhile.
func (b *bed) look() (s programs.State) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := b.pair.B.Do(func() (err error) { s, err = programs.Look(b.ifname); return err })
		if err == nil {
			return s
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			b.t.Fatal(err)
		}
	}
}

// acts reports whether a state has programs other than the inert stub of a process that is gone.
func acts(s programs.State) bool {
	return slices.ContainsFunc(s, func(p programs.Program) bool { return !p.Inert() })
}

// awaitNone waits until nothing acts: what a process held goes a moment behind it.
func (b *bed) awaitNone() {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		s := b.look()
		if !acts(s) && b.probe() == untouched { // an inert stub runs what it has until that is taken from it
			return
		}
		if time.Now().After(deadline) {
			traces.Add(1)
			b.t.Errorf("the process is gone, and there is %+v", s)
			return
		}
	}
}

// probe is what packets meet now.
func (b *bed) probe() met {
	b.t.Helper()
	c, err := b.wire.burst(1)
	b.must(err)
	b.count(c)
	for m, n := range c.met {
		if n > 0 {
			return met(m)
		}
	}
	b.t.Error("a packet was lost with nothing going on")
	return untouched
}

// The figures.
var traces, lostPackets, twicePackets, untouchedPackets, streamed atomic.Int64

func (b *bed) count(c tally) {
	b.t.Helper()
	streamed.Add(int64(c.sent()))
	lostPackets.Add(int64(c.lost))
	twicePackets.Add(int64(c.twice))
	if c.lost+c.twice > 0 {
		b.t.Errorf("of %d packets %d were lost, %d came twice", c.sent(), c.lost, c.twice)
	}
}

// listed is an entry of list.
type listed struct {
	Event, Interface, Direction, Missing string
}

// list is what repacket list says of the interface.
func (b *bed) list() (all []listed) {
	b.t.Helper()
	for line := range strings.Lines(b.does("list", "--json", "-i", b.ifname)) {
		var l listed
		b.must(json.Unmarshal([]byte(line), &l))
		if l.Event == "program" {
			all = append(all, l)
		}
	}
	return all
}

// clean detaches what is there, by the command, and finds nothing left behind.
func (b *bed) clean() {
	b.t.Helper()
	b.does("detach", "-i", b.ifname)
	if s := b.look(); len(s) > 0 {
		b.trace("detach has left %+v", s)
	}
	if m := b.probe(); m != untouched {
		b.trace("detach has been, and packets meet %v", m)
	}
	b.files()
}

// trace tells of something that was left.
func (b *bed) trace(format string, args ...any) {
	b.t.Helper()
	traces.Add(1)
	b.t.Errorf(format, args...)
}

// known are the files that the commands have been given or asked for.
var known = []string{"in.pcap", "out.pcap", "out.pcapng", "rules", "two", "out.o"}

// files finds no files that nobody has asked for.
func (b *bed) files() {
	b.t.Helper()
	for _, folder := range []string{b.folder, b.temp} {
		all, err := os.ReadDir(folder)
		b.must(err)
		for _, f := range all {
			if folder == b.temp || !slices.Contains(known, f.Name()) {
				b.trace("a file is left: %s", f.Name())
				b.check(os.RemoveAll(filepath.Join(folder, f.Name())))
			}
		}
	}
}

// end finds no trace of the bed on the machine: no process, and no program or map, of this
// interface, which has no other's name. What is neither attached nor pinned nor held by a process
// the kernel has removed.
func (b *bed) end() {
	b.t.Helper()
	b.clean()
	for deadline := time.Now().Add(patience); ; {
		left := b.left()
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			b.trace("%s", left)
			return
		}
	}
}

// left is something that is left, or "".
func (b *bed) left() string {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range environs {
		text, err := os.ReadFile(e)
		if err == nil && bytes.Contains(text, []byte(b.mark)) {
			return "a process is left: " + e
		}
	}
	maps, err := programs.Metadata(b.ifname)
	if err != nil {
		return err.Error()
	}
	if len(maps) > 0 {
		return fmt.Sprintf("maps are left: %v", maps)
	}
	pins := ""
	err = filepath.WalkDir("/sys/fs/bpf", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(filepath.Base(path), "repacket") {
			pins = path
		}
		return nil
	})
	if err != nil || pins != "" {
		return fmt.Sprintf("pinned: %s %v", pins, err)
	}
	if named, _ := os.ReadDir("/run/netns"); slices.ContainsFunc(named, func(e fs.DirEntry) bool { return strings.Contains(e.Name(), "repacket") }) {
		return fmt.Sprintf("network namespaces: %v", named)
	}
	return ""
}

// wasKilled reports whether a process has ended by a signal.
func (p *process) wasKilled() bool {
	s, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	return ok && s.Signaled()
}
