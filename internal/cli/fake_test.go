package cli

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"repacket/internal/rule"
)

// fake is an environment without a machine: a kernel that does as it is told,
// a clock that stands still until it is moved, and signals on demand.
type fake struct {
	Env
	t       *testing.T
	stdout  buffer
	stderr  buffer
	tty     bool
	vars    map[string]string
	signals chan os.Signal
	kernel  *fakeKernel
	clock   *fakeClock
	hungUp  atomic.Bool
	exit    chan int
}

func newFake(t *testing.T, args ...string) *fake {
	f := &fake{
		t: t, vars: map[string]string{}, signals: make(chan os.Signal), exit: make(chan int, 1),
		kernel: &fakeKernel{hook: "xdp", over: "count", done: make(chan struct{})},
		clock:  &fakeClock{now: time.Unix(1700000000, 0).UTC(), beat: make(chan time.Time)},
	}
	f.Env = Env{
		Args: args, Stdout: &f.stdout, Stderr: &f.stderr,
		Getenv:            func(name string) string { return f.vars[name] },
		IsTerminal:        func(io.Writer) bool { return f.tty },
		Signals:           func(bool) <-chan os.Signal { return f.signals },
		IgnoreBrokenPipes: func() {},
		HungUp:            f.hungUp.Load,
		Exit:              func(status int) { f.exit <- status; select {} },
		TakenByShell:      func() string { return "" },
		Patience:          time.Second,
		FilePatience:      testPatience,
		AsCaller:          func(do func() error) error { return do() },
		Clock:             f.clock,
		Kernel:            f.kernel,
	}
	return f
}

// run carries out a command that ends by itself.
func (f *fake) run() (status int, stdout, stderr string) {
	status = Run(f.Env)
	return status, f.stdout.String(), f.stderr.String()
}

// start carries out a command that goes on until it is stopped.
func (f *fake) start() { go func() { f.exit <- Run(f.Env) }() }

// testPatience is how long a test waits for what must come. It is long because an
// emulated processor that others use too can be 50 times slower than a real one.
const testPatience = 30 * time.Second

// await waits until the text has been written to b.
func (f *fake) await(b *buffer, text string) {
	f.t.Helper()
	deadline := time.After(testPatience)
	for {
		written, more := b.watch()
		if strings.Contains(written, text) {
			return
		}
		select {
		case <-more:
		case <-deadline:
			f.t.Fatalf("%q was not written; there is:\n%s", text, written)
		}
	}
}

func (f *fake) send(s os.Signal) {
	f.t.Helper()
	select {
	case f.signals <- s:
	case <-time.After(testPatience):
		f.t.Fatalf("nobody takes %v", s)
	}
}

// beat moves the clock to a time since the start and lets it beat.
func (f *fake) beat(at time.Duration) {
	f.t.Helper()
	f.clock.set(at)
	select {
	case f.clock.beat <- f.clock.Now():
	case <-time.After(testPatience):
		f.t.Fatal("nobody waits for the beat")
	}
}

func (f *fake) wait() int {
	f.t.Helper()
	select {
	case status := <-f.exit:
		return status
	case <-time.After(testPatience):
		f.t.Fatal("the command goes on")
		return -1
	}
}

// buffer is a bytes.Buffer that can be waited for.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// watch is what has been written, and a channel that is closed when more is.
func (b *buffer) watch() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more == nil {
		b.more = make(chan struct{})
	}
	return b.text.String(), b.more
}

