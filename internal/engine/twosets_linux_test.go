package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
)

// killedAttach leaves what an attach to tc leaves that is killed before it has seen
// what came to XDP meanwhile: given to tcx here, or else to clsact.
func killedAttach(t *testing.T, cfg run.Options) {
	t.Helper()
	cfg.Hook = run.TC
	s, err := Prepare(cfg)
	check(t, err)
	l, err := Load(cfg.Program, s.options(run.TC))
	check(t, err)
	defer l.Close()
	_, err = s.label(l, run.TC)
	check(t, err)
	err = link.RawAttachProgram(link.RawAttachProgramOptions{Target: s.iface.Index, Program: l.Program, Attach: ebpf.AttachTCXIngress})
	if err != nil && !has(t, hook.TCX) {
		iface, look := netlink.LinkByName(cfg.Interface)
		check(t, look)
		check(t, netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: iface.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}}))
		err = netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: iface.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 0x7270, Priority: 1, Protocol: 3},
			Fd:          l.Program.FD(), Name: hook.ProgramName, DirectAction: true,
		})
	}
	check(t, err)
}

func has(t *testing.T, f hook.Feature) bool {
	there, err := hook.Has(f)
	check(t, err)
	return there
}

// TestTwoSets: an attach that was killed at the wrong moment can leave a second set of
// rules. Whoever sees both says so, and detach removes both.
func TestTwoSets(t *testing.T) {
	needs.Kernel(t)
	pair := newPair(t, lab.PairConfig{})
	check(t, pair.B.Do(func() error {
		cfg := run.Options{Program: checked(t, "if udp_dest 443 then udp_dest 8080"), Target: run.Target{Interface: "right"}, Hook: run.XDP}
		_, err := attachRules(cfg)
		check(t, err)
		killedAttach(t, cfg)
		seen := func(what string, err error) {
			t.Helper()
			var taken *hook.TakenError
			if !errors.As(err, &taken) || len(taken.Also) != 1 || taken.Hint() != "detach them first: repacket detach -i right" {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, mode := range []run.Hook{run.XDP, run.TC, run.Auto} {
			cfg.Hook = mode
			_, err := attachRules(cfg)
			seen("attach to "+mode.String(), err)
			_, err = Start(cfg)
			seen("run on "+mode.String(), err)
			_, err = replaceRules(cfg)
			seen("replace on "+mode.String(), err)
		}
		all, err := List("")
		check(t, err)
		if len(all) != 2 {
			t.Errorf("%d programs are listed", len(all))
		}
		wantPrograms(t, "right", hook.ProgramName, hook.ProgramName)
		done, err := Detach(run.Target{Interface: "right"})
		if !done.Found || done.Unsure != nil {
			t.Errorf("detached: %+v", done)
		}
		wantPrograms(t, "right")
		return err
	}))
}

// TestTwoSetsOneOfARun: detach detaches what is not held by a process, and says what is.
func TestTwoSetsOneOfARun(t *testing.T) {
	needs.Kernel(t)
	pair := newPair(t, lab.PairConfig{})
	check(t, pair.B.Do(func() error {
		cfg := run.Options{Program: checked(t, "if udp_dest 443 then udp_dest 8080"), Target: run.Target{Interface: "right"}, Hook: run.XDP}
		session, err := Start(cfg)
		check(t, err)
		cfg.Stay = true
		killedAttach(t, cfg)
		done, err := Detach(run.Target{Interface: "right"})
		var taken *hook.TakenError
		if !done.Found || !errors.As(err, &taken) || taken.PID == 0 {
			t.Errorf("detached: %+v, %v", done, err)
		}
		wantPrograms(t, "right", hook.ProgramName)
		_, err = session.Close()
		return err
	}))
}

// TestMovedAway: an interface that is moved to another network namespace takes the rules
// of a run along. What has its number here then is not what the rules are on.
func TestMovedAway(t *testing.T) {
	needs.Kernel(t)
	for _, mode := range []run.Hook{run.XDP, run.TC} {
		t.Run(mode.String(), func(t *testing.T) {
			pair := newPair(t, lab.PairConfig{})
			elsewhere := newNamespace(t)
			check(t, pair.B.Do(func() error {
				r, err := Start(run.Options{Program: checked(t, "if udp"), Target: run.Target{Interface: "right"}, Hook: mode})
				check(t, err)
				moved, err := netlink.LinkByName("right")
				check(t, err)
				check(t, netlink.LinkSetNsFd(moved, elsewhere.FD()))
				check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "other", Index: moved.Attrs().Index}, PeerName: "end"}))
				if name, err := r.interfaceName(); !errors.Is(err, ErrMoved) {
					t.Errorf("it is said to be %q, %v", name, err)
				}
				if _, err := r.Replace(checked(t, "if udp then udp_dest 53")); !errors.Is(err, ErrMoved) {
					t.Errorf("replaced: %v", err)
				}
				_, err = r.Close()
				if traffic, err := r.Traffic(); !errors.Is(err, ErrMoved) {
					t.Errorf("its packets are said to be %+v, %v", traffic, err)
				}
				return err
			}))
		})
	}
}

// TestCommentsAreNotKept: what is kept in the kernel is the rules' own words.
func TestCommentsAreNotKept(t *testing.T) {
	needs.Kernel(t)
	pair := newPair(t, lab.PairConfig{})
	comment := "# " + strings.Repeat("<", 1<<20) + "\n"
	check(t, pair.B.Do(func() error {
		_, err := attachRules(run.Options{Program: checked(t, comment+"web: if udp_dest 443 "+comment+"then udp_dest 8080"), Target: run.Target{Interface: "right"}})
		check(t, err)
		ours, err := hook.Ours(ifindexOf(t, "right"), run.In)
		check(t, err)
		prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(ours[0].ProgramID))
		check(t, err)
		defer prog.Close()
		info, err := prog.Info()
		check(t, err)
		ids, _ := info.MapIDs()
		for _, id := range ids {
			m, err := ebpf.NewMapFromID(id)
			check(t, err)
			if m.ValueSize() > 4096 {
				t.Errorf("%s has values of %d bytes", m, m.ValueSize())
			}
			check(t, m.Close())
		}
		if text, whole := ours[0].Meta.Source(); text != "web: if udp_dest 443 then udp_dest 8080" || !whole {
			t.Errorf("kept: %.100q, %v", text, whole)
		}
		_, err = Detach(run.Target{Interface: "right"})
		return err
	}))
}

func ifindexOf(t *testing.T, name string) int {
	l, err := netlink.LinkByName(name)
	check(t, err)
	return l.Attrs().Index
}
