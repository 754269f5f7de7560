package hook

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
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
)

// Verdicts of tc, from linux/pkt_cls.h.
const (
	tcUnspec = -1 // go on
	tcOK     = 0  // accept: those behind are not asked
)

// tcHook is a way of a tc program and a direction, for tests over all of them.
type tcHook struct {
	way Way
	dir Direction
}

var tcHooks = []tcHook{{ByTCX, In}, {ByTCX, Out}, {ByClsact, In}, {ByClsact, Out}}

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
	t.Cleanup(func() { noTCX = before })
	noTCX = way == ByClsact
}

// wire is a pair; the test is at left, whose number is ifindex.
type wire struct {
	*lab.Pair
	ifindex     int
	left, right *lab.Port
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

func openPort(t *testing.T, ns *lab.Namespace, name string) *lab.Port {
	t.Helper()
	port, err := lab.OpenPort(ns, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	return port
}

// send sends frames that pass left in the direction, and waits until the last
// has arrived.
func (w wire) send(t *testing.T, dir Direction, n int) {
	t.Helper()
	from, to := w.right, w.left
	if dir == Out {
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
	if err := Label(prog, meta); err != nil {
		t.Fatal(err)
	}
	return prog, counter
}

// wantFree expects nothing of ours, and no qdisc, for both directions.
func wantFree(t *testing.T, ifindex int) {
	t.Helper()
	for _, dir := range []Direction{In, Out} {
		found, err := Find(ifindex, dir)
		var nothing *ErrNothing
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

func wantFound(t *testing.T, ifindex int, dir Direction, prog *ebpf.Program) *Attached {
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

func TestTCAttachFindDetach(t *testing.T) {
	for _, by := range tcAttachments {
		t.Run(by.name, func(t *testing.T) {
			onTC(t, func(t *testing.T, w wire, h tcHook) {
				wantFree(t, w.ifindex)
				meta := someMeta(by.name == "link")
				prog, counter := counted(t, meta)
				off := by.attach(t, w.ifindex, h.dir, prog)
				want := Attached{
					Interface: "left", Ifindex: w.ifindex, Direction: h.dir, Mode: TC, Way: h.way,
					ProgramID: programID(t, prog), ProgramName: ProgramName, Ours: true, Meta: meta,
				}
				found := wantFound(t, w.ifindex, h.dir, prog)
				if diff := cmp.Diff(&want, found, cmpopts.IgnoreUnexported(Attached{})); diff != "" {
					t.Errorf("found (-want +got):\n%s", diff)
				}
				all, err := List()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]Attached{want}, all, cmpopts.IgnoreUnexported(Attached{})); diff != "" {
					t.Errorf("listed (-want +got):\n%s", diff)
				}
				if other, err := Find(w.ifindex, 1-h.dir); err == nil {
					t.Errorf("in the other direction is %+v", other)
				}
				w.send(t, h.dir, 3)
				w.send(t, 1-h.dir, 2)
				wantCount(t, "attached", counter, 3)
				off()
				w.send(t, h.dir, 1)
				wantCount(t, "taken off", counter, 3)
				wantFree(t, w.ifindex)
			})
		})
	}
}

// tcAttachments attach a tc program and return what takes it off.
var tcAttachments = []struct {
	name   string
	attach func(t *testing.T, ifindex int, dir Direction, prog *ebpf.Program) (off func())
}{
	{"link", func(t *testing.T, ifindex int, dir Direction, prog *ebpf.Program) func() {
		t.Helper()
		h, err := Link(ifindex, dir, prog, TC)
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
	{"give", func(t *testing.T, ifindex int, dir Direction, prog *ebpf.Program) func() {
		t.Helper()
		if err := Give(ifindex, dir, prog, TC); err != nil {
			t.Fatal(err)
		}
		return func() {
			a, err := Find(ifindex, dir)
			if err == nil {
				err = Take(a)
			}
			if err != nil {
				t.Error(err)
			}
			var nothing *ErrNothing
			if err := Take(a); !errors.As(err, &nothing) || nothing.Direction != dir {
				t.Errorf("taken twice: %v", err)
			}
		}
	}},
}

// Auto is what the program's type allows.
func TestAutoGoesByTheProgram(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		prog, _ := counted(t, someMeta(false))
		if err := Give(ifindex, Out, prog, Auto); err != nil {
			t.Fatal(err)
		}
		if found := wantFound(t, ifindex, Out, prog); found.Mode != TC {
			t.Errorf("attached as %s", found.Mode)
		}
		if err := Give(ifindex, In, prog, Native); err == nil {
			t.Error("a tc program was attached as XDP")
		}
		if err := Give(ifindex, In, load(t, ProgramName), TC); err == nil {
			t.Error("an XDP program was attached as tc")
		}
	})
}

func TestEgressXDPIsRefused(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		for _, mode := range []Mode{Auto, Native, Generic} {
			var refused *ErrEgressXDP
			if h, err := Link(ifindex, Out, load(t, ProgramName), mode); !errors.As(err, &refused) || refused.Interface != "left" {
				t.Errorf("link as %s: %v, %v", mode, h, err)
			}
			if err := Give(ifindex, Out, load(t, ProgramName), mode); !errors.As(err, &refused) || refused.Mode != mode {
				t.Errorf("give as %s: %v", mode, err)
			}
		}
		wantFree(t, ifindex)
	})
}

// kill ends a child as kill -9 does.
func kill(t *testing.T, cmd *lab.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("the child was not killed: %v", err)
	}
}

func TestTCLinkGoesWithItsProcess(t *testing.T) {
	onTC(t, func(t *testing.T, w wire, h tcHook) {
		cmd := child(t, w.A, tcRole(h))
		found, err := Find(w.ifindex, h.dir)
		if err != nil {
			t.Fatal(err)
		}
		if !found.Ours || found.Way != h.way || found.Meta.PID != cmd.Process.Pid {
			t.Errorf("found %+v, want a foreground run of process %d", found, cmd.Process.Pid)
		}
		kill(t, cmd)
		eventually(t, "the killed process's program goes", func() bool {
			_, err := Find(w.ifindex, h.dir)
			var nothing *ErrNothing
			return errors.As(err, &nothing)
		})
		w.send(t, h.dir, 2) // they arrive: what is left is inert
	})
}

// What a killed process leaves at clsact goes with the next run, or by itself.
func TestStaleStubIsRemoved(t *testing.T) {
	removals := map[string]func(t *testing.T, ifindex int, dir Direction){
		"asked": func(t *testing.T, ifindex int, _ Direction) {
			for _, want := range []bool{true, false} {
				if removed, err := RemoveStale(ifindex); err != nil || removed != want {
					t.Errorf("removed: %v, %v, want %v", removed, err, want)
				}
			}
		},
		"next run": func(t *testing.T, ifindex int, dir Direction) {
			prog, _ := counted(t, someMeta(true))
			h, err := Link(ifindex, dir, prog, TC)
			if err != nil {
				t.Fatal(err)
			}
			wantFilters(t, ifindex, dir, StubName+madeMark)
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		},
		"next run in the other direction": func(t *testing.T, ifindex int, dir Direction) {
			prog, _ := counted(t, someMeta(false))
			if err := Give(ifindex, 1-dir, prog, TC); err != nil {
				t.Fatal(err)
			}
			wantFilters(t, ifindex, dir)
			if err := Take(wantFound(t, ifindex, 1-dir, prog)); err != nil {
				t.Error(err)
			}
		},
		"next run by XDP": func(t *testing.T, ifindex int, _ Direction) {
			h, err := Link(ifindex, In, loadOurs(t, someMeta(true)), Native)
			if err != nil {
				t.Fatal(err)
			}
			wantQdisc(t, ifindex, "")
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		},
	}
	for name, remove := range removals {
		for _, h := range tcHooks {
			if h.way != ByClsact {
				continue
			}
			t.Run(name+" "+h.dir.String(), func(t *testing.T) {
				withWay(t, ByClsact)
				onWire(t, func(w wire) {
					kill(t, child(t, w.A, tcRole(h)))
					eventually(t, "the slot is emptied", func() bool {
						_, err := Find(w.ifindex, h.dir)
						return err != nil
					})
					wantFilters(t, w.ifindex, h.dir, StubName+madeMark)
					remove(t, w.ifindex, h.dir)
					wantFree(t, w.ifindex)
				})
			})
		}
	}
}

// wantFilters expects BPF filters of these names in this order.
func wantFilters(t *testing.T, ifindex int, dir Direction, names ...string) {
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

// A given program outlives the process at tc as well.
func TestTCGivenOutlivesItsProcess(t *testing.T) {
	onTC(t, func(t *testing.T, w wire, h tcHook) {
		prog, counter := counted(t, someMeta(false))
		if err := Give(w.ifindex, h.dir, prog, TC); err != nil {
			t.Fatal(err)
		}
		id := programID(t, prog)
		prog.Close()
		w.send(t, h.dir, 1)
		wantCount(t, "without a descriptor", counter, 1)
		found, err := Find(w.ifindex, h.dir)
		if err != nil || found.ProgramID != id {
			t.Fatalf("found %+v, %v, want program %d", found, err, id)
		}
		if err := Take(found); err != nil {
			t.Error(err)
		}
	})
}

// Who came earlier and accepts packets does not hide ours, and stays.
func TestTCComesFirst(t *testing.T) {
	for _, by := range tcAttachments {
		t.Run(by.name, func(t *testing.T) {
			onTC(t, func(t *testing.T, w wire, h tcHook) {
				theirs := newCounter(t)
				others := loadSpec(t, tcProgram("somebody", theirs, tcOK))
				attachOthers(t, w.ifindex, h, others)
				prog, ours := counted(t, someMeta(by.name == "link"))
				off := by.attach(t, w.ifindex, h.dir, prog)
				w.send(t, h.dir, 2)
				wantCount(t, "ours", ours, 2)
				wantCount(t, "theirs", theirs, 2)
				all, err := List()
				if err != nil {
					t.Fatal(err)
				}
				if len(all) != 2 || !all[0].Ours || all[1].ProgramName != "somebody" || all[1].Ours {
					t.Errorf("listed %+v, want ours and then somebody's", all)
				}
				off()
				w.send(t, h.dir, 1)
				wantCount(t, "theirs alone", theirs, 3)
				found := wantFound(t, w.ifindex, h.dir, others)
				var taken *ErrTaken
				if err := Take(found); !errors.As(err, &taken) || taken.Ours {
					t.Errorf("another's taken: %v", err)
				}
				if err := Replace(found, prog); !errors.As(err, &taken) || taken.Ours {
					t.Errorf("another's replaced: %v", err)
				}
				wantFound(t, w.ifindex, h.dir, others)
			})
		})
	}
}

// attachOthers attaches like another tool: at clsact with preference 1 and
// handle 1.
func attachOthers(t *testing.T, ifindex int, h tcHook, prog *ebpf.Program) {
	t.Helper()
	if h.way == ByTCX {
		if _, err := attachTCX(place{ifindex, h.dir, TC}, actGive, func(uint64) error {
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

// Ours on any hook is in the way of ours on any other for this direction, and
// never in that of the other direction.
func TestTCTakenByOurs(t *testing.T) {
	type hold struct {
		way  Way
		mode Mode
	}
	holds := []hold{{ByXDP, Native}, {ByXDP, Generic}, {ByTCX, TC}, {ByClsact, TC}}
	program := func(t *testing.T, mode Mode, meta Meta) *ebpf.Program {
		if mode != TC {
			return loadOurs(t, meta)
		}
		prog, _ := counted(t, meta)
		return prog
	}
	for _, held := range holds {
		for _, foreground := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %s foreground=%v", held.way, held.mode, foreground), func(t *testing.T) {
				withWay(t, held.way)
				inPair(t, lab.PairConfig{}, func(ifindex int) {
					holder := program(t, held.mode, someMeta(foreground))
					pid := 0
					if foreground {
						h, err := Link(ifindex, In, holder, held.mode)
						if err != nil {
							t.Fatal(err)
						}
						defer h.Close()
						pid = os.Getpid()
					} else if err := Give(ifindex, In, holder, held.mode); err != nil {
						t.Fatal(err)
					}
					expected := &ErrTaken{
						Interface: "left", Mode: held.mode, ProgramID: programID(t, holder),
						ProgramName: ProgramName, Ours: true, PID: pid,
					}
					for _, mode := range []Mode{Native, Generic, TC} {
						late := program(t, mode, someMeta(false))
						_, linked := Link(ifindex, In, late, mode)
						for what, err := range map[string]error{"link": linked, "give": Give(ifindex, In, late, mode)} {
							var taken *ErrTaken
							if !errors.As(err, &taken) {
								t.Errorf("%s %s: error %v", what, mode, err)
								continue
							}
							if diff := cmp.Diff(expected, taken, cmpopts.IgnoreFields(ErrTaken{}, "Err")); diff != "" {
								t.Errorf("%s %s (-want +got):\n%s", what, mode, diff)
							}
						}
					}
					wantFound(t, ifindex, In, holder)
					out := program(t, TC, someMeta(false))
					if err := Give(ifindex, Out, out, TC); err != nil {
						t.Errorf("the other direction: %v", err)
					}
					wantFound(t, ifindex, Out, out)
					wantFound(t, ifindex, In, holder)
				})
			})
		}
	}
}

// An XDP program of somebody else is not in the way of tc.
func TestTCBesideAnothersXDP(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		others := load(t, "somebody")
		if err := Give(ifindex, In, others, Native); err != nil {
			t.Fatal(err)
		}
		prog, _ := counted(t, someMeta(false))
		if err := Give(ifindex, In, prog, TC); err != nil {
			t.Fatal(err)
		}
		if err := Take(wantFound(t, ifindex, In, prog)); err != nil {
			t.Error(err)
		}
		wantFound(t, ifindex, In, others)
	})
}

// giveLast gives a program to tcx behind all others.
func giveLast(ifindex int, dir Direction, prog *ebpf.Program) error {
	return link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: ifindex, Program: prog, Attach: tcxTypes[dir], Anchor: link.Tail(),
	})
}
