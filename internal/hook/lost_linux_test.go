package hook

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// other is a program of somebody else for the hook.
func (s spot) other(t *testing.T) *ebpf.Program {
	t.Helper()
	if s.mode == run.TC {
		return loadSpec(t, tcProgram("somebody", nil, tcUnspec))
	}
	return load(t, "somebody")
}

// eviction is what others can do to a program of a run, and what the run sees then.
type eviction struct {
	what string
	ways []Way
	do   func(t *testing.T, h Handle, other *ebpf.Program) error
	want LossKind
	// told: the run sees the number of the other program, which stays when the run is over.
	told, stays bool
}

var evictions = []eviction{
	{"bpftool link detach", []Way{ByXDP, ByTCX}, func(t *testing.T, h Handle, _ *ebpf.Program) error {
		return linkByNumber(t, h).Detach()
	}, Detached, false, false},
	{"link detach and another attached", []Way{ByXDP}, func(t *testing.T, h Handle, other *ebpf.Program) error {
		return errors.Join(linkByNumber(t, h).Detach(), setSlot(h.(*linkHandle).at, nil, other))
	}, Detached, true, true},
	{"link update", []Way{ByXDP, ByTCX}, func(t *testing.T, h Handle, other *ebpf.Program) error {
		return linkByNumber(t, h).Update(other) // who holds the link, too
	}, Replaced, true, true},
	{"tc filter del", []Way{ByClsact}, func(_ *testing.T, h Handle, _ *ebpf.Program) error {
		return netlink.FilterDel(filterOf(h, nil))
	}, Detached, false, false},
	{"tc qdisc del", []Way{ByClsact}, func(_ *testing.T, h Handle, _ *ebpf.Program) error {
		return netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: h.(*stubHandle).at.ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}})
	}, Detached, false, false},
	{"tc filter replace", []Way{ByClsact}, func(_ *testing.T, h Handle, other *ebpf.Program) error {
		return netlink.FilterReplace(filterOf(h, other))
	}, Replaced, true, true},
	{"update of the slot", []Way{ByClsact}, func(_ *testing.T, h Handle, other *ebpf.Program) error {
		return h.(*stubHandle).slot.Put(uint32(0), other) // it goes with our filter
	}, Replaced, true, false},
	{"emptying the slot", []Way{ByClsact}, func(_ *testing.T, h Handle, _ *ebpf.Program) error {
		return h.(*stubHandle).slot.Delete(uint32(0))
	}, Detached, false, false},
}

// linkByNumber opens the link of a handle as another process does.
func linkByNumber(t *testing.T, h Handle) link.Link {
	t.Helper()
	info, err := h.(*linkHandle).Info()
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.NewFromID(info.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// filterOf is the filter of a handle as another process calls it, with that program.
func filterOf(h Handle, prog *ebpf.Program) *netlink.BpfFilter {
	s := h.(*stubHandle)
	f := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: s.at.ifindex, Parent: filterParents[s.at.dir], Handle: s.filter.handle, Priority: s.filter.pref, Protocol: unix.ETH_P_ALL,
		},
		Name: "somebody", DirectAction: true,
	}
	if prog != nil {
		f.Fd = prog.FD()
	}
	return f
}

// TestEvicted: whatever others do to the program of a run, its handle sees it, does not put another
// program in the place of theirs, and leaves theirs where it is.
func TestEvicted(t *testing.T) {
	for _, s := range spots {
		for _, e := range evictions {
			if !slices.Contains(e.ways, s.way) {
				continue
			}
			t.Run(fmt.Sprintf("%s %s %s", s, s.mode, e.what), func(t *testing.T) {
				withWay(t, s.way)
				onWire(t, func(w wire) { e.happens(t, w, s) })
			})
		}
	}
}

func (e eviction) happens(t *testing.T, w wire, s spot) {
	prog, _ := s.counted(t, someMeta(true))
	next, _ := s.counted(t, someMeta(true))
	h, err := Link(w.ifindex, s.dir, prog, s.mode)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Update(next); err != nil { // its own doing is no loss
		t.Fatal(err)
	}
	if loss, err := h.Lost(); loss != (Loss{}) || err != nil {
		t.Fatalf("lost before: %v, %v", loss, err)
	}
	other := s.other(t)
	if err := e.do(t, h, other); err != nil {
		t.Fatal(err)
	}
	want, theirs := Loss{How: e.want}, programID(t, other)
	if e.told {
		want.ProgramID = theirs
	}
	elsewhere(t, func() {
		if loss, err := h.Lost(); loss != want || err != nil {
			t.Errorf("lost: %v, %v, want %v", loss, err, want)
		}
	})
	before := programsOn(t, w.ifindex, s.dir)
	var lost *LostError
	if err := h.Update(prog); !errors.As(err, &lost) || lost.Loss != want || lost.Interface != "left" || lost.Direction != s.dir || lost.Hook != s.mode {
		t.Errorf("updated: %v", err)
	}
	if after := programsOn(t, w.ifindex, s.dir); !slices.Equal(before, after) {
		t.Errorf("an update that is refused leaves %v, before there was %v", after, before)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	var stays []uint32
	if e.stays {
		stays = []uint32{theirs}
	}
	if after := programsOn(t, w.ifindex, s.dir); !slices.Equal(after, stays) {
		t.Errorf("behind the run there are programs %v, want %v", after, stays)
	}
}

// programsOn are the numbers of the programs on an interface.
func programsOn(t *testing.T, ifindex int, dir run.Direction) (ids []uint32) {
	t.Helper()
	all, err := Programs(ifindex, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		ids = append(ids, a.ProgramID)
	}
	return ids
}

// TestXDPOffLeavesALink: what sets XDP by netlink (ip link set dev X xdp off, xdp-loader) is
// refused where a run has its link.
func TestXDPOffLeavesALink(t *testing.T) {
	for _, s := range spots {
		if s.way != ByXDP {
			continue
		}
		t.Run(s.mode.String(), func(t *testing.T) {
			onWire(t, func(w wire) {
				prog, _ := s.counted(t, someMeta(true))
				h, err := Link(w.ifindex, s.dir, prog, s.mode)
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				left, err := netlink.LinkByIndex(w.ifindex)
				if err != nil {
					t.Fatal(err)
				}
				for what, fd := range map[string]int{"off": -1, "another": s.other(t).FD()} {
					if err := netlink.LinkSetXdpFdWithFlags(left, fd, int(modeFlags[s.mode])); !errors.Is(err, unix.EBUSY) {
						t.Errorf("%s: %v, want EBUSY", what, err)
					}
				}
				if loss, err := h.Lost(); loss != (Loss{}) || err != nil {
					t.Errorf("lost: %v, %v", loss, err)
				}
			})
		})
	}
}
