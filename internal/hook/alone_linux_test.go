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
)

// loadOursTC is loadOurs for tc.
func loadOursTC(t *testing.T, meta Meta) *ebpf.Program {
	t.Helper()
	prog, _ := counted(t, meta)
	return prog
}

// TestAlone: who attaches while another one of ours comes to the direction's other
// hook sees it behind attaching, and what was given can be taken back.
func TestAlone(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		progs := map[Mode]*ebpf.Program{Native: loadOurs(t, someMeta(false)), TC: loadOursTC(t, someMeta(false))}
		takeBack := map[Mode]func() error{}
		for mode, prog := range progs {
			var err error
			if takeBack[mode], err = giveAt(place{ifindex, In, mode}, prog); err != nil {
				t.Fatal(err)
			}
			if mode == TC {
				continue
			}
			if err := alone(place{ifindex, Out, TC}, actGive); err != nil {
				t.Errorf("the other direction: %v", err)
			}
		}
		for mode, prog := range progs {
			var taken *ErrTaken
			at := place{ifindex, In, mode}
			if err := alone(at, actGive); !errors.As(err, &taken) || !taken.Ours || taken.Mode == mode {
				t.Errorf("%s: %v, want the other one", mode, err)
			}
			if err := takeBack[mode](); err != nil {
				t.Error(err)
			}
			for other := range progs {
				if err := alone(place{ifindex, In, other}, actGive); other == mode == (err == nil) {
					t.Errorf("%s, behind taking back %s: %v", other, mode, err)
				}
			}
			var err error
			if takeBack[mode], err = giveAt(at, prog); err != nil {
				t.Fatal(err)
			}
		}
		for _, back := range takeBack {
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
		progs := map[Mode]*ebpf.Program{Native: loadOurs(t, someMeta(false)), TC: loadOursTC(t, someMeta(false))}
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
						err = Give(ifindex, In, prog, mode)
					}
					var taken *ErrTaken
					if err != nil && !errors.As(err, &taken) {
						t.Error(err)
					}
				})
			}
			both.Wait()
			all, err := List()
			if err != nil {
				t.Fatal(err)
			}
			if len(all) > 1 {
				t.Fatalf("%d sets of rules are attached", len(all))
			}
			for _, a := range all {
				if err := Take(&a); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