type fakeClock struct {
	mu   sync.Mutex
	now  time.Time
	beat chan time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// set moves the clock to a time since the start.
func (c *fakeClock) set(at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = time.Unix(1700000000, 0).UTC().Add(at)
}

func (c *fakeClock) Tick(time.Duration) (<-chan time.Time, func()) { return c.beat, func() {} }

// fakeKernel has the interfaces eth0, of the default route, and eth1.
type fakeKernel struct {
	mu       sync.Mutex
	hook     string
	note     string
	err      error // of Start, Attach, Detach and List
	unsure   error // of Detach
	countErr error // of Counts
	closeErr error // of Close
	noRoute  bool
	counts   []Count
	attached []Attached
	alone    []LeftAlone
	late     []Advice
	done     chan struct{}
	jobs     []Job         // started or attached
	former   []tally       // what Counts gives behind the rules
	swapErr  error         // of Replace
	swap     chan struct{} // Replace waits for it, if there is one
	swapped  []string      // sources of the rules that Replace was given
	advice   []Advice
	proofs   []proofJob
	closed   int
	closing  chan struct{}      // Close waits for it, if there is one
	renamed  string             // the name that the interface has by now, if it is another
	over     string             // the limit that done tells
	starting func(ready func()) // what Start does before it attaches, if it is set
	findings []Finding
	others   []string // more names that Interfaces gives
}

func (k *fakeKernel) DefaultInterface() (string, error) {
	if k.noRoute {
		return "", usage("name the interface: -i IFACE", "there is no default route")
	}
	return "eth0", nil
}

func (k *fakeKernel) Interface(name string) (string, error) {
	if name != "eth0" && name != "eth1" {
		return "", usage("", "there is no interface %s", name)
	}
	return name, nil
}

func (k *fakeKernel) Number(name string) (int, error) {
	if _, err := k.Interface(name); err != nil {
		return 0, err
	}
	return int(name[3] - '0'), nil
}

func (k *fakeKernel) Interfaces() ([]string, error) {
	return append([]string{"eth0", "eth1"}, k.others...), nil
}

func (k *fakeKernel) Look(j Job) (Site, error) {
	if _, err := k.Interface(j.Interface); err != nil {
		return nil, err
	}
	return fakeSite{k, j}, nil
}

// fakeSite is where a job of the fake kernel is to be done.
type fakeSite struct {
	k   *fakeKernel
	job Job
}

func (s fakeSite) InterfaceName() string { return s.job.Interface }
func (s fakeSite) Advice() []Advice      { return s.k.advice }

func (s fakeSite) Start(ready func()) (Session, error) {
	if s.k.starting != nil {
		s.k.starting(ready)
	} else {
		ready()
	}
	s.k.jobs = append(s.k.jobs, s.job)
	if s.k.err != nil {
		return nil, s.k.err
	}
	return s.k, nil
}

func (s fakeSite) Attach() (Attached, error) {
	k, j := s.k, s.job
	k.jobs = append(k.jobs, j)
	_, there := k.find(j.Interface, j.Direction)
	return Attached{Interface: j.Interface, Direction: j.Direction, Hook: k.hook, Note: k.note, Late: k.late, Replaced: j.Replace && there}, k.err
}

func (k *fakeKernel) Detach(iface, direction string) (Detached, error) {
	_, there := k.find(iface, direction)
	return Detached{there, k.unsure}, k.err
}

func (k *fakeKernel) find(iface, direction string) (Attached, bool) {
	for _, a := range k.attached {
		if a.Interface == iface && a.Direction == direction {
			return a, true
		}
	}
	return Attached{}, false
}

func (k *fakeKernel) List() ([]Attached, error) { return slices.Clone(k.attached), k.err }

func (k *fakeKernel) Verify(j proofJob) (Verified, error) {
	k.proofs = append(k.proofs, j)
	return Verified{Packets: 2 * j.Packets, Acted: j.Packets, Instructions: 47, Nanoseconds: 1.6}, k.err
}

// The kernel is its one session too.

func (k *fakeKernel) InterfaceName() (string, error) {
	return cmp.Or(k.renamed, k.jobs[0].Interface), nil
}
func (k *fakeKernel) Hook() string          { return k.hook }
func (k *fakeKernel) Note() string          { return k.note }
func (k *fakeKernel) Done() <-chan struct{} { return k.done }
func (k *fakeKernel) Over() string          { return k.over }

func (k *fakeKernel) Counts() ([]tally, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tallies(), k.countErr
}

// tallies puts the counts to the rules that were started.
func (k *fakeKernel) tallies() (out []tally) {
	for i, c := range k.counts {
		w := k.jobs[len(k.jobs)-1].Program.Written[i]
		out = append(out, tally{ruleCount: ruleCount{ruleObject{w.Name, w.Text}, c}, Look: w.DryRun})
	}
	return append(out, k.former...)
}

func (k *fakeKernel) Replace(p *rule.Program) error {
	if k.swap != nil { // tells that the rules have been read, and waits
		k.swap <- struct{}{}
		<-k.swap
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.swapped = append(k.swapped, p.Source)
	return k.swapErr
}

func (k *fakeKernel) Late() []Advice { return k.late }

func (k *fakeKernel) LeftAlone() ([]LeftAlone, error) { return k.alone, nil }

func (k *fakeKernel) Close() ([]tally, error) {
	if k.closing != nil { // tells that it has begun, and waits
		k.closing <- struct{}{}
		<-k.closing
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed++
	return k.tallies(), k.closeErr
}

// count sets what the rules have done.
func (k *fakeKernel) count(counts ...Count) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts = counts
}

var errFake = errors.New("the kernel is gone")
