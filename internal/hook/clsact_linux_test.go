package hook

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
)

func onClsact(t *testing.T, test func(t *testing.T, ifindex int)) {
	t.Helper()
	withWay(t, ByClsact)
	inPair(t, lab.PairConfig{}, func(ifindex int) { test(t, ifindex) })
}

// A qdisc that was there before stays.
func TestQdiscOfOthersStays(t *testing.T) {
	for _, by := range tcAttachments {
		for _, dir := range []run.Direction{run.In, run.Out} {
			t.Run(by.name+" "+dir.String(), func(t *testing.T) {
				onClsact(t, func(t *testing.T, ifindex int) {
					addClsact(t, ifindex)
					prog, _ := counted(t, someMeta(by.name == "link"))
					by.attach(t, ifindex, dir, prog)()
					wantQdisc(t, ifindex, clsact)
					wantFilters(t, ifindex, dir)
				})
			})
		}
	}
}

// A qdisc that ours made goes with the last of ours, whoever made it.
func TestQdiscGoesWithTheLastOfOurs(t *testing.T) {
	for _, firstOff := range []int{0, 1} {
		for _, firstBy := range tcAttachments {
			for _, thenBy := range tcAttachments {
				t.Run(firstBy.name+" "+thenBy.name, func(t *testing.T) {
					onClsact(t, func(t *testing.T, ifindex int) {
						first, _ := counted(t, someMeta(firstBy.name == "link"))
						second, _ := counted(t, someMeta(thenBy.name == "link"))
						offs := []func(){
							firstBy.attach(t, ifindex, run.In, first),
							thenBy.attach(t, ifindex, run.Out, second),
						}
						offs[firstOff]()
						wantQdisc(t, ifindex, clsact)
						offs[1-firstOff]()
						wantQdisc(t, ifindex, "")
					})
				})
			}
		}
	}
}

// A qdisc that ours made stays when others have filters on it meanwhile.
func TestQdiscStaysForOthersFilters(t *testing.T) {
	for _, dir := range []run.Direction{run.In, run.Out} {
		onClsact(t, func(t *testing.T, ifindex int) {
			prog, _ := counted(t, someMeta(true))
			off := tcAttachments[0].attach(t, ifindex, run.In, prog)
			others := loadSpec(t, tcProgram("somebody", nil, tcOK))
			addFilter(t, ifindex, dir, &netlink.BpfFilter{
				FilterAttrs: netlink.FilterAttrs{Handle: 7, Priority: 1, Protocol: unix.ETH_P_ALL},
				Fd:          others.FD(), Name: "somebody", DirectAction: true,
			})
			off()
			wantQdisc(t, ifindex, clsact)
			wantFilters(t, ifindex, dir, "somebody")
		})
	}
}

// addFilter adds a filter as another tool does.
func addFilter(t *testing.T, ifindex int, dir run.Direction, f netlink.Filter) {
	t.Helper()
	f.Attrs().LinkIndex, f.Attrs().Parent = ifindex, filterParents[dir]
	if err := netlink.FilterAdd(f); err != nil {
		t.Fatal(err)
	}
}

// Among filters of other kinds ours takes the first place that there is.
func TestClsactPlace(t *testing.T) {
	u32 := func(pref uint16) netlink.Filter {
		return &netlink.U32{FilterAttrs: netlink.FilterAttrs{Priority: pref, Protocol: unix.ETH_P_ALL}, ClassId: 1}
	}
	program := func(t *testing.T, pref uint16, handle uint32) netlink.Filter {
		return &netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{Priority: pref, Handle: handle, Protocol: unix.ETH_P_ALL},
			Fd:          loadSpec(t, tcProgram("somebody", nil, tcUnspec)).FD(), Name: "somebody", DirectAction: true,
		}
	}
	tests := map[string]struct {
		others func(t *testing.T) []netlink.Filter
		want   uint16
	}{
		"alone":         {func(*testing.T) []netlink.Filter { return nil }, 1},
		"before":        {func(t *testing.T) []netlink.Filter { return []netlink.Filter{program(t, 10, 1), u32(20)} }, 1},
		"among its own": {func(t *testing.T) []netlink.Filter { return []netlink.Filter{program(t, 1, 1), program(t, 1, 2)} }, 1},
		"behind":        {func(*testing.T) []netlink.Filter { return []netlink.Filter{u32(1), u32(2), u32(4)} }, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			onClsact(t, func(t *testing.T, ifindex int) {
				addClsact(t, ifindex)
				for _, f := range test.others(t) {
					addFilter(t, ifindex, run.Out, f)
				}
				prog, _ := counted(t, someMeta(false))
				if err := Attach(ifindex, run.Out, prog, run.TC); err != nil {
					t.Fatal(err)
				}
				found := wantFound(t, ifindex, run.Out, prog)
				if found.filter.pref != test.want {
					t.Errorf("preference %d, want %d", found.filter.pref, test.want)
				}
				all, err := List("")
				if err != nil {
					t.Fatal(err)
				}
				if !all[0].Ours {
					t.Errorf("%+v comes before ours", all[0])
				}
			})
		})
	}
}

