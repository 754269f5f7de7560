package hook

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
)

// loadOursTC is loadOurs for tc.
func loadOursTC(t *testing.T, meta Meta) *ebpf.Program {
	t.Helper()
	prog, _ := counted(t, meta)
	return prog
}

// TestOneSetPerDirection: who attaches while another one of ours comes to the direction's other
// hook sees it behind attaching, and what was given can be taken back.
func TestOneSetPerDirection(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		progs := map[run.Hook]*ebpf.Program{run.XDP: loadOurs(t, someMeta(false)), run.TC: loadOursTC(t, someMeta(false))}
		undo := map[run.Hook]func() error{}
		for mode, prog := range progs {
			var err error
			if undo[mode], err = attachAt(attachPoint{ifindex, run.In, mode}, prog); err != nil {
				t.Fatal(err)
			}
			if mode == run.TC {
				continue
			}
			if err := otherHookFree(attachPoint{ifindex, run.Out, run.TC}, actAttach); err != nil {
				t.Errorf("the other direction: %v", err)
			}
		}
		for mode, prog := range progs {
			var taken *TakenError
			at := attachPoint{ifindex, run.In, mode}
			if err := otherHookFree(at, actAttach); !errors.As(err, &taken) || !taken.Ours || taken.Hook == mode {
				t.Errorf("%s: %v, want the other one", mode, err)
			}
			if err := undo[mode](); err != nil {
				t.Error(err)
			}
			for other := range progs {
				if err := otherHookFree(attachPoint{ifindex, run.In, other}, actAttach); other == mode == (err == nil) {
					t.Errorf("%s, behind taking back %s: %v", other, mode, err)
				}
			}
			var err error
			if undo[mode], err = attachAt(at, prog); err != nil {
				t.Fatal(err)
			}
		}
		for _, back := range undo {
			if err := back(); err != nil {
				t.Error(err)
			}
		}
		wantNothing(t, ifindex)
	})
}

// TestTwoAtOnce: of two that come at the same time to both hooks of a direction,
// one stays at most.
func TestTwoAtOnce(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		progs := map[run.Hook]*ebpf.Program{run.XDP: loadOurs(t, someMeta(false)), run.TC: loadOursTC(t, someMeta(false))}
		ns, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		for range 30 {
			var both sync.WaitGroup
			for mode, prog := range progs {
				both.Go(func() {
					runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
					err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
					if err == nil {
						err = Attach(ifindex, run.In, prog, mode)
					}
					var taken *TakenError
					if err != nil && !errors.As(err, &taken) {
						t.Error(err)
					}
				})
			}
			both.Wait()
			all, err := List("")
			if err != nil {
				t.Fatal(err)
			}
			if len(all) > 1 {
				t.Fatalf("%d sets of rules are attached", len(all))
			}
			for _, a := range all {
				if err := Detach(&a); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
