package live

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// patience is how long a test waits for what has to come.
const patience = 5 * time.Second

// site is where rules run.
type site struct {
	mode run.Hook
	dir  run.Direction
}

func (s site) String() string { return s.mode.String() + " " + s.dir.String() }

// sites are all hooks and directions that there are.
var (
	native    = site{run.XDP, run.In}
	generic   = site{run.GenericXDP, run.In}
	tcIngress = site{run.TC, run.In}
	tcEgress  = site{run.TC, run.Out}

	sites   = []site{native, generic, tcIngress, tcEgress}
	tcSites = []site{tcIngress, tcEgress}
)

// spot is a site on an interface.
type spot struct {
	site
	ns   *lab.Namespace
	name string
	link field.Link
	// redirect are interfaces that rules redirect to.
	redirect map[string]int
	// fragments: packets may lie in several buffers.
	fragments bool
	limit     uint64
	clang     bool // by the program in C
	// shown has the packets that are recorded, or is nil.
	shown chan run.Packet
}

// rules are rules that run at a spot.
type rules struct {
	t      *testing.T
	at     spot
	loaded *engine.Loaded
	handle hook.Handle
	n      int // rules as written
	text   string
}

// load makes a program for the spot.
func (s spot) load(t *testing.T, text string) (*engine.Loaded, int) {
	t.Helper()
	p, err := rule.CheckWith(text, rule.Options{Open: networks})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	o := engine.LoadOptions{Link: s.link, Redirect: s.redirect, Fragments: s.fragments, Limit: s.limit, Clang: s.clang}
	if s.mode == run.TC {
		o.Hook = bpf.TC
	}
	if s.shown != nil {
		o.Record = recordingInto(s.shown)
	}
	l, err := engine.Load(p, o)
	if err != nil {
		t.Fatalf("%s (%s): %v", text, s, err)
	}
	if s.shown != nil {
		check(t, l.Deliver(run.Packet{Direction: s.dir, Hook: s.mode, Program: p, Link: s.link}))
	}
	return l, len(p.Written)
}

// run lets rules run at the spot until the test is over.
func (s spot) run(t *testing.T, text string) *rules {
	t.Helper()
	r := s.start(t, text)
	t.Cleanup(r.stop)
	return r
}

// start lets rules run at the spot until they are stopped.
func (s spot) start(t *testing.T, text string) *rules {
	t.Helper()
	r := &rules{t: t, at: s, text: text}
	r.loaded, r.n = s.load(t, text)
	r.in(func() (err error) {
		r.handle, err = hook.Link(s.index(t), s.dir, r.loaded.Program, s.mode)
		return err
	})
	return r
}

func (s spot) index(t *testing.T) int {
	t.Helper()
	ifi, err := net.InterfaceByName(s.name)
	if err != nil {
		t.Fatal(err)
	}
	return ifi.Index
}

// in calls f in the spot's namespace.
func (r *rules) in(f func() error) {
	r.t.Helper()
	if err := r.at.ns.Do(f); err != nil {
		r.t.Fatalf("%s at %s: %v", r.at, r.at.name, err)
	}
}

// swap puts other rules in the place of those that run. Their counters begin
// at 0.
func (r *rules) swap(text string) {
	r.t.Helper()
	loaded, n := r.at.load(r.t, text)
	r.in(func() error { return r.handle.Update(loaded.Program) })
	check(r.t, r.loaded.Close())
	r.loaded, r.n, r.text = loaded, n, text
}

// what are the rules, for messages.
func (r *rules) what() string {
	if r == nil {
		return "no rules"
	}
	return r.text
}

// stop takes the rules off; doing it again does nothing.
func (r *rules) stop() {
	r.t.Helper()
	if r.handle == nil {
		return
	}
	r.in(r.handle.Close)
	r.handle = nil
	check(r.t, r.loaded.Close())
}

// counted is what the rules have counted, and behind that, at tc, what was left
// alone, by reason.
func (r *rules) counted() []bpf.Counter {
	r.t.Helper()
	info, err := r.loaded.Program.Info()
	if err != nil {
		r.t.Fatal(err)
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			r.t.Fatal(err)
		}
		defer m.Close()
		if i, err := m.Info(); err == nil && i.Name == hook.CountersMapName {
			return addUp(r.t, m, r.n+bpf.ReasonCount)
		}
	}
	return make([]bpf.Counter, r.n+bpf.ReasonCount) // rules that cannot act have none
}

func addUp(t *testing.T, m *ebpf.Map, n int) []bpf.Counter {
	t.Helper()
	out := make([]bpf.Counter, n)
	for i := range out {
		var perCPU []bpf.Counter
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			t.Fatal(err)
		}
		for _, c := range perCPU {
			out[i].Packets += c.Packets
			out[i].Bytes += c.Bytes
		}
	}
	return out
}

// alone is how many packets were skipped for a reason.
func (r *rules) alone(why bpf.Reason) uint64 {
	r.t.Helper()
	return r.counted()[r.n+int(why)].Packets
}

// wants compares all counters with what the first rule should have counted:
// nothing is skipped.
func (r *rules) wants(what string, first bpf.Counter) {
	r.t.Helper()
	for i, c := range r.counted() {
		want := bpf.Counter{}
		if i == 0 {
			want = first
		}
		if c != want {
			r.t.Errorf("%s: counter %d is %+v, want %+v", what, i, c, want)
		}
	}
}

