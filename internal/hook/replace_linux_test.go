package hook

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"repacket/internal/run"
)

// spot is a hook of either kind, for tests over all of them.
type spot struct {
	tcHook
	mode run.Hook
}

var spots = []spot{
	{tcHook{ByXDP, run.In}, run.XDP},
	{tcHook{ByXDP, run.In}, run.GenericXDP},
	{tcHook{ByTCX, run.In}, run.TC},
	{tcHook{ByTCX, run.Out}, run.TC},
	{tcHook{ByClsact, run.In}, run.TC},
	{tcHook{ByClsact, run.Out}, run.TC},
}

func onSpots(t *testing.T, test func(t *testing.T, w wire, s spot)) {
	for _, s := range spots {
		t.Run(s.String()+" "+s.mode.String(), func(t *testing.T) {
			withWay(t, s.way)
			onWire(t, func(w wire) { test(t, w, s) })
		})
	}
}

// counted loads a program of ours for this hook that counts.
func (s spot) counted(t *testing.T, meta Meta) (*ebpf.Program, *ebpf.Map) {
	t.Helper()
	if s.mode == run.TC {
		return counted(t, meta)
	}
	counter := newCounter(t)
	prog := loadSpec(t, &ebpf.ProgramSpec{
		Name: ProgramName, Type: ebpf.XDP, License: "MIT",
		Instructions: append(counting(counter), asm.Mov.Imm(asm.R0, 2), asm.Return()), // XDP_PASS
	})
	if err := Label(prog, meta, nil); err != nil {
		t.Fatal(err)
	}
	return prog, counter
}

func TestReplace(t *testing.T) {
	onSpots(t, func(t *testing.T, w wire, s spot) {
		first, before := s.counted(t, someMeta(false))
		if err := Attach(w.ifindex, s.dir, first, s.mode); err != nil {
			t.Fatal(err)
		}
		w.send(t, s.dir, 1)
		next := someMeta(false)
		next.Rules = []MetaRule{{Text: "if udp"}}
		second, after := s.counted(t, next)
		found := wantFound(t, w.ifindex, s.dir, first)
		if err := Replace(found, second); err != nil {
			t.Fatal(err)
		}
		w.send(t, s.dir, 2)
		wantCount(t, "the first", before, 1)
		wantCount(t, "the second", after, 2)
		now := wantFound(t, w.ifindex, s.dir, second)
		if now.Hook != found.Hook || now.Way != found.Way || now.Meta.Rules[0].Text != "if udp" {
			t.Errorf("found %+v, before it was %+v", now, found)
		}
		if all, err := List(""); err != nil || len(all) != 1 {
			t.Errorf("listed %+v, %v, want one program", all, err)
		}
		// What was found before is another program now, and then none.
		var taken *TakenError
		if err := Replace(found, first); !errors.As(err, &taken) || taken.ProgramID != now.ProgramID {
			t.Errorf("replaced twice: %v", err)
		}
		if err := Detach(now); err != nil {
			t.Error(err)
		}
		var nothing *NotAttachedError
		if err := Replace(now, first); !errors.As(err, &nothing) {
			t.Errorf("replaced what is gone: %v", err)
		}
		wantFree(t, w.ifindex)
	})
}

// Only its process replaces a program in the foreground.
func TestReplaceLeavesAForegroundRun(t *testing.T) {
	onSpots(t, func(t *testing.T, w wire, s spot) {
		prog, _ := s.counted(t, someMeta(true))
		h, err := Link(w.ifindex, s.dir, prog, s.mode)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		found := wantFound(t, w.ifindex, s.dir, prog)
		late, _ := s.counted(t, someMeta(false))
		for what, err := range map[string]error{"replace": Replace(found, late), "take": Detach(found)} {
			var taken *TakenError
			if !errors.As(err, &taken) || !taken.Ours || taken.PID != os.Getpid() || taken.Direction != s.dir {
				t.Errorf("%s: error %v, want ours with this process's number", what, err)
			}
		}
		wantFound(t, w.ifindex, s.dir, prog)
	})
}

