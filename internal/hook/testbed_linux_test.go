package hook

import (
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// Verdicts of tc, from linux/pkt_cls.h.
const (
	tcUnspec = -1 // go on
	tcOK     = 0  // accept: those behind are not asked
)

// tcHook is a way of a tc program and a direction, for tests over all of them.
type tcHook struct {
	way Way
	dir run.Direction
}

var tcHooks = []tcHook{{ByTCX, run.In}, {ByTCX, run.Out}, {ByClsact, run.In}, {ByClsact, run.Out}}

func (h tcHook) String() string { return h.way.String() + " " + h.dir.String() }

func tcRole(h tcHook) string { return "link " + h.String() }

// onTC runs a test on each tc hook, in a pair of its own.
func onTC(t *testing.T, test func(t *testing.T, w wire, h tcHook)) {
	for _, h := range tcHooks {
		t.Run(h.String(), func(t *testing.T) {
			withWay(t, h.way)
			onWire(t, func(w wire) { test(t, w, h) })
		})
	}
}

// withWay makes tc be what it is without tcx, if that is asked for.
func withWay(t *testing.T, way Way) {
	before := noTCX
	if way == ByTCX {
		needTCX(t)
	}
	t.Cleanup(func() { noTCX = before })
	noTCX = way == ByClsact
}

// needTCX skips a test on kernels before 6.6.
func needTCX(t *testing.T) {
	t.Helper()
	_, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress}) // lo
	if errors.Is(err, unix.EINVAL) {
		t.Skip("this kernel has no tcx")
	}
}

// wire is a pair; the test is at left, whose number is ifindex.
type wire struct {
	*lab.Pair
	ifindex     int
	left, right *testnet.Port
}

func onWire(t *testing.T, test func(w wire)) {
	t.Helper()
	var index int
	w := wire{Pair: inPair(t, lab.PairConfig{}, func(ifindex int) { index = ifindex }), ifindex: index}
	w.left, w.right = openPort(t, w.A, "left"), openPort(t, w.B, "right")
	if err := w.A.Do(func() error { test(w); return nil }); err != nil {
		t.Fatal(err)
	}
}

func openPort(t *testing.T, ns *lab.Namespace, name string) *testnet.Port {
	t.Helper()
	port, err := testnet.OpenPort(ns, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	return port
}

// send sends frames that pass left in the direction, and waits until the last
// has arrived.
func (w wire) send(t *testing.T, dir run.Direction, n int) {
	t.Helper()
	from, to := w.right, w.left
	if dir == run.Out {
		from, to = w.left, w.right
	}
	for range n {
		// To all; EtherType 0x88b5 is for local experiments (IEEE 802).
		frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5}, make([]byte, 46)...)
		if err := from.Send(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Receive(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
}

// tcProgram counts packets, where there is a counter, and gives a verdict.
func tcProgram(name string, counter *ebpf.Map, verdict int32) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: name, Type: ebpf.SchedCLS, License: "MIT",
		Instructions: append(counting(counter), asm.Mov.Imm(asm.R0, verdict), asm.Return()),
	}
}

