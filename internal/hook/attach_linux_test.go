package hook

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

func TestAttachFindDetach(t *testing.T) {
	asked := map[run.Hook]run.Hook{run.Auto: run.XDP, run.XDP: run.XDP, run.GenericXDP: run.GenericXDP} // on a veth
	for mode, want := range asked {
		for _, by := range attachments {
			t.Run(by.name+" "+mode.String(), func(t *testing.T) {
				inPair(t, lab.PairConfig{}, func(ifindex int) {
					wantNothing(t, ifindex)
					meta := someMeta(by.name == "link")
					prog := loadOurs(t, meta)
					if err := by.attach(t, ifindex, prog, mode); err != nil {
						t.Fatal(err)
					}
					found, err := Find(ifindex, run.In)
					if err != nil {
						t.Fatal(err)
					}
					expected := &Program{
						Interface: "left", Ifindex: ifindex, Hook: want,
						ProgramID: programID(t, prog), ProgramName: ProgramName,
						Ours: true, Meta: meta,
					}
					if diff := cmp.Diff(expected, found, cmpopts.IgnoreUnexported(Program{}), cmpopts.IgnoreFields(Program{}, "Loaded")); diff != "" {
						t.Errorf("found (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

func TestLinkGoesWhenClosed(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		l, err := Link(ifindex, run.In, loadOurs(t, someMeta(true)), run.XDP)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wantNothing(t, ifindex)
	})
}

func TestTakeWhatWasGiven(t *testing.T) {
	for _, mode := range []run.Hook{run.XDP, run.GenericXDP} {
		inPair(t, lab.PairConfig{}, func(ifindex int) {
			prog := loadOurs(t, someMeta(false))
			if err := Attach(ifindex, run.In, prog, mode); err != nil {
				t.Fatal(err)
			}
			prog.Close()
			found, err := Find(ifindex, run.In)
			if err != nil {
				t.Fatal(err)
			}
			if err := Detach(found); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			wantNothing(t, ifindex)
			var nothing *NotAttachedError
			if err := Detach(found); !errors.As(err, &nothing) || nothing.Interface != "left" {
				t.Errorf("%s: taken twice: %v", mode, err)
			}
		})
	}
}

func TestTakeNeverTakesAnothers(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		prog := load(t, "somebody")
		if err := Attach(ifindex, run.In, prog, run.XDP); err != nil {
			t.Fatal(err)
		}
		found, err := Find(ifindex, run.In)
		if err != nil {
			t.Fatal(err)
		}
		var taken *TakenError
		if err := Detach(found); !errors.As(err, &taken) || taken.Ours || taken.ProgramName != "somebody" {
			t.Errorf("error %v", err)
		}
		wantProgram(t, ifindex, programID(t, prog))
	})
}

// Between Find and Detach the interface may change hands.
func TestTakeLosesTheRace(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		first, second := loadOurs(t, someMeta(false)), load(t, "somebody")
		if err := Attach(ifindex, run.In, first, run.XDP); err != nil {
			t.Fatal(err)
		}
		found, err := Find(ifindex, run.In)
		if err != nil {
			t.Fatal(err)
		}
		const swap = unix.XDP_FLAGS_REPLACE | unix.XDP_FLAGS_DRV_MODE
		if err := setXDP(ifindex, second.FD(), first.FD(), swap); err != nil {
			t.Fatal(err)
		}
		var taken *TakenError
		if err := Detach(found); !errors.As(err, &taken) || taken.ProgramName != "somebody" {
			t.Errorf("another came: error %v", err)
		}
		wantProgram(t, ifindex, programID(t, second))
		if err := setXDP(ifindex, noProgram, second.FD(), swap); err != nil {
			t.Fatal(err)
		}
		var nothing *NotAttachedError
		if err := Detach(found); !errors.As(err, &nothing) {
			t.Errorf("it went: error %v", err)
		}
	})
}

func TestTakeLeavesAForegroundRun(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		prog := loadOurs(t, someMeta(true))
		l, err := Link(ifindex, run.In, prog, run.GenericXDP)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		found, err := Find(ifindex, run.In)
		if err != nil {
			t.Fatal(err)
		}
		var taken *TakenError
		if err := Detach(found); !errors.As(err, &taken) || !taken.Ours || taken.PID != os.Getpid() {
			t.Errorf("error %v, want ours with this process's number", err)
		}
		wantProgram(t, ifindex, programID(t, prog))
	})
}

// Whoever is there, in whichever way and mode, stays, and is named.
func TestTaken(t *testing.T) {
	for _, holder := range attachments {
		for _, held := range []run.Hook{run.XDP, run.GenericXDP} {
			for _, ours := range []bool{false, true} {
				name := fmt.Sprintf("%s %s ours=%v", holder.name, held, ours)
				t.Run(name, func(t *testing.T) {
					inPair(t, lab.PairConfig{}, func(ifindex int) {
						prog := load(t, "somebody")
						if ours {
							prog = loadOurs(t, someMeta(holder.name == "link"))
						}
						if err := holder.attach(t, ifindex, prog, held); err != nil {
							t.Fatal(err)
						}
						wantTaken(t, ifindex, prog, held, ours, ours && holder.name == "link")
					})
				})
			}
		}
	}
}

// wantTaken tries every way to attach and expects an error that names prog.
func wantTaken(t *testing.T, ifindex int, prog *ebpf.Program, held run.Hook, ours, foreground bool) {
	t.Helper()
	expected := &TakenError{Interface: "left", Hook: held, ProgramID: programID(t, prog), ProgramName: "somebody", Ours: ours}
	if ours {
		expected.ProgramName = ProgramName
	}
	if foreground {
		expected.PID = os.Getpid()
	}
	late := loadOurs(t, someMeta(false))
	for _, by := range attachments {
		for _, mode := range []run.Hook{run.Auto, run.XDP, run.GenericXDP} {
			err := by.attach(t, ifindex, late, mode)
			var taken *TakenError
			if !errors.As(err, &taken) {
				t.Errorf("%s %s: error %v", by.name, mode, err)
				continue
			}
			if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EEXIST) {
				t.Errorf("%s %s: the kernel's error is lost: %v", by.name, mode, taken.Err)
			}
			if diff := cmp.Diff(expected, taken, cmpopts.IgnoreFields(TakenError{}, "Err")); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", by.name, mode, diff)
			}
		}
	}
	wantProgram(t, ifindex, programID(t, prog))
}

