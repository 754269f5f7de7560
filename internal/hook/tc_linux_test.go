package hook

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
	"repacket/test/testnet"
)

func TestTCAttachFindDetach(t *testing.T) {
	for _, by := range tcAttachments {
		t.Run(by.name, func(t *testing.T) {
			onTC(t, func(t *testing.T, w wire, h tcHook) {
				wantFree(t, w.ifindex)
				meta := someMeta(by.name == "link")
				prog, counter := counted(t, meta)
				off := by.attach(t, w.ifindex, h.dir, prog)
				want := Program{
					Interface: "left", Ifindex: w.ifindex, Direction: h.dir, Hook: run.TC, Way: h.way,
					ProgramID: programID(t, prog), ProgramName: ProgramName, Ours: true, Meta: meta,
				}
				found := wantFound(t, w.ifindex, h.dir, prog)
				if diff := cmp.Diff(&want, found, cmpopts.IgnoreUnexported(Program{}), cmpopts.IgnoreFields(Program{}, "Loaded")); diff != "" {
					t.Errorf("found (-want +got):\n%s", diff)
				}
				all, err := List("")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]Program{want}, all, cmpopts.IgnoreUnexported(Program{}), cmpopts.IgnoreFields(Program{}, "Loaded")); diff != "" {
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
				wantCount(t, "detached", counter, 3)
				wantFree(t, w.ifindex)
			})
		})
	}
}

// Auto is what the program's type allows.
func TestAutoGoesByTheProgram(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		prog, _ := counted(t, someMeta(false))
		if err := Attach(ifindex, run.Out, prog, run.Auto); err != nil {
			t.Fatal(err)
		}
		if found := wantFound(t, ifindex, run.Out, prog); found.Hook != run.TC {
			t.Errorf("attached as %s", found.Hook)
		}
		if err := Attach(ifindex, run.In, prog, run.XDP); err == nil {
			t.Error("a tc program was attached as XDP")
		}
		if err := Attach(ifindex, run.In, load(t, ProgramName), run.TC); err == nil {
			t.Error("an XDP program was attached as tc")
		}
	})
}

func TestEgressXDPIsRefused(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		for _, mode := range []run.Hook{run.Auto, run.XDP, run.GenericXDP} {
			var refused *EgressXDPError
			if h, err := Link(ifindex, run.Out, load(t, ProgramName), mode); !errors.As(err, &refused) || refused.Interface != "left" {
				t.Errorf("link as %s: %v, %v", mode, h, err)
			}
			if err := Attach(ifindex, run.Out, load(t, ProgramName), mode); !errors.As(err, &refused) || refused.Hook != mode {
				t.Errorf("give as %s: %v", mode, err)
			}
		}
		wantFree(t, ifindex)
	})
}

// kill ends a child as kill -9 does.
func kill(t *testing.T, cmd *testnet.Cmd) {
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
			var nothing *NotAttachedError
			return errors.As(err, &nothing)
		})
		w.send(t, h.dir, 2) // they arrive: what is left is inert
	})
}