// An ingress qdisc is clsact's older sister: it has no egress.
func TestIngressQdisc(t *testing.T) {
	onClsact(t, func(t *testing.T, ifindex int) {
		qdisc := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
		}}
		if err := netlink.QdiscAdd(qdisc); err != nil {
			t.Fatal(err)
		}
		for _, by := range tcAttachments {
			prog, _ := counted(t, someMeta(by.name == "link"))
			off := by.attach(t, ifindex, run.In, prog)
			wantFound(t, ifindex, run.In, prog)
			var nothing *NotAttachedError
			if found, err := Find(ifindex, run.Out); !errors.As(err, &nothing) {
				t.Errorf("out: found %+v, %v", found, err)
			}
			off()
			_, linked := Link(ifindex, run.Out, prog, run.TC)
			for what, err := range map[string]error{"link": linked, "give": Attach(ifindex, run.Out, prog, run.TC)} {
				var refused *UnsupportedError
				if !errors.As(err, &refused) || refused.Hook != run.TC {
					t.Errorf("%s: error %v", what, err)
				}
			}
			wantQdisc(t, ifindex, ingress)
		}
	})
}

// Without CAP_SYS_ADMIN programs cannot be opened: names of filters tell who is
// there, and at tcx nobody's is taken for another's.
func TestTCLeastPrivilege(t *testing.T) {
	onTC(t, func(t *testing.T, w wire, h tcHook) {
		attached := func(t *testing.T) (h2 Handle, err error) {
			without(t, func() {
				prog, counter := counted(t, someMeta(true))
				if h2, err = Link(w.ifindex, h.dir, prog, run.TC); err == nil {
					t.Cleanup(func() { h2.Close() })
					w.send(t, h.dir, 1)
					wantCount(t, "least privilege", counter, 1)
				}
			}, unix.CAP_SYS_ADMIN)
			return h2, err
		}
		free, err := attached(t)
		if err != nil {
			t.Fatal(err)
		}
		// Ours is there.
		var privilege *PrivilegeError
		if _, err := attached(t); !errors.As(err, &privilege) {
			t.Errorf("beside ours: %v", err)
		}
		if err := free.Close(); err != nil {
			t.Error(err)
		}
		// Another's is there.
		attachOthers(t, w.ifindex, h, loadSpec(t, tcProgram("somebody", nil, tcUnspec)))
		_, err = attached(t)
		if h.way == ByClsact && err != nil {
			t.Errorf("beside another's: %v", err)
		}
		if h.way == ByTCX && !errors.As(err, &privilege) {
			t.Errorf("beside another's: %v", err)
		}
		if privilege == nil {
			t.Fatal("no privilege was missing")
		}
		if diff := cmp.Diff([]string{"CAP_SYS_ADMIN"}, privilege.Missing); diff != "" {
			t.Errorf("missing (-want +got):\n%s", diff)
		}
	})
}

func TestTCPrivilegeMissing(t *testing.T) {
	onTC(t, func(t *testing.T, w wire, h tcHook) {
		prog, _ := counted(t, someMeta(false))
		without(t, func() {
			_, linked := Link(w.ifindex, h.dir, prog, run.TC)
			_, found := Find(w.ifindex, h.dir)
			errs := map[string]error{"link": linked, "give": Attach(w.ifindex, h.dir, prog, run.TC)}
			if h.way == ByTCX { // who may not ask cannot know that nothing is there
				errs["find"] = found
			}
			for what, err := range errs {
				var privilege *PrivilegeError
				if !errors.As(err, &privilege) || len(privilege.Missing) == 0 {
					t.Errorf("%s: error %v", what, err)
				}
			}
		}, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)
		wantFree(t, w.ifindex)
	})
}

func TestTCInterfaceMissing(t *testing.T) {
	for _, way := range []Way{ByTCX, ByClsact} {
		t.Run(way.String(), func(t *testing.T) {
			withWay(t, way)
			inNamespace(t, func() { missingInterface(t) })
		})
	}
}

func missingInterface(t *testing.T) {
	prog := loadSpec(t, tcProgram(ProgramName, nil, tcUnspec))
	for _, ifindex := range []int{-1, 0, 4711} {
		for _, dir := range []run.Direction{run.In, run.Out} {
			var missing *NoInterfaceError
			if h, err := Link(ifindex, dir, prog, run.TC); !errors.As(err, &missing) {
				t.Errorf("link to %d: %v, %v", ifindex, h, err)
			}
			if err := Attach(ifindex, dir, prog, run.TC); !errors.As(err, &missing) {
				t.Errorf("attach to %d: %v", ifindex, err)
			}
			if removed, err := RemoveStale(ifindex); !errors.As(err, &missing) {
				t.Errorf("remove from %d: %v, %v", ifindex, removed, err)
			}
		}
	}
}

// There is an end to how many programs tcx takes.
func TestTCXIsFull(t *testing.T) {
	needTCX(t)
	onWire(t, func(w wire) {
		var err error
		for n := 0; err == nil; n++ {
			if n > 1000 {
				t.Fatal("tcx has no end")
			}
			prog, loading := ebpf.NewProgram(tcProgram("somebody", nil, tcUnspec))
			if loading != nil {
				t.Fatal(loading)
			}
			err = giveLast(w.ifindex, run.In, prog)
			prog.Close()
		}
		if !errors.Is(err, unix.ERANGE) {
			t.Fatal(err)
		}
		prog, _ := counted(t, someMeta(false))
		_, linked := Link(w.ifindex, run.In, prog, run.TC)
		for what, err := range map[string]error{"link": linked, "give": Attach(w.ifindex, run.In, prog, run.TC)} {
			var refused *UnsupportedError
			if !errors.As(err, &refused) || !errors.Is(err, unix.ERANGE) {
				t.Errorf("%s: error %v", what, err)
			}
		}
	})
}