// Replacing ours keeps its place before another's.
func TestReplaceKeepsThePlace(t *testing.T) {
	onTC(t, func(t *testing.T, w wire, h tcHook) {
		attachOthers(t, w.ifindex, h, loadSpec(t, tcProgram("somebody", nil, tcOK)))
		first, _ := counted(t, someMeta(false))
		if err := Attach(w.ifindex, h.dir, first, run.TC); err != nil {
			t.Fatal(err)
		}
		second, ours := counted(t, someMeta(false))
		if err := Replace(wantFound(t, w.ifindex, h.dir, first), second); err != nil {
			t.Fatal(err)
		}
		w.send(t, h.dir, 1)
		wantCount(t, "ours", ours, 1)
	})
}

// While programs are swapped, each packet is seen by one of them, whether a
// process holds them or the interface has them.
func TestUpdateLosesNothing(t *testing.T) {
	onSpots(t, func(t *testing.T, w wire, s spot) {
		first, counter1 := s.counted(t, someMeta(true))
		second, counter2 := s.counted(t, someMeta(true))
		h, err := Link(w.ifindex, s.dir, first, s.mode)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		swaps, packets := w.whileSending(t, s, func(i int) error { return h.Update([]*ebpf.Program{second, first}[i%2]) })
		if got := count(t, counter1) + count(t, counter2); got != packets {
			t.Errorf("%d of %d packets were seen over %d swaps", got, packets, swaps)
		}
		t.Logf("%d swaps, %d packets", swaps, packets)
		wantFound(t, w.ifindex, s.dir, first)
		if err := h.Update(second); err != nil {
			t.Fatal(err)
		}
		seen := count(t, counter2)
		w.send(t, s.dir, 5)
		wantCount(t, "the second", counter2, seen+5)
		wantFound(t, w.ifindex, s.dir, second)
	})
}

func TestReplaceLosesNothing(t *testing.T) {
	onSpots(t, func(t *testing.T, w wire, s spot) {
		first, counter1 := s.counted(t, someMeta(false))
		second, counter2 := s.counted(t, someMeta(false))
		if err := Attach(w.ifindex, s.dir, first, s.mode); err != nil {
			t.Fatal(err)
		}
		swaps, packets := w.whileSending(t, s, func(i int) error {
			var found *Program
			err := w.A.Do(func() (err error) {
				if found, err = Find(w.ifindex, s.dir); err != nil {
					return err
				}
				return Replace(found, []*ebpf.Program{second, first}[i%2])
			})
			return err
		})
		if got := count(t, counter1) + count(t, counter2); got != packets {
			t.Errorf("%d of %d packets were seen over %d swaps", got, packets, swaps)
		}
		t.Logf("%d swaps, %d packets", swaps, packets)
	})
}

