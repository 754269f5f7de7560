package doctor

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
)

// Without privileges all that can be seen is seen, the rest says what is missing.
func TestDroppedCapabilities(t *testing.T) {
	needs.Kernel(t)
	const sudo = "sudo repacket doctor -i right"
	inWorld(t, lab.PairConfig{}, func(w world) {
		id := itoa(int(w.put("right", run.In, run.XDP, false)))
		for _, tt := range []struct {
			name string
			drop []int
			want []Row
		}{
			{"all", []int{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN}, []Row{
				{"capabilities", "", Error, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are missing: run it with sudo, or grant what a run takes to everybody who may execute the file (list and detach take cap_sys_admin, too)", "setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v repacket)"},
				{"bpf", "", Unknown, "cannot be seen: CAP_BPF and CAP_NET_ADMIN are missing", "sudo repacket doctor"},
				{"programs-in", "right", Unknown, "xdp program " + id + "; not all can be seen: CAP_NET_ADMIN and CAP_SYS_ADMIN are missing", sudo},
				{"programs-out", "right", Unknown, "cannot be seen: CAP_NET_ADMIN and CAP_SYS_ADMIN are missing", sudo},
				{"driver", "right", OK, "veth", ""},
				{"peer-checksums", "right", OK, "left sends whole checksums", ""},
			}},
			{"SYS_ADMIN", []int{unix.CAP_SYS_ADMIN}, []Row{
				{"capabilities", "", Warning, "enough to run and to attach; CAP_SYS_ADMIN is missing, which list and detach take, and a run beside programs of others: run those with sudo, or grant it, which is close to root, to everybody who may execute the file", "setcap cap_bpf,cap_net_admin,cap_perfmon,cap_sys_admin+ep $(command -v repacket)"},
				{"bpf", "", OK, "programs for XDP and for tc can be loaded", ""},
				{"programs-in", "right", Unknown, "xdp program " + id + "; not all can be seen: CAP_SYS_ADMIN is missing", sudo},
				{"programs-out", "right", OK, "none", ""},
			}},
			{"PERFMON, for which SYS_ADMIN stands in", []int{unix.CAP_PERFMON}, []Row{
				{"capabilities", "", OK, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN are there", ""},
			}},
			{"PERFMON", []int{unix.CAP_PERFMON, unix.CAP_SYS_ADMIN}, []Row{
				{"capabilities", "", Error, "CAP_PERFMON is missing: run it with sudo, or grant what a run takes to everybody who may execute the file (list and detach take cap_sys_admin, too)", "setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v repacket)"},
			}},
		} {
			var rows []Row
			without(t, func() { rows = report(t, "right") }, tt.drop...)
			t.Log("without", tt.name)
			for _, want := range tt.want {
				wantRow(t, rows, want)
			}
		}
	})
}

// without runs f without these effective capabilities.
func without(t *testing.T, f func(), caps ...int) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	if err := unix.Capget(&header, &before[0]); err != nil {
		t.Fatal(err)
	}
	after := before
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
