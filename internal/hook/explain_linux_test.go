package hook

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
)

// The kernel's errors, injected: kernels and drivers that are not here too.
func TestExplain(t *testing.T) {
	const all = capabilities(1<<unix.CAP_BPF | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN)
	native := attempt{iface: "eth1", mode: run.XDP, have: all, kernel: "6.18.4-fc"}
	old := attempt{iface: "eth1", mode: run.XDP, have: all, kernel: "4.19.0-27-amd64"}
	hardware := native
	hardware.hardware = true
	generic := native
	generic.mode = run.GenericXDP
	tc := attempt{iface: "eth1", dir: run.Out, mode: run.TC, have: all, kernel: "6.1.0-13-amd64"}
	with := func(s attempt, have capabilities) attempt { s.have = have; return s }
	tests := map[string]struct {
		err  error
		act  action
		at   attempt
		want string // type, message and hint
	}{
		"link taken":      {unix.EBUSY, actLink, native, "*hook.TakenError: eth1 is taken: an XDP program was there, or is on the interface above it | try again, or look at the interfaces with: ip link"},
		"other mode":      {unix.EEXIST, actAttach, generic, "*hook.TakenError: eth1 is taken: an XDP program was there, or is on the interface above it | try again, or look at the interfaces with: ip link"},
		"no native":       {unix.EOPNOTSUPP, actLink, native, "*hook.UnsupportedError: eth1 has no native XDP: its driver does not support it, or not as it is set up | use tc: --hook tc"},
		"leaked errno":    {unix.Errno(524), actAttach, native, "*hook.UnsupportedError: eth1 has no native XDP: its driver does not support it, or not as it is set up | use tc: --hook tc"},
		"MTU":             {unix.ERANGE, actLink, native, "*hook.UnsupportedError: the MTU of eth1, or of its peer, is too large for native XDP | lower the MTU, or use tc: --hook tc"},
		"queues":          {unix.ENOSPC, actAttach, native, "*hook.UnsupportedError: eth1 has too few receive queues for native XDP | give it more: ethtool -L, or use tc: --hook tc"},
		"memory":          {unix.ENOMEM, actAttach, native, "*fmt.wrapError: cannot attach to eth1: cannot allocate memory | "},
		"memory, looking": {unix.ENOMEM, actList, attempt{mode: run.Auto, hardware: true}, "*fmt.wrapError: cannot list the interfaces: cannot allocate memory | "},
		"rings":           {unix.ENOMEM, actAttach, hardware, "*hook.UnsupportedError: eth1 has too few queues or too little memory for native XDP | change its queues: ethtool -L, or use tc: --hook tc"},
		"driver's EINVAL": {unix.EINVAL, actLink, native, "*hook.UnsupportedError: the driver of eth1 refuses native XDP as the interface is set up | lower the MTU, or use tc: --hook tc"},
		"generic EINVAL":  {unix.EINVAL, actLink, generic, "*fmt.wrapError: cannot attach to eth1: invalid argument | "},
		"generic ERANGE":  {unix.ERANGE, actLink, generic, "*fmt.wrapError: cannot attach to eth1: numerical result out of range | "},
		"gone":            {unix.ENODEV, actAttach, native, "*hook.NoInterfaceError: there is no interface eth1 | "},
		"no bpf(2)":       {unix.ENOSYS, actLoad, old, "*hook.UnsupportedError: cannot load the program: this kernel (4.19.0-27-amd64) lacks BPF programs as they are used here, which came with Linux 5.10 | "},
		"no links":        {fmt.Errorf("probe: %w", ebpf.ErrNotSupported), actLink, old, "*hook.UnsupportedError: cannot attach to eth1: this kernel (4.19.0-27-amd64) lacks links for XDP, which came with Linux 5.9 | "},
		"no XDP links":    {unix.EINVAL, actLink, attempt{iface: "eth1", mode: run.GenericXDP, have: all, kernel: "5.8.0"}, "*hook.UnsupportedError: cannot attach to eth1: this kernel (5.8.0) lacks links for XDP, which came with Linux 5.9 | "},
		"no replace":      {unix.EINVAL, actDetach, attempt{iface: "eth1", mode: run.GenericXDP, have: all, kernel: "5.6.1"}, "*hook.UnsupportedError: cannot detach from eth1: this kernel (5.6.1) lacks XDP that is detached by program, which came with Linux 5.7 | "},
		"no bound maps":   {unix.EINVAL, actLabel, attempt{kernel: "5.9.16"}, "*hook.UnsupportedError: cannot label the program: this kernel (5.9.16) lacks maps bound to programs, which came with Linux 5.10 | "},
		"no privilege":    {unix.EPERM, actLink, with(native, 0), "*hook.PrivilegeError: cannot attach to eth1: CAP_BPF and CAP_NET_ADMIN are missing | run it with sudo, or grant it to everybody who may execute the file: setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v repacket)"},
		"one missing":     {unix.EACCES, actAttach, with(native, 1<<unix.CAP_BPF), "*hook.PrivilegeError: cannot attach to eth1: CAP_NET_ADMIN is missing | run it with sudo, or grant it to everybody who may execute the file: setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v repacket)"},
		"old admin":       {unix.EPERM, actLoad, with(native, 1<<unix.CAP_SYS_ADMIN), "*hook.PrivilegeError: cannot load the program: CAP_NET_ADMIN is missing | run it with sudo, or grant it to everybody who may execute the file: setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v repacket)"},
		"by number":       {unix.EPERM, actFind, with(native, 1<<unix.CAP_BPF), "*hook.PrivilegeError: cannot inspect the program on eth1: CAP_SYS_ADMIN is missing | run it with sudo, or grant it to everybody who may execute the file: setcap cap_bpf,cap_net_admin,cap_perfmon,cap_sys_admin+ep $(command -v repacket)"},
		"something else":  {unix.EPERM, actLink, native, "*hook.PrivilegeError: cannot attach to eth1: the kernel does not permit it, though no capability is missing | capabilities of a user namespace do not count"},
		"tc no clsact":    {errNoClsact, actLink, tc, "*hook.UnsupportedError: cannot attach to eth1: this kernel has neither tcx, which came with Linux 6.6, nor clsact with BPF filters (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF) | "},
		"tc ingress":      {errIngressOnly, actAttach, tc, "*hook.UnsupportedError: cannot attach to eth1: eth1 has an ingress qdisc, which has no place for packets that leave | put clsact and its filters in its place: tc qdisc del dev eth1 ingress, tc qdisc add dev eth1 clsact"},
		"tc full":         {unix.ERANGE, actLink, tc, "*hook.UnsupportedError: cannot attach to eth1: eth1 has as many tc programs as there can be | look at them with: bpftool net"},
		"tc block":        {unix.EOPNOTSUPP, actAttach, tc, "*hook.UnsupportedError: cannot attach to eth1: the qdisc of eth1 takes no filters of its own: it shares a block with others | "},
		"tc race":         {unix.ESTALE, actLink, tc, "*hook.TakenError: eth1 (out) is taken: another program came to its tc hook at the same time | try again"},
		"tc qdisc race":   {errQdiscChanged, actLink, tc, "*hook.TakenError: eth1 (out) is taken: another program came to its tc hook at the same time | try again"},
		"tc gone":         {unix.ENODEV, actAttach, tc, "*hook.NoInterfaceError: there is no interface eth1 | "},
		"tc no privilege": {unix.EPERM, actLink, with(tc, 0), "*hook.PrivilegeError: cannot attach to eth1: CAP_BPF and CAP_NET_ADMIN are missing | run it with sudo, or grant it to everybody who may execute the file: setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v repacket)"},
		"tc query":        {unix.EPERM, actQuery, with(tc, 1<<unix.CAP_BPF), "*hook.PrivilegeError: cannot inspect the tc programs on eth1: CAP_NET_ADMIN and CAP_SYS_ADMIN are missing | run it with sudo, or grant it to everybody who may execute the file: setcap cap_bpf,cap_net_admin,cap_perfmon,cap_sys_admin+ep $(command -v repacket)"},
		"tc unknown":      {unix.EINVAL, actReplace, tc, "*fmt.wrapError: cannot replace the program on eth1: invalid argument | "},
		"unknown":         {unix.EIO, actAttach, native, "*fmt.wrapError: cannot attach to eth1: input/output error | "},
	}
	for name, test := range tests {
		got := explain(fmt.Errorf("create link: %w", test.err), test.act, test.at)
		if !errors.Is(got, test.err) {
			t.Errorf("%s: the kernel's error is lost", name)
		}
		got = explain(test.err, test.act, test.at)
		if diff := cmp.Diff(test.want, whole(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if err := explain(nil, actLink, native); err != nil {
		t.Errorf("no error is explained as %v", err)
	}
}

func TestOlder(t *testing.T) {
	tests := []struct {
		release, version string
		want             bool
	}{
		{"5.8.18", "5.9", true},
		{"5.9", "5.9", false},
		{"5.10.0-27-amd64", "5.9", false},
		{"4.19.0", "5.9", true},
		{"6.1-rc2", "5.18", false},
		{"6.1", "6.18", true},
		{"5.9rc1", "5.9", false},
		{"unknown", "5.9", true},
	}
	for _, test := range tests {
		if got := older(test.release, test.version); got != test.want {
			t.Errorf("older(%q, %q) = %v", test.release, test.version, got)
		}
	}
}

// without calls f with capabilities taken out of the effective set.
func without(t *testing.T, f func(), caps ...int) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before, after [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		t.Fatal(err)
	}
	after = before
	for _, c := range caps {
		after[c/32].Effective &^= 1 << (c % 32)
	}
	if err := unix.Capset(&header, &after[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Capset(&header, &before[0]); err != nil {
			t.Error(err)
		}
	}()
	f()
}

func TestPrivilegeMissing(t *testing.T) {
	wantMissing := func(t *testing.T, what string, err error, missing ...string) {
		t.Helper()
		var privilege *PrivilegeError
		if !errors.As(err, &privilege) {
			t.Errorf("%s: error %v", what, err)
			return
		}
		if diff := cmp.Diff(missing, privilege.Missing); diff != "" {
			t.Errorf("%s: missing (-want +got):\n%s", what, diff)
		}
	}
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		prog := loadOurs(t, someMeta(false))
		without(t, func() {
			_, err := ebpf.NewProgram(passProgram(ProgramName))
			wantMissing(t, "load", ExplainLoad(err), "CAP_BPF", "CAP_NET_ADMIN")
			wantMissing(t, "give", Attach(ifindex, run.In, prog, run.XDP), "CAP_NET_ADMIN")
		}, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)
		wantNothing(t, ifindex)
		if err := Attach(ifindex, run.In, prog, run.XDP); err != nil {
			t.Fatal(err)
		}
		found, err := Find(ifindex, run.In)
		if err != nil {
			t.Fatal(err)
		}
		without(t, func() {
			_, err := Find(ifindex, run.In)
			wantMissing(t, "find", err, "CAP_SYS_ADMIN")
			_, err = List("")
			wantMissing(t, "list", err, "CAP_SYS_ADMIN")
			wantMissing(t, "take by number", Detach(found), "CAP_SYS_ADMIN")
		}, unix.CAP_SYS_ADMIN)
		without(t, func() { wantMissing(t, "take", Detach(found), "CAP_NET_ADMIN") }, unix.CAP_NET_ADMIN)
		wantProgram(t, ifindex, programID(t, prog))
	})
}

// The foreground needs CAP_BPF and CAP_NET_ADMIN only, also to say that the
// interface is taken.
func TestLeastPrivilege(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		without(t, func() {
			prog := loadOurs(t, someMeta(true))
			l, err := Link(ifindex, run.In, prog, run.XDP)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var taken *TakenError
			if _, err := Link(ifindex, run.In, prog, run.XDP); !errors.As(err, &taken) {
				t.Fatalf("linked twice: %v", err)
			}
			if want := programID(t, prog); taken.ProgramID != want || taken.Hook != run.XDP {
				t.Errorf("taken by %s program %d, want native %d", taken.Hook, taken.ProgramID, want)
			}
		}, unix.CAP_SYS_ADMIN)
	})
}