// whileSending swaps programs an even number of times, 1,000 at most, while
// packets pass, and tells how often and how many.
func (w wire) whileSending(t *testing.T, s spot, swap func(i int) error) (swaps int, packets uint64) {
	t.Helper()
	most := 1000
	if s.mode != run.TC {
		most = 100 // these take the kernel 10 ms each
	}
	end := time.Now().Add(1500 * time.Millisecond) // emulated machines do fewer
	var stopped atomic.Bool
	var swapping sync.WaitGroup
	swapping.Go(func() {
		defer stopped.Store(true)
		for ; swaps < most && (swaps%2 == 1 || time.Now().Before(end)); swaps++ {
			if err := swap(swaps); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for ; !stopped.Load() || packets < 100; packets++ {
		w.send(t, s.dir, 1)
	}
	swapping.Wait()
	return swaps, packets
}

// A program of the wrong type is refused, and the old one stays.
func TestUpdateRefused(t *testing.T) {
	onSpots(t, func(t *testing.T, w wire, s spot) {
		prog, counter := s.counted(t, someMeta(true))
		h, err := Link(w.ifindex, s.dir, prog, s.mode)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		wrong := spots[0]
		if s.mode != run.TC {
			wrong = spots[2]
		}
		other, _ := wrong.counted(t, someMeta(true))
		if err := h.Update(other); err == nil {
			t.Error("a program of another type was taken")
		}
		w.send(t, s.dir, 1)
		wantCount(t, "the old one", counter, 1)
	})
}

// When the interface is removed the handle knows it, wherever it is asked.
func TestGone(t *testing.T) {
	onSpots(t, func(t *testing.T, w wire, s spot) {
		prog, _ := s.counted(t, someMeta(true))
		h, err := Link(w.ifindex, s.dir, prog, s.mode)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere(t, func() {
			if loss, err := h.Lost(); loss.How != Kept || err != nil {
				t.Errorf("gone from the start: %v, %v", loss, err)
			}
		})
		left, err := netlink.LinkByName("left")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkDel(left); err != nil {
			t.Fatal(err)
		}
		elsewhere(t, func() {
			eventually(t, "the handle knows", func() bool {
				loss, err := h.Lost()
				return loss == Loss{How: Removed} && err == nil
			})
			if err := h.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		if err := h.Update(prog); err == nil {
			t.Error("updated what is gone")
		}
	})
}

// elsewhere calls f in another network namespace, where a handle works as well.
func elsewhere(t *testing.T, f func()) {
	t.Helper()
	inNamespace(t, f)
}

// Of many that attach in the same moment one does.
func TestOneOfManyAttaches(t *testing.T) {
	const many = 8
	onTC(t, func(t *testing.T, w wire, h tcHook) {
		var all sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range many {
			prog, _ := counted(t, someMeta(true))
			all.Go(func() {
				var l Handle
				err := w.A.Do(func() (err error) {
					l, err = Link(w.ifindex, h.dir, prog, run.TC)
					return err
				})
				mu.Lock()
				defer mu.Unlock()
				var taken *TakenError
				switch {
				case err == nil:
					won++
					t.Cleanup(func() { l.Close() })
				case !errors.As(err, &taken):
					t.Errorf("error %v, want taken", err)
				}
			})
		}
		all.Wait()
		if won != 1 {
			t.Errorf("%d have attached, want 1", won)
		}
	})
}

func TestTCNoDescriptorIsLeft(t *testing.T) {
	onTC(t, func(t *testing.T, w wire, h tcHook) {
		cycle := func() {
			prog, err := ebpf.NewProgram(tcProgram(ProgramName, nil, tcUnspec))
			if err != nil {
				t.Fatal(err)
			}
			defer prog.Close()
			l, err := Link(w.ifindex, h.dir, prog, run.TC)
			if err := errors.Join(err, Label(prog, someMeta(false), nil)); err != nil {
				t.Fatal(err)
			}
			if _, err := Link(w.ifindex, h.dir, prog, run.TC); err == nil {
				t.Error("taken and yet linked")
			}
			if err := errors.Join(l.Close(), Attach(w.ifindex, h.dir, prog, run.TC)); err != nil {
				t.Fatal(err)
			}
			found, err := Find(w.ifindex, h.dir)
			if err := errors.Join(err, Replace(found, prog)); h.way == ByClsact && err != nil {
				t.Fatal(err)
			}
			if err := Detach(found); err != nil {
				t.Fatal(err)
			}
		}
		cycle() // what the libraries keep open is open now
		before := descriptors(t)
		cycle()
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors are open, before it were %d", after, before)
		}
	})
}

// Counters that a program goes on from are there as long as it is, and are told
// from its own; those of another program are not kept from running.
func TestFollow(t *testing.T) {
	inNamespace(t, func() {
		counters := func(n uint64) *ebpf.Map {
			m, err := ebpf.NewMap(&ebpf.MapSpec{Name: CountersMapName, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
			if err := errors.Join(err, m.Put(uint32(0), n)); err != nil {
				t.Fatal(err)
			}
			return m
		}
		prog, own, old := loadOurs(t, someMeta(false)), counters(1), counters(2)
		defer own.Close()
		if err := errors.Join(prog.BindMap(own), Follow(prog, old), old.Close(), Attach(1, run.In, prog, run.GenericXDP)); err != nil {
			t.Fatal(err)
		}
		found, err := Find(1, run.In)
		if err != nil {
			t.Fatal(err)
		}
		for want, open := range map[uint64]func() (*ebpf.Map, error){1: found.Counters, 2: found.Before} {
			m, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if got := count(t, m); got != want {
				t.Errorf("counted %d, want %d", got, want)
			}
			m.Close()
		}
	})
}