// counting are instructions that add one to a counter.
func counting(counter *ebpf.Map) asm.Instructions {
	if counter == nil {
		return nil
	}
	return asm.Instructions{
		asm.LoadMapValue(asm.R1, counter.FD(), 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
	}
}

func newCounter(t *testing.T) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func count(t *testing.T, counter *ebpf.Map) (n uint64) {
	t.Helper()
	if err := counter.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func wantCount(t *testing.T, what string, counter *ebpf.Map, want uint64) {
	t.Helper()
	if got := count(t, counter); got != want {
		t.Errorf("%s: counted %d packets, want %d", what, got, want)
	}
}

func loadSpec(t *testing.T, spec *ebpf.ProgramSpec) *ebpf.Program {
	t.Helper()
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog
}

// counted loads a program of ours that counts.
func counted(t *testing.T, meta Meta) (*ebpf.Program, *ebpf.Map) {
	t.Helper()
	counter := newCounter(t)
	prog := loadSpec(t, tcProgram(ProgramName, counter, tcUnspec))
	if err := Label(prog, meta, nil); err != nil {
		t.Fatal(err)
	}
	return prog, counter
}

// wantFree expects nothing of ours, and no qdisc, for both directions.
func wantFree(t *testing.T, ifindex int) {
	t.Helper()
	for _, dir := range []run.Direction{run.In, run.Out} {
		found, err := Find(ifindex, dir)
		var nothing *NotAttachedError
		if !errors.As(err, &nothing) {
			t.Errorf("%s: found %+v, error %v, want nothing", dir, found, err)
		}
	}
	wantQdisc(t, ifindex, "")
}

func wantQdisc(t *testing.T, ifindex int, want string) {
	t.Helper()
	conn, err := newTCConn()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	if got, err := conn.qdisc(ifindex); err != nil || got != want {
		t.Errorf("the interface has qdisc %q, %v, want %q", got, err, want)
	}
}

func wantFound(t *testing.T, ifindex int, dir run.Direction, prog *ebpf.Program) *Program {
	t.Helper()
	found, err := Find(ifindex, dir)
	if err != nil {
		t.Fatalf("find (%s): %v", dir, err)
	}
	if want := programID(t, prog); found.ProgramID != want {
		t.Errorf("%s: program %d is there, want %d", dir, found.ProgramID, want)
	}
	return found
}

// tcAttachments attach a tc program and return what detaches it.
var tcAttachments = []struct {
	name   string
	attach func(t *testing.T, ifindex int, dir run.Direction, prog *ebpf.Program) (off func())
}{
	{"link", func(t *testing.T, ifindex int, dir run.Direction, prog *ebpf.Program) func() {
		t.Helper()
		h, err := Link(ifindex, dir, prog, run.TC)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
	}},
	{"give", func(t *testing.T, ifindex int, dir run.Direction, prog *ebpf.Program) func() {
		t.Helper()
		if err := Attach(ifindex, dir, prog, run.TC); err != nil {
			t.Fatal(err)
		}
		return func() {
			a, err := Find(ifindex, dir)
			if err == nil {
				err = Detach(a)
			}
			if err != nil {
				t.Error(err)
			}
			var nothing *NotAttachedError
			if err := Detach(a); !errors.As(err, &nothing) || nothing.Direction != dir {
				t.Errorf("taken twice: %v", err)
			}
		}
	}},
}

// attachOthers attaches like another tool: at clsact with preference 1 and
// handle 1.
func attachOthers(t *testing.T, ifindex int, h tcHook, prog *ebpf.Program) {
	t.Helper()
	if h.way == ByTCX {
		if _, err := attachTCX(attachPoint{ifindex, h.dir, run.TC}, actAttach, func(uint64) error {
			return giveLast(ifindex, h.dir, prog)
		}); err != nil {
			t.Fatal(err)
		}
		return
	}
	addClsact(t, ifindex)
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex, Parent: filterParents[h.dir], Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Fd: prog.FD(), Name: "somebody", DirectAction: true,
	}
	if err := netlink.FilterAdd(filter); err != nil {
		t.Fatal(err)
	}
}

func addClsact(t *testing.T, ifindex int) {
	t.Helper()
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscAdd(qdisc); err != nil {
		t.Fatal(err)
	}
}

// giveLast gives a program to tcx behind all others.
func giveLast(ifindex int, dir run.Direction, prog *ebpf.Program) error {
	return link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: ifindex, Program: prog, Attach: tcxTypes[dir], Anchor: link.Tail(),
	})
}

// wantFilters expects BPF filters of these names in this order.
func wantFilters(t *testing.T, ifindex int, dir run.Direction, names ...string) {
	t.Helper()
	conn, err := newTCConn()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	all, err := conn.filters(ifindex, dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range all {
		if f.handle != 0 {
			got = append(got, f.name)
		}
	}
	if diff := cmp.Diff(names, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("filters (%s) (-want +got):\n%s", dir, diff)
	}
}
