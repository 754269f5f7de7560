package cli

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"repacket/internal/doctor"
	"repacket/internal/guard"
	"repacket/internal/rule"
	"repacket/internal/run"
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
		kernel: &fakeKernel{hook: run.XDP, over: run.LimitCount, done: make(chan struct{})},
		clock:  &fakeClock{now: time.Unix(1700000000, 0).UTC(), beat: make(chan time.Time)},
	}
	f.Env = Env{
		Args: args, Stdout: &f.stdout, Stderr: &f.stderr,
		Getenv:            func(name string) string { return f.vars[name] },
		IsTerminal:        func(io.Writer) bool { return f.tty },
		Width:             func(io.Writer) int { return 0 },
		Height:            func(io.Writer) int { return 0 },
		Signals:           func(bool) <-chan os.Signal { return f.signals },
		IgnoreBrokenPipes: func() {},
		HungUp:            f.hungUp.Load,
		Exit:              func(status int) { f.exit <- status; select {} },
		TakenByShell:      func() string { return "" },
		Patience:          time.Second,
		FilePatience:      testPatience,
		AsCaller:          func(do func() error) error { return do() },
		IsOwn:             func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") },
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
	hook     run.Hook
	note     string
	err      error         // of Start, Attach, Detach and List
	unsure   error         // of Detach
	detached *run.Detached // what Detach gives, if it is set
	countErr error         // of Counts
	closeErr error         // of Close
	noRoute  bool
	counts   []run.Count
	attached []run.Attached
	told     bool // somebody was told that rules went back
	skipped  []run.Skipped
	late     []run.Advice
	done     chan struct{}
	reached  chan run.Limit // what Reached gives
	settled  chan run.Settled
	jobs     []run.Options   // started or attached
	former   []run.RuleCount // what Counts gives behind the rules
	swapErr  error           // of Replace
	swap     chan struct{}   // Replace waits for it, if there is one
	swapped  []string        // sources of the rules that Replace was given
	advice   []run.Advice
	fresh    []run.Advice // of the rules that Replace was given
	proofs   []run.Options
	packets  int // of the last proof
	closed   int
	closing  chan struct{}      // Close waits for it, if there is one
	renamed  string             // the name that the interface has by now, if it is another
	over     run.Limit          // the limit that done tells
	starting func(ready func()) // what Start does before it attaches, if it is set
	findings []doctor.Row
	others   []string        // more names that Interfaces gives
	traffic  *run.Traffic    // what Traffic gives, if it is known
	found    guard.Found     // what Connections gives
	sought   []guard.Request // what it was asked for
}

func (k *fakeKernel) DefaultInterface() (string, error) {
	if k.noRoute {
		return "", usage("name the interface: -i IFACE", "there is no default route")
	}
	return "eth0", nil
}

func (k *fakeKernel) Interface(name string) (int, error) {
	if name != "eth0" && name != "eth1" {
		return 0, usage("", "there is no interface %s", name)
	}
	return int(name[3] - '0'), nil
}

func (k *fakeKernel) Interfaces() ([]string, error) {
	return append([]string{"eth0", "eth1"}, k.others...), nil
}

func (k *fakeKernel) Prepare(o run.Options) (run.Prepared, error) {
	if _, err := k.Interface(o.Interface); err != nil {
		return nil, err
	}
	return fakePrepared{k, o}, nil
}

func (k *fakeKernel) Connections(r guard.Request) guard.Found {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sought = append(k.sought, r)
	return k.found
}

// fakePrepared is a run that the fake kernel has prepared.
type fakePrepared struct {
	k   *fakeKernel
	opt run.Options
}

func (p fakePrepared) Target() run.Target   { return p.opt.Target }
func (p fakePrepared) Advice() []run.Advice { return p.k.advice }

func (p fakePrepared) Start(ready func()) (run.Session, error) {
	if p.k.starting != nil {
		p.k.starting(ready)
	} else {
		ready()
	}
	p.k.jobs = append(p.k.jobs, p.opt)
	if p.k.err != nil {
		return nil, p.k.err
	}
	return p.k, nil
}

func (p fakePrepared) Attach() (run.Attachment, error) {
	k := p.k
	k.jobs = append(k.jobs, p.opt)
	there := k.find(p.opt.Target) != nil
	return run.Attachment{Target: p.opt.Target, Hook: k.hook, Note: k.note, Advice: k.late, Replaced: p.opt.Replace && there, RevertAfter: p.opt.RevertAfter}, k.err
}

