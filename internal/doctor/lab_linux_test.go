package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
	"repacket/test/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// report is Report on the machine as it is.
func report(t *testing.T, iface string) []Row {
	t.Helper()
	rows, err := Report(Live{}, iface)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func rowOf(t *testing.T, rows []Row, name string) Row {
	t.Helper()
	for _, r := range rows {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("there is no row %s", name)
	return Row{}
}

func wantRow(t *testing.T, rows []Row, want Row) {
	t.Helper()
	if diff := cmp.Diff(want, rowOf(t, rows, want.Name)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A pair of cables' ends has nothing to complain about.
func TestAllIsWell(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{A: lab.End{Features: lab.ByteExact()}}, func(world) {
		rows := report(t, "right")
		for _, r := range rows {
			if r.Level != OK && r.Name != "tcx" && r.Name != "jit" { // those are the kernel's
				t.Errorf("%+v", r)
			}
		}
		wantRow(t, rows, Row{"interface", "right", OK, "veth, Ethernet, MTU 1500", ""})
		wantRow(t, rows, Row{"driver", "right", OK, "veth", ""})
		wantRow(t, rows, Row{"native-xdp", "right", OK, "the driver has it", ""})
		wantRow(t, rows, Row{"mtu", "right", OK, "1500: native XDP needs no multi-buffer", ""})
		wantRow(t, rows, Row{"lro", "right", OK, "off: packets arrive one by one", ""})
		wantRow(t, rows, Row{"gro", "right", OK, "off: packets reach every hook one by one", ""})
		wantRow(t, rows, Row{"peer", "right", OK, "left", ""})
		wantRow(t, rows, Row{"peer-checksums", "right", OK, "left sends whole checksums", ""})
		wantRow(t, rows, Row{"peer-vlan", "right", OK, "left leaves VLAN tags in their packets", ""})
		wantRow(t, rows, Row{"programs-in", "right", OK, "none", ""})
		wantRow(t, rows, Row{"programs-out", "right", OK, "none", ""})
		wantRow(t, rows, Row{"auto-in", "right", OK, "tc: right is a veth, where XDP would switch segmentation offload off", ""})
		wantRow(t, rows, Row{"auto-out", "right", OK, "tc: XDP sees only packets that arrive", ""})
	})
}

func TestDown(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{}, func(world) {
		link, err := netlink.LinkByName("right")
		if err == nil {
			err = netlink.LinkSetDown(link)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := Row{"interface", "right", Note, "veth, Ethernet, MTU 1500, down: no packets come or go", "ip link set dev right up"}
		wantRow(t, report(t, "right"), want)
	})
}

// What a peer's offloads do matters as soon as rules are at XDP.
func TestPeersOffloads(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{Offload: true}, func(w world) {
		sums := Row{
			"peer-checksums", "right", Note,
			"left leaves checksums to be finished later, which XDP cannot see and would break; tc handles them",
			"ethtool -K left tx off",
		}
		tags := Row{
			"peer-vlan", "right", Note,
			"left sends VLAN tags beside their packets, where XDP does not see them (tc does)",
			"ethtool -K left txvlan off tx-vlan-stag-hw-insert off",
		}
		rows := report(t, "right")
		wantRow(t, rows, sums)
		wantRow(t, rows, tags)
		w.put("right", run.In, run.XDP, true)
		sums.Level, tags.Level = Warning, Warning
		rows = report(t, "right")
		wantRow(t, rows, sums)
		wantRow(t, rows, tags)
		// What the commands do.
		w.set("left", lab.Features{lab.TxChecksum: false, lab.TxVLAN: false, lab.TxSVLAN: false})
		rows = report(t, "right")
		wantRow(t, rows, Row{"peer-checksums", "right", OK, "left sends whole checksums", ""})
		wantRow(t, rows, Row{"peer-vlan", "right", OK, "left leaves VLAN tags in their packets", ""})
	})
}

func TestPeerElsewhere(t *testing.T) {
	needs.Kernel(t)
	p, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var peer int
	err = errors.Join(
		p.A.Do(func() error { peer = (world{t: t}).index("left"); return nil }),
		p.B.Do(func() error {
			rows := report(t, "right")
			got := rowOf(t, rows, "peer")
			want := Row{
				"peer", "right", Note, "interface " + itoa(peer) +
					" of another network namespace: its offloads cannot be seen from here; XDP needs them off there",
				"ethtool -K PEER tx off txvlan off",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, r := range rows {
				if r.Name == "peer-checksums" || r.Name == "peer-vlan" {
					t.Errorf("%+v", r)
				}
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
}

func TestGRO(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{}, func(w world) {
		w.set("right", lab.Features{lab.GRO: true})
		wantRow(t, report(t, "right"), Row{
			"gro", "right", Note,
			"on: tc sees streams joined to large packets, and skips those whose segmentation a rule would change (ip_id, ip_tot_len and the like)",
			"ethtool -K right gro off",
		})
		w.put("right", run.In, run.XDP, true)
		wantRow(t, report(t, "right"), Row{"gro", "right", OK, "on, which is behind native XDP", ""})
	})
}

// Where the doctor says that a page does not hold it, native XDP without
// multi-buffer is refused, and by the command it is taken.
func TestMTU(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{MTU: 9000}, func(w world) {
		try := func(mtu int) error {
			for _, name := range []string{"left", "right"} {
				link, err := netlink.LinkByName(name)
				if err == nil {
					err = netlink.LinkSetMTU(link, mtu)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			h, err := hook.Link(w.index("right"), run.In, w.load(run.XDP, nil), run.XDP)
			if err == nil {
				return h.Close()
			}
			return err
		}
		if os.Getpagesize() == 4096 { // 4096-256-320-14-4-4
			wantRow(t, report(t, "right"), jumbo(t))
		}
		facts := Facts{Page: os.Getpagesize()}
		var refused *hook.UnsupportedError
		if err := try(9000); !errors.As(err, &refused) {
			t.Errorf("MTU 9000: %v", err)
		}
		if err := try(facts.onePage()); err != nil {
			t.Errorf("MTU %d: %v", facts.onePage(), err)
		}
		if got := rowOf(t, report(t, "right"), "mtu"); got.Level != OK {
			t.Errorf("%+v", got)
		}
	})
}

// jumbo is the row of MTU 9000 on a veth of this kernel: veth has multi-buffer
// since Linux 5.18, and tells it since 6.3.
func jumbo(t *testing.T) Row {
	t.Helper()
	there, err := hook.Has(hook.XDPFragments)
	if err != nil || !there {
		t.Fatalf("multi-buffer: %v, %v", there, err)
	}
	i, err := hook.Interface("right")
	if err != nil {
		t.Fatal(err)
	}
	row := Row{"mtu", "right", OK, "9000: more than a page of memory holds: native XDP needs multi-buffer, which kernel and driver have", ""}
	if hook.TakesFragments(i) == hook.Unknown {
		row.Level = Unknown
		row.Text = "9000: more than a page of memory holds: native XDP needs multi-buffer, and whether it is there is not to be seen"
	}
	return row
}

// A veth whose peer sends on more queues than it receives on refuses native
// XDP; with as many as the command gives it does not.
func TestQueuesOfVeth(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{}, func(w world) {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: "many", NumTxQueues: 2, NumRxQueues: 2})
		veth.PeerName = "few"
		if err := netlink.LinkAdd(veth); err != nil {
			t.Fatal(err)
		}
		w.channels("few", 1, 1)
		text := "1 to receive, and many sends on 2: native XDP is refused"
		wantRow(t, report(t, "few"), Row{"queues", "few", Note, text, "ethtool -L few rx 2"})
		try := func() error {
			h, err := hook.Link(w.index("few"), run.In, w.load(run.XDP, nil), run.XDP)
			if err == nil {
				return h.Close()
			}
			return err
		}
		if err := try(); err == nil {
			t.Error("it is taken")
		}
		w.channels("few", 2, 1)
		if err := try(); err != nil {
			t.Error(err)
		}
		if got := rowOf(t, report(t, "few"), "queues"); got.Level != OK {
			t.Errorf("%+v", got)
		}
	})
}

// Programs are told with whose they are and what they keep from being attached.
func TestProgramsOnHooks(t *testing.T) {
	needs.Kernel(t)
	tests := []struct {
		name  string
		iface string
		dir   run.Direction
		mode  run.Hook
		ours  bool
		level Level
		text  string // behind the number
		run   string
	}{
		{"another's XDP", "right", run.In, run.XDP, false, Note, " (somebody)", "bpftool prog show id ID"},
		{"another's generic XDP", "right", run.In, run.GenericXDP, false, Note, " (somebody)", "bpftool prog show id ID"},
		{"our XDP", "right", run.In, run.XDP, true, Note, ", ours, until detach", "repacket detach -i right"},
		{"another's tc in", "right", run.In, run.TC, false, OK, " (somebody)", ""},
		{"ours at tc in", "right", run.In, run.TC, true, Note, ", ours, until detach", "repacket detach -i right"},
		{"another's tc out", "right", run.Out, run.TC, false, OK, " (somebody)", ""},
		{"ours at tc out", "right", run.Out, run.TC, true, Note, ", ours, until detach", "repacket detach -i right -Q out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, lab.PairConfig{}, func(w world) {
				w.t = t
				id := itoa(int(w.put(tt.iface, tt.dir, tt.mode, tt.ours)))
				where := tt.mode.String()
				if tt.mode == run.TC {
					where = tcWay(t)
				}
				want := Row{"programs-" + tt.dir.String(), "right", tt.level, where + " program " + id + tt.text, ""}
				if tt.run != "" {
					want.Command = replaced(tt.run, "ID", id)
				}
				wantRow(t, report(t, "right"), want)
			})
		})
	}
}

// A run is told with its process, and all that is there in its order. The number
// of a process of another PID namespace is not told to be killed.
func TestProgramOfARun(t *testing.T) {
	needs.Kernel(t)
	for _, tt := range []struct{ space, process, command string }{
		{"", "process 4711", "kill 4711"},
		{hook.PIDSpace(), "process 4711", "kill 4711"},
		{"pid:[1]", "process 4711 of another PID namespace", ""},
	} {
		programOfARun(t, tt.space, tt.process, tt.command)
	}
}

func programOfARun(t *testing.T, space, process, command string) {
	inWorld(t, lab.PairConfig{}, func(w world) {
		other := w.put("right", run.Out, run.TC, false)
		prog := w.load(run.TC, &hook.Meta{PID: 4711, PIDSpace: space, Foreground: true})
		h, err := hook.Link(w.index("right"), run.Out, prog, run.TC)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		way := tcWay(t)
		text := way + " program " + itoa(int(w.id(prog))) + ", ours, until " + process + " ends; " +
			way + " program " + itoa(int(other)) + " (somebody)"
		wantRow(t, report(t, "right"), Row{"programs-out", "right", Note, text, command})
	})
}

// Interfaces without native XDP, and one that no hook serves.
func TestOtherInterfaces(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{MTU: 9000}, func(w world) {
		if err := testnet.AddBridge(w.ns, lab.End{Name: "br"}, "left"); err != nil {
			t.Fatal(err)
		}
		tun, err := testnet.OpenTun(w.ns, testnet.TunConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer tun.Close()
		tap, err := testnet.OpenTun(w.ns, testnet.TunConfig{Tap: true})
		if err != nil {
			t.Fatal(err)
		}
		defer tap.Close()
		none := "the driver has none; tc is the faster hook here"
		for _, tt := range []struct{ iface, is, native, auto string }{
			{"lo", "loopback, MTU 65536", none, "tc: lo has no native XDP"},
			{"br", "bridge, Ethernet, MTU 9000", none, "tc: br is a bridge, which has no native XDP"},
			{"tun0", "tun, raw IP, MTU 1500", none, "tc: tun0 has no Ethernet header, and so no native XDP"},
			{"tap0", "tap, Ethernet, MTU 1500", "the driver has it", "tc: tap0 is a tap, where XDP could not see checksums that are finished later"},
		} {
			rows := report(t, tt.iface)
			for name, want := range map[string]string{"interface": tt.is, "native-xdp": tt.native} {
				if got := rowOf(t, rows, name); got.Text != want {
					t.Errorf("%s: %s is %q, want %q", tt.iface, name, got.Text, want)
				}
			}
			if got := rowOf(t, rows, "auto-in"); got.Text != tt.auto {
				t.Errorf("%s: auto-in is %q, want %q", tt.iface, got.Text, tt.auto)
			}
			if got := rowOf(t, rows, "mtu"); got.Level != OK {
				t.Errorf("%s: %+v", tt.iface, got)
			}
		}
		left := rowOf(t, report(t, "left"), "interface")
		if want := "veth, Ethernet, MTU 9000, part of interface " + itoa(w.index("br")); left.Text != want {
			t.Errorf("left is %q, want %q", left.Text, want)
		}
	})
}

func TestUnknownInterface(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{}, func(world) {
		_, err := Report(Live{}, "rigth")
		var missing *hook.NoInterfaceError
		if !errors.As(err, &missing) {
			t.Errorf("error %v", err)
		}
	})
}

// Without an interface there is a row for each of the network namespace.
func TestOverview(t *testing.T) {
	needs.Kernel(t)
	inWorld(t, lab.PairConfig{A: lab.End{Features: lab.ByteExact()}, B: lab.End{Features: lab.ByteExact()}}, func(w world) {
		w.put("right", run.In, run.XDP, true)
		w.set("left", lab.Features{lab.TxVLAN: true})
		var got []Row
		for _, r := range report(t, "") {
			if r.Interface != "" {
				got = append(got, r)
			}
		}
		want := []Row{
			{"interface", "lo", OK, "loopback, MTU 65536; in by tc, out by tc", ""},
			{"interface", "right", Warning, "veth, Ethernet, MTU 1500; in by tc, out by tc; see peer-vlan", "repacket doctor -i right"},
			{"interface", "left", OK, "veth, Ethernet, MTU 1500; in by tc, out by tc", ""},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Files are read below the root, where there is one.
func TestRoot(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, releaseFile)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("7.0.0-test\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	rows, err := Report(Live{Root: root}, "lo")
	if err != nil {
		t.Fatal(err)
	}
	wantRow(t, rows, Row{"kernel", "", OK, "Linux 7.0.0-test; what it has is tried, not read off its version", ""})
}
