package engine

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
)

// evict takes what this tool has on an interface for a direction away, as bpftool link detach and
// tc qdisc del do.
func evict(t *testing.T, target run.Target) {
	t.Helper()
	i, err := hook.Interface(target.Interface)
	check(t, err)
	ours, err := hook.Ours(i.Index, target.Direction)
	check(t, err)
	if len(ours) != 1 {
		t.Fatalf("there are %d programs of ours for %v", len(ours), target)
	}
	if ours[0].Way == hook.ByClsact {
		check(t, netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: i.Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}}))
		return
	}
	all := new(link.Iterator)
	defer all.Close()
	for all.Next() {
		info, err := all.Link.Info()
		check(t, err)
		if uint32(info.Program) == ours[0].ProgramID {
			check(t, all.Link.Detach())
			return
		}
	}
	t.Fatalf("no link has program %d: %v", ours[0].ProgramID, all.Err())
}

// beside attaches a program of somebody else to tcx behind all others, for as long as the test.
func beside(t *testing.T, target run.Target) {
	t.Helper()
	i, err := hook.Interface(target.Interface)
	check(t, err)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "somebody", Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	check(t, err)
	defer prog.Close()
	at := map[run.Direction]ebpf.AttachType{run.In: ebpf.AttachTCXIngress, run.Out: ebpf.AttachTCXEgress}[target.Direction]
	check(t, link.RawAttachProgram(link.RawAttachProgramOptions{Target: i.Index, Program: prog, Attach: at, Anchor: link.Tail()}))
}

// endOf waits until a session is over by itself, and closes it.
func endOf(t *testing.T, r *Session) (run.Counts, error) {
	t.Helper()
	select {
	case <-r.Done():
	case <-time.After(patience):
		t.Error("the run goes on")
	}
	return r.Close()
}

// TestOthersTakeARunAway: a run whose program is taken away is over, for whichever direction of a
// rule set that is, and has its counts still; nothing of it stays, and what is another's does.
func TestOthersTakeARunAway(t *testing.T) {
	const web, served = "web: if udp_dest 443 then udp_dest 8080", "web: if udp_dest 443 then udp_dest 8080 replies"
	for _, c := range []struct {
		name, text string
		replies    bool // what rewrites them is what is taken away
	}{{"rules", web, false}, {"rules with replies", served, false}, {"replies", served, true}} {
		t.Run(c.name, func(t *testing.T) {
			onBeds(t, func(b *bed) {
				tcx, err := hook.HasTCX()
				check(b.t, err)
				r := b.start(c.text, 0)
				b.stream(3, 443, 8080)
				target := b.cfg.Target
				if c.replies {
					target.Direction = target.Direction.Other()
				}
				var left []string
				b.do(func() error {
					if tcx {
						left = []string{"somebody"}
						beside(b.t, target)
					}
					evict(b.t, target)
					return nil
				})
				counts, err := endOf(b.t, r)
				var lost *hook.LostError
				switch {
				case !errors.As(err, &lost):
					b.t.Fatalf("the run ended with %v", err)
				case lost.How != hook.Detached || lost.Replies != c.replies && tcx || lost.Interface != target.Interface || run.ClassOf(err) != run.Failed:
					b.t.Errorf("the run ended with %+v", lost)
				}
				if len(counts.Rules) != 1 || counts.Rules[0].Rewritten != 3 {
					b.t.Errorf("counted %+v", counts)
				}
				b.do(func() error { wantPrograms(b.t, target.Interface, left...); return nil })
			})
		})
	}
}

// TestOwnSwapsAreNoLoss: a run that reads its rules again, and has them confirmed, is never taken
// for one whose program others have replaced.
func TestOwnSwapsAreNoLoss(t *testing.T) {
	const web, served = "web: if udp_dest 443 then udp_dest 8080", "web: if udp_dest 443 then udp_dest 8080 replies"
	onBeds(t, func(b *bed) {
		opt := b.with(web)
		opt.RevertAfter = time.Hour
		var r *Session
		b.do(func() (err error) { r, err = Start(opt); return err })
		stop := make(chan struct{})
		var looks sync.WaitGroup
		looks.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := r.lost(); err != nil {
						b.t.Errorf("taken for lost: %v", err)
						return
					}
				}
			}
		})
		for _, text := range []string{served, web, served} {
			b.do(func() error { return replaced(r.Replace(checked(b.t, text))) })
			b.do(func() error { _, err := Confirm(b.cfg.Target); return err })
			select {
			case <-r.Settled():
			case <-time.After(patience):
				b.t.Error("the run does not see that its rules are confirmed")
			}
		}
		close(stop)
		looks.Wait()
		_, err := r.Close()
		check(b.t, err)
	})
}

// TestPeerIsTakenAway: without the program at the other end native XDP of ours would lose packets.
func TestPeerIsTakenAway(t *testing.T) {
	ns := newNamespace(t)
	check(t, lab.Connect(ns, ns, lab.PairConfig{A: lab.End{Name: "v0"}, B: lab.End{Name: "v1"}}))
	check(t, ns.Do(func() error {
		r, err := Start(run.Options{Program: checked(t, "if udp_dest 7 then reflect"), Target: run.Target{Interface: "v0"}, Hook: run.XDP})
		check(t, err)
		wantPrograms(t, "v1", hook.PeerName)
		i, err := hook.Interface("v1")
		check(t, err)
		there, err := hook.Programs(i.Index, run.In)
		check(t, err)
		all := new(link.Iterator)
		defer all.Close()
		for all.Next() {
			info, err := all.Link.Info()
			check(t, err)
			if uint32(info.Program) == there[0].ProgramID {
				check(t, all.Link.Detach())
			}
		}
		_, err = endOf(t, r)
		if err == nil || err.Error() != "the program at the other end of a veth is gone, without which native XDP of v0 loses what it sends there" {
			t.Errorf("the run ended with %v", err)
		}
		wantPrograms(t, "v0")
		return nil
	}))
}