// What a killed process leaves at clsact goes with the next run, or by itself.
func TestStaleStubIsRemoved(t *testing.T) {
	removals := map[string]func(t *testing.T, ifindex int, dir run.Direction){
		"asked": func(t *testing.T, ifindex int, _ run.Direction) {
			for _, want := range []bool{true, false} {
				if removed, err := RemoveStale(ifindex); err != nil || removed != want {
					t.Errorf("removed: %v, %v, want %v", removed, err, want)
				}
			}
		},
		"next run": func(t *testing.T, ifindex int, dir run.Direction) {
			prog, _ := counted(t, someMeta(true))
			h, err := Link(ifindex, dir, prog, run.TC)
			if err != nil {
				t.Fatal(err)
			}
			wantFilters(t, ifindex, dir, StubName+madeMark)
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		},
		"next run in the other direction": func(t *testing.T, ifindex int, dir run.Direction) {
			prog, _ := counted(t, someMeta(false))
			if err := Attach(ifindex, 1-dir, prog, run.TC); err != nil {
				t.Fatal(err)
			}
			wantFilters(t, ifindex, dir)
			if err := Detach(wantFound(t, ifindex, 1-dir, prog)); err != nil {
				t.Error(err)
			}
		},
		"next run by XDP": func(t *testing.T, ifindex int, _ run.Direction) {
			h, err := Link(ifindex, run.In, loadOurs(t, someMeta(true)), run.XDP)
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

// A given program outlives the process at tc as well.
func TestTCGivenOutlivesItsProcess(t *testing.T) {
	onTC(t, func(t *testing.T, w wire, h tcHook) {
		prog, counter := counted(t, someMeta(false))
		if err := Attach(w.ifindex, h.dir, prog, run.TC); err != nil {
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
		if err := Detach(found); err != nil {
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
				all, err := List("")
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
				var taken *TakenError
				if err := Detach(found); !errors.As(err, &taken) || taken.Ours {
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

// Ours on any hook is in the way of ours on any other for this direction, and
// never in that of the other direction.
func TestTCTakenByOurs(t *testing.T) {
	type hold struct {
		way  Way
		mode run.Hook
	}
	holds := []hold{{ByXDP, run.XDP}, {ByXDP, run.GenericXDP}, {ByTCX, run.TC}, {ByClsact, run.TC}}
	program := func(t *testing.T, mode run.Hook, meta Meta) *ebpf.Program {
		if mode != run.TC {
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
						h, err := Link(ifindex, run.In, holder, held.mode)
						if err != nil {
							t.Fatal(err)
						}
						defer h.Close()
						pid = os.Getpid()
					} else if err := Attach(ifindex, run.In, holder, held.mode); err != nil {
						t.Fatal(err)
					}
					expected := &TakenError{
						Interface: "left", Hook: held.mode, ProgramID: programID(t, holder),
						ProgramName: ProgramName, Ours: true, PID: pid,
					}
					for _, mode := range []run.Hook{run.XDP, run.GenericXDP, run.TC} {
						late := program(t, mode, someMeta(false))
						_, linked := Link(ifindex, run.In, late, mode)
						for what, err := range map[string]error{"link": linked, "give": Attach(ifindex, run.In, late, mode)} {
							var taken *TakenError
							if !errors.As(err, &taken) {
								t.Errorf("%s %s: error %v", what, mode, err)
								continue
							}
							if diff := cmp.Diff(expected, taken, cmpopts.IgnoreFields(TakenError{}, "Err")); diff != "" {
								t.Errorf("%s %s (-want +got):\n%s", what, mode, diff)
							}
						}
					}
					wantFound(t, ifindex, run.In, holder)
					out := program(t, run.TC, someMeta(false))
					if err := Attach(ifindex, run.Out, out, run.TC); err != nil {
						t.Errorf("the other direction: %v", err)
					}
					wantFound(t, ifindex, run.Out, out)
					wantFound(t, ifindex, run.In, holder)
				})
			})
		}
	}
}

// An XDP program of somebody else is not in the way of tc.
func TestTCBesideAnothersXDP(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		others := load(t, "somebody")
		if err := Attach(ifindex, run.In, others, run.XDP); err != nil {
			t.Fatal(err)
		}
		prog, _ := counted(t, someMeta(false))
		if err := Attach(ifindex, run.In, prog, run.TC); err != nil {
			t.Fatal(err)
		}
		if err := Detach(wantFound(t, ifindex, run.In, prog)); err != nil {
			t.Error(err)
		}
		wantFound(t, ifindex, run.In, others)
	})
}

func TestHasTCX(t *testing.T) {
	needs.Kernel(t)
	_, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress}) // lo
	if there, e := HasTCX(); e != nil || there != (err == nil) {
		t.Errorf("%v, %v, but lo says %v", there, e, err)
	}
	without(t, func() {
		var privilege *PrivilegeError
		if there, err := HasTCX(); !errors.As(err, &privilege) {
			t.Errorf("without privilege: %v, %v", there, err)
		}
	}, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)
	withWay(t, ByClsact)
	if there, err := HasTCX(); err != nil || there {
		t.Errorf("without tcx: %v, %v", there, err)
	}
}