func TestExplainLoadKeepsTheVerifiersWord(t *testing.T) {
	needs.Kernel(t)
	spec := passProgram(ProgramName)
	spec.Instructions = spec.Instructions[1:] // r0 is not set
	_, err := ebpf.NewProgram(spec)
	var refusal *ebpf.VerifierError
	if !errors.As(ExplainLoad(err), &refusal) {
		t.Errorf("error %v, explained as %v", err, ExplainLoad(err))
	}
	if ExplainLoad(nil) != nil {
		t.Error("no error is explained")
	}
}

func TestMessages(t *testing.T) {
	tests := map[string]struct {
		err  error
		want string
	}{
		"foreground": {
			&TakenError{Interface: "eth1", Hook: run.XDP, ProgramID: 7, Ours: true, PID: 99},
			"*hook.TakenError: eth1 is taken: repacket runs there in the foreground (process 99) | stop it with Ctrl-C where it runs, or: kill 99",
		},
		"in a container": {
			&TakenError{Interface: "eth1", Hook: run.XDP, ProgramID: 7, Ours: true, PID: 1, Elsewhere: true},
			"*hook.TakenError: eth1 is taken: repacket runs there in the foreground, in another PID namespace (process 1 there) | stop it where it runs, as in its container",
		},
		"given": {
			&TakenError{Interface: "eth1", Hook: run.GenericXDP, ProgramID: 7, Ours: true},
			"*hook.TakenError: eth1 is taken: repacket is attached there (xdp-generic program 7) | detach it first: repacket detach -i eth1",
		},
		"another's": {
			&TakenError{Interface: "eth1", Hook: run.XDP, ProgramID: 7, ProgramName: "lb"},
			"*hook.TakenError: eth1 is taken by another xdp program, lb (7) | another's program is never replaced; --hook tc runs behind it, and bpftool prog show id 7 tells of it",
		},
		"for the other end": {
			&TakenError{Interface: "v1", Hook: run.XDP, ProgramID: 7, ProgramName: PeerName},
			"*hook.TakenError: v1 is taken: repacket at the other end of this veth needs a program of its own here (7) | it passes everything, and goes with the rules at the other end; --hook tc runs behind it",
		},
		"nameless": {
			&TakenError{Interface: "eth1", Hook: run.OffloadXDP, ProgramID: 7},
			"*hook.TakenError: eth1 is taken by an xdp-offload program (7) | another's program is never replaced; --hook tc runs behind it, and bpftool prog show id 7 tells of it",
		},
		"out": {
			&TakenError{Interface: "eth1", Direction: run.Out, Hook: run.TC, ProgramID: 7, Ours: true},
			"*hook.TakenError: eth1 (out) is taken: repacket is attached there (tc program 7) | detach it first: repacket detach -i eth1 -Q out",
		},
		"out in the foreground": {
			&TakenError{Interface: "eth1", Direction: run.Out, Hook: run.TC, ProgramID: 7, Ours: true, PID: 99},
			"*hook.TakenError: eth1 (out) is taken: repacket runs there in the foreground (process 99) | stop it with Ctrl-C where it runs, or: kill 99",
		},
		"near": {
			&NoInterfaceError{Name: "etj1", Near: []string{"eth1", "eth0"}},
			"*hook.NoInterfaceError: there is no interface etj1 | did you mean eth1 or eth0?",
		},
		"number":      {&NoInterfaceError{Index: 7}, "*hook.NoInterfaceError: there is no interface with the number 7 (any more) | "},
		"no route":    {&NoDefaultRouteError{}, "*hook.NoDefaultRouteError: there is no default route, so no interface to choose | name the interface: -i IFACE"},
		"nothing":     {&NotAttachedError{Interface: "eth1"}, "*hook.NotAttachedError: nothing is attached to eth1 | "},
		"nothing out": {&NotAttachedError{Interface: "eth1", Direction: run.Out}, "*hook.NotAttachedError: nothing is attached to eth1 (out) | "},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.want, whole(test.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