func (k *fakeKernel) Detach(t run.Target) (run.Detached, error) {
	if _, err := k.Interface(t.Interface); err != nil {
		return run.Detached{}, err
	}
	if k.detached != nil {
		return *k.detached, nil
	}
	other := run.Target{Interface: t.Interface, Direction: t.Direction.Other()}
	return run.Detached{Target: t, Found: k.find(t) != nil, Other: k.find(other), Unsure: k.unsure}, k.err
}

func (k *fakeKernel) find(t run.Target) *run.Attached {
	for _, a := range k.attached {
		if a.Target == t {
			return &a
		}
	}
	return nil
}

func (k *fakeKernel) Confirm(t run.Target) (run.Confirmed, error) {
	_, err := k.Interface(t.Interface)
	return run.Confirmed{Target: t, Advice: k.late}, cmp.Or(err, k.err)
}

func (k *fakeKernel) FirstTold(run.Target) bool { return !k.told }

func (k *fakeKernel) List(iface string) ([]run.Attached, error) {
	if iface != "" {
		if _, err := k.Interface(iface); err != nil {
			return nil, err
		}
	}
	elsewhere := func(a run.Attached) bool { return iface != "" && a.Interface != iface }
	return slices.DeleteFunc(slices.Clone(k.attached), elsewhere), k.err
}

func (k *fakeKernel) ListEverywhere() ([]run.Attached, error) { return k.attached, k.err }

func (k *fakeKernel) TimePrograms() (io.Closer, error) { return nil, errFake }

func (k *fakeKernel) RunTime(uint32) (time.Duration, uint64, error) { return 0, 0, errFake }

func (k *fakeKernel) Verify(o run.Options, packets int) (run.Verified, error) {
	k.proofs, k.packets = append(k.proofs, o), packets
	return run.Verified{Packets: 2 * packets, Acted: packets, Instructions: 47, Nanoseconds: 1.6}, k.err
}

func (k *fakeKernel) Doctor(iface string) ([]doctor.Row, error) {
	if iface != "" {
		if _, err := k.Interface(iface); err != nil {
			return nil, err
		}
	}
	return k.findings, k.err
}

// The kernel is its one session too.

func (k *fakeKernel) Attachment() run.Attachment {
	a := run.Attachment{Target: k.jobs[0].Target, Hook: k.hook, Note: k.note, Advice: k.late}
	if k.jobs[0].Program.Replies != nil {
		a.Replies = &run.RepliesAt{Direction: a.Direction.Other(), Hook: run.TC, Note: "tc: it leaves"}
	}
	return a
}
func (k *fakeKernel) Done() <-chan struct{} { return k.done }
func (k *fakeKernel) Over() run.Limit       { return k.over }

func (k *fakeKernel) Reached() <-chan run.Limit { return k.reached }

func (k *fakeKernel) Settled() <-chan run.Settled { return k.settled }

func (k *fakeKernel) Counts() (run.Counts, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.total(), k.countErr
}

// total puts the counts to the rules that were started.
func (k *fakeKernel) total() run.Counts {
	out := run.Counts{Skipped: k.skipped}
	for i, c := range k.counts {
		w := k.jobs[len(k.jobs)-1].Program.Written[i]
		out.Rules = append(out.Rules, run.RuleCount{RuleText: run.RuleText{Name: w.Name, Text: w.Text}, Count: c, DryRun: w.DryRun, Verdict: w.Verdict, HasReplies: w.Replies != rule.NoReplies})
	}
	out.Rules = append(out.Rules, k.former...)
	return out
}

func (k *fakeKernel) Replace(p *rule.Program) (run.Attachment, error) {
	if k.swap != nil { // tells that the rules have been read, and waits
		k.swap <- struct{}{}
		<-k.swap
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.swapped = append(k.swapped, p.Source)
	a := k.Attachment()
	a.Interface, a.Note, a.Advice = cmp.Or(k.renamed, a.Interface), "", k.fresh
	a.RevertAfter = k.jobs[0].RevertAfter
	return a, k.swapErr
}

func (k *fakeKernel) Close() (run.Counts, error) {
	if k.closing != nil { // tells that it has begun, and waits
		k.closing <- struct{}{}
		<-k.closing
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed++
	return k.total(), k.closeErr
}

func (k *fakeKernel) Traffic() (run.Traffic, error) {
	if k.traffic == nil {
		return run.Traffic{}, errFake
	}
	return *k.traffic, nil
}

// count sets what the rules have done.
func (k *fakeKernel) count(counts ...run.Count) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts = counts
}

var errFake = errors.New("the kernel is gone")
