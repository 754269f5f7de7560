package doctor

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
)

// world is a veth pair left and right in one network namespace.
type world struct {
	t  *testing.T
	ns *lab.Namespace
}

// inWorld runs a test inside a world whose ends are as the configuration says.
func inWorld(t *testing.T, cfg lab.PairConfig, test func(w world)) {
	t.Helper()
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	cfg.A.Name, cfg.B.Name = "left", "right"
	if err := lab.Connect(ns, ns, cfg); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { test(world{t, ns}); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (w world) index(name string) int {
	w.t.Helper()
	i, err := hook.Interface(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return i.Index
}

// put gives a program to an interface, ours or another's.
func (w world) put(name string, dir run.Direction, mode run.Hook, ours bool) uint32 {
	w.t.Helper()
	var meta *hook.Meta
	if ours {
		meta = &hook.Meta{}
	}
	prog := w.load(mode, meta)
	if !ours && mode == run.TC && tcWay(w.t) == hook.ByClsact.String() {
		w.putFilter(name, dir, prog)
	} else if err := hook.Attach(w.index(name), dir, prog, mode); err != nil {
		w.t.Fatal(err)
	}
	return w.id(prog)
}

// putFilter gives a program to clsact as another tool does. What hook.Attach puts
// there has the handle of ours, of which there is room for one.
func (w world) putFilter(name string, dir run.Direction, prog *ebpf.Program) {
	w.t.Helper()
	parent := map[run.Direction]uint32{run.In: netlink.HANDLE_MIN_INGRESS, run.Out: netlink.HANDLE_MIN_EGRESS}[dir]
	index := w.index(name)
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscAdd(qdisc); err != nil {
		w.t.Fatal(err)
	}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          prog.FD(), Name: "somebody", DirectAction: true,
	}
	if err := netlink.FilterAdd(filter); err != nil {
		w.t.Fatal(err)
	}
}

// load loads a program, which is ours if it has metadata.
func (w world) load(mode run.Hook, meta *hook.Meta) *ebpf.Program {
	w.t.Helper()
	spec := &ebpf.ProgramSpec{Name: "somebody", Type: ebpf.XDP, License: "MIT"}
	verdict := int32(2) // XDP_PASS
	if mode == run.TC {
		spec.Type, verdict = ebpf.SchedCLS, -1 // TCX_NEXT
	}
	if meta != nil {
		spec.Name = hook.ProgramName
	}
	spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()}
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { prog.Close() })
	if meta != nil {
		if err := hook.Label(prog, *meta, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	return prog
}

func (w world) id(prog *ebpf.Program) uint32 {
	w.t.Helper()
	info, err := prog.Info()
	if err != nil {
		w.t.Fatal(err)
	}
	id, _ := info.ID()
	return uint32(id)
}

func (w world) set(name string, features lab.Features) {
	w.t.Helper()
	if err := w.ns.SetFeatures(name, features); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) channels(name string, rx, tx uint32) {
	w.t.Helper()
	tool, err := ethtool.NewEthtool()
	if err != nil {
		w.t.Fatal(err)
	}
	defer tool.Close()
	if _, err := tool.SetChannels(name, ethtool.Channels{RxCount: rx, TxCount: tx}); err != nil {
		w.t.Fatal(err)
	}
}

// tcWay is what holds a program at tc on this kernel.
func tcWay(t *testing.T) string {
	t.Helper()
	tcx, err := hook.HasTCX()
	if err != nil {
		t.Fatal(err)
	}
	if tcx {
		return hook.ByTCX.String()
	}
	return hook.ByClsact.String()
}