// child starts the test binary inside the namespace and returns when it is
// attached, with what ends it.
func child(t *testing.T, ns *lab.Namespace, role string) *testnet.Cmd {
	t.Helper()
	cmd := testnet.Command(ns, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready <nil>\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd
}

func TestLinkGoesWithItsProcess(t *testing.T) {
	p := inPair(t, lab.PairConfig{}, func(int) {})
	cmd := child(t, p.A, "link")
	err := p.A.Do(func() error {
		iface, err := Interface("left")
		if err != nil {
			return err
		}
		found, err := Find(iface.Index, run.In)
		if err != nil {
			return err
		}
		if !found.Ours || !found.Meta.Foreground || found.Meta.PID != cmd.Process.Pid {
			t.Errorf("found %+v, want a foreground run of process %d", found, cmd.Process.Pid)
		}
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		if err := cmd.Wait(); err == nil {
			t.Error("the child was not killed")
		}
		eventually(t, "the killed process's program goes", func() bool {
			_, err := Find(iface.Index, run.In)
			var nothing *NotAttachedError
			return errors.As(err, &nothing)
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAttachedOutlivesItsProcess(t *testing.T) {
	for _, role := range []string{"give", "give in a private mount namespace"} {
		t.Run(role, func(t *testing.T) {
			p := inPair(t, lab.PairConfig{}, func(int) {})
			cmd := child(t, p.A, role)
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			err := p.A.Do(func() error {
				all, err := List("")
				if err != nil {
					return err
				}
				if len(all) != 1 || !all[0].Ours || all[0].Meta.PID != cmd.Process.Pid || all[0].Meta.Foreground {
					t.Fatalf("listed %+v, want what process %d gave", all, cmd.Process.Pid)
				}
				return Detach(&all[0])
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Where the driver cannot, nothing is attached, and generic mode helps.
func TestUnsupported(t *testing.T) {
	refused := func(t *testing.T, by attachment, ifindex int, mode run.Hook, cause error) {
		t.Helper()
		prog := load(t, ProgramName)
		err := by.attach(t, ifindex, prog, mode)
		var unsupported *UnsupportedError
		if !errors.As(err, &unsupported) || !unsupported.TryGeneric || !errors.Is(err, cause) {
			t.Errorf("error %v, want an UnsupportedError of %v", err, cause)
		}
		wantNothing(t, ifindex)
		if err := by.attach(t, ifindex, prog, run.GenericXDP); err != nil {
			t.Errorf("generic mode: %v", err)
		}
	}
	for _, by := range attachments {
		t.Run(by.name+" where native XDP is not", func(t *testing.T) {
			inNamespace(t, func() { refused(t, by, 1, run.XDP, unix.EOPNOTSUPP) }) // lo
		})
		for _, mode := range []run.Hook{run.XDP, run.Auto} {
			t.Run(by.name+" with a large MTU, "+mode.String(), func(t *testing.T) {
				inPair(t, lab.PairConfig{MTU: 9000}, func(ifindex int) { refused(t, by, ifindex, mode, unix.ERANGE) })
			})
		}
	}
}

func TestInterfaceMissing(t *testing.T) {
	inNamespace(t, func() {
		prog := load(t, ProgramName)
		for _, ifindex := range []int{-1, 0, 4711} {
			var missing *NoInterfaceError
			if l, err := Link(ifindex, run.In, prog, run.XDP); !errors.As(err, &missing) {
				t.Errorf("link to %d: %v, %v", ifindex, l, err)
			}
			if err := Attach(ifindex, run.In, prog, run.XDP); !errors.As(err, &missing) {
				t.Errorf("attach to %d: %v", ifindex, err)
			}
			if found, err := Find(ifindex, run.In); !errors.As(err, &missing) {
				t.Errorf("find on %d: %v, %v", ifindex, found, err)
			}
		}
	})
}