// bench is a veth pair with a site: frames go in at left, and are looked at
// behind the rules and behind all hooks, at the right end's tc ingress.
type bench struct {
	t      *testing.T
	site   site
	pair   *lab.Pair
	left   *testnet.Port
	behind *testnet.Skbs
	at     *spot   // where the rules are, if it is not at an end of the pair
	rules  **rules // those of all subtests
}

// newBench makes a bench; without a config the pair is one on which packets
// are what they would be on a cable.
func newBench(t *testing.T, s site, cfg lab.PairConfig) *bench {
	t.Helper()
	needRoot(t)
	pair, err := lab.NewPair(cfg)
	fatal(t, err)
	t.Cleanup(func() { check(t, pair.Close()) })
	b := makeBench(t, s, pair)
	b.left = openPort(t, pair.A, pair.Config.A.Name, leftMAC)
	b.behind = watch(t, pair.B, pair.Config.B.Name, testnet.In)
	return b
}

// makeBench is a bench without eyes.
func makeBench(t *testing.T, s site, pair *lab.Pair) *bench {
	b := &bench{t: t, site: s, pair: pair, rules: new(*rules)}
	t.Cleanup(func() {
		if *b.rules != nil {
			(*b.rules).stop()
		}
	})
	return b
}

// onSites runs a test on a bench of each site.
func onSites(t *testing.T, list []site, cfg lab.PairConfig, test func(b *bench)) {
	for _, s := range list {
		t.Run(s.String(), func(t *testing.T) { test(newBench(t, s, cfg)) })
	}
}

// on is the bench for a subtest.
func (b *bench) on(t *testing.T) *bench {
	sub := *b
	sub.t = t
	return &sub
}

// spot is where the site is: egress rules sit at the left end.
func (b *bench) spot() spot {
	if b.at != nil {
		return *b.at
	}
	if b.site.dir == run.Out {
		return spot{site: b.site, ns: b.pair.A, name: b.pair.Config.A.Name}
	}
	return spot{site: b.site, ns: b.pair.B, name: b.pair.Config.B.Name}
}

// use lets these rules run, in the place of any others.
func (b *bench) use(text string) *rules {
	b.t.Helper()
	if *b.rules == nil {
		*b.rules = b.spot().start(b.t, text)
	} else {
		(*b.rules).t = b.t
		(*b.rules).swap(text)
	}
	return *b.rules
}

// next is the next packet behind the rules.
func (b *bench) next() testnet.Skb {
	b.t.Helper()
	skb, err := b.behind.Receive(time.Now().Add(patience))
	if err != nil {
		b.t.Fatalf("%s: %v", (*b.rules).what(), err)
	}
	return skb
}

// cross sends a frame and returns what arrives of it.
func (b *bench) cross(sent []byte) []byte {
	b.t.Helper()
	fatal(b.t, b.left.Send(sent))
	return whole(b.next())
}

// send sends a frame that may be dropped: at egress the sender is told.
func (b *bench) send(sent []byte) {
	b.t.Helper()
	if err := b.left.Send(sent); !errors.Is(err, unix.ENOBUFS) {
		fatal(b.t, err)
	}
}

// whole is a packet as it would be on a cable as far as tags go.
func whole(s testnet.Skb) []byte { return testnet.Packet{Data: s.Data, VLAN: s.VLAN}.Frame() }

// rewrites runs a rule, sends the frame in and wants it to come out as want,
// counted with its length.
func (b *bench) rewrites(text string, sent, want []byte) {
	b.t.Helper()
	b.crosses(text, sent, want, bpf.Counter{Packets: 1, Bytes: uint64(len(sent))})
}

// leaves is rewrites for a frame that no rule may touch or count.
func (b *bench) leaves(text string, sent []byte) {
	b.t.Helper()
	b.crosses(text, sent, sent, bpf.Counter{})
}

func (b *bench) crosses(text string, sent, want []byte, count bpf.Counter) {
	b.t.Helper()
	r := b.use(text)
	same(b.t, text, sent, want, b.cross(sent))
	r.wants(text, count)
}

func same(t *testing.T, what string, sent, want, got []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s\nsent %x\nwant %x\ngot  %x", what, sent, want, got)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("live tests need root: sudo make test")
	}
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openPort(t *testing.T, ns *lab.Namespace, name string, from net.HardwareAddr) *testnet.Port {
	t.Helper()
	p, err := testnet.OpenPort(ns, name, from)
	fatal(t, err)
	t.Cleanup(func() { check(t, p.Close()) })
	return p
}

func openCapture(t *testing.T, ns *lab.Namespace, name string, cfg testnet.CaptureConfig) *testnet.Capture {
	t.Helper()
	c, err := testnet.OpenCapture(ns, name, cfg)
	fatal(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

func watch(t *testing.T, ns *lab.Namespace, name string, d testnet.Direction) *testnet.Skbs {
	t.Helper()
	s, err := testnet.WatchSkbs(ns, name, d)
	fatal(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after %v", what, patience)
		}
	}
}

// nothing wants that no packet has come to a watcher.
func nothing(t *testing.T, what string, s *testnet.Skbs) {
	t.Helper()
	if skb, err := s.Receive(time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: got %x, %v", what, skb.Data, err)
	}
}
