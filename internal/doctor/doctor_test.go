package doctor

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/hook"
	"repacket/internal/run"
)

func itoa(n int) string { return strconv.Itoa(n) }

func replaced(text, word, by string) string { return strings.ReplaceAll(text, word, by) }

// fake is a System of a machine that there is not: all is well on it, and eth1
// is a network card.
type fake struct {
	files    map[string]string // of what is not here there is no file
	page     int
	has      map[hook.Feature]bool
	hasErr   error
	iface    hook.Iface
	others   []hook.Iface
	programs map[run.Direction][]hook.Program
	fragment hook.Support
	switches map[string]Switch
	channels Channels
	toolErr  error // of switches and channels
}

func newFake() *fake {
	return &fake{
		page: 4096,
		files: map[string]string{
			releaseFile: "6.18.0\n", unprivilegedFile: "2\n", jitFile: "1\n", possibleFile: "0-3\n",
			statusFile:   "Name:\trepacket\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n",
			mountsFile:   "proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n",
			lockdownFile: "[none] integrity confidentiality\n",
		},
		has: map[hook.Feature]bool{
			hook.XDPPrograms: true, hook.TCPrograms: true, hook.TCX: true, hook.XDPLinks: true,
			hook.XDPFragments: true, hook.Loop: true, hook.JIT: true,
		},
		iface: hook.Iface{
			Name: "eth1", Index: 7, MTU: 1500, Up: true, Ethernet: true, Driver: "ice",
			Native: hook.Supported, RxQueues: 64, TxQueues: 64,
		},
		fragment: hook.Supported,
		switches: map[string]Switch{rxLRO: {}, rxGRO: {On: true}, rxGROHW: {Fixed: true}, rxVLAN: {}},
		channels: Channels{Combined: 2, MaxCombined: 8},
	}
}

func (f *fake) ReadFile(path string) ([]byte, error) {
	text, ok := f.files[path]
	switch {
	case !ok:
		return nil, &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case text == "denied":
		return nil, &os.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	return []byte(text), nil
}
func (f *fake) PageSize() int                        { return f.page }
func (f *fake) Has(w hook.Feature) (bool, error)     { return f.has[w], f.hasErr }
func (f *fake) Interface(string) (hook.Iface, error) { return f.iface, nil }
func (f *fake) Interfaces() ([]hook.Iface, error) {
	return append([]hook.Iface{f.iface}, f.others...), nil
}
func (f *fake) TakesFragments(hook.Iface) hook.Support { return f.fragment }
func (f *fake) Programs(_ int, dir run.Direction) ([]hook.Program, error) {
	return f.programs[dir], nil
}
func (f *fake) Switches(string) (map[string]Switch, error) { return f.switches, f.toolErr }
func (f *fake) Channels(string) (Channels, error)          { return f.channels, f.toolErr }

func file(path, text string) func(*fake) { return func(f *fake) { f.files[path] = text } }

func noFile(paths ...string) func(*fake) {
	return func(f *fake) {
		for _, p := range paths {
			delete(f.files, p)
		}
	}
}

func lacks(features ...hook.Feature) func(*fake) {
	return func(f *fake) {
		for _, w := range features {
			f.has[w] = false
		}
	}
}

func switched(name string, s Switch) func(*fake) { return func(f *fake) { f.switches[name] = s } }

// tc makes eth1 an interface whose packets are for tc.
func tc(f *fake) { f.iface.Native = hook.Missing }

func queued(driver string, c Channels) func(*fake) {
	return func(f *fake) { f.iface.Driver, f.channels = driver, c }
}

func large(fragments hook.Support, features ...func(*fake)) func(*fake) {
	return func(f *fake) {
		f.iface.MTU, f.fragment = 9000, fragments
		for _, change := range features {
			change(f)
		}
	}
}

func all(changes ...func(*fake)) func(*fake) {
	return func(f *fake) {
		for _, change := range changes {
			change(f)
		}
	}
}

// denied is what hook says where a capability is missing; without any it is what
// a user namespace gets.
func denied(missing ...string) func(*fake) {
	return func(f *fake) { f.hasErr = &hook.PrivilegeError{Doing: "ask the kernel what it has", Missing: missing} }
}

// faults are states that this machine cannot be brought into, and what is said of them.
var faults = []struct {
	name string
	make func(*fake)
	want Row
}{
	{"kernel", all(), Row{"kernel", "", OK, "Linux 6.18.0; what it has is tried, not read off its version", ""}},
	{"no /proc", noFile(releaseFile), Row{"kernel", "", Unknown, "cannot be seen: open /proc/sys/kernel/osrelease: file does not exist", ""}},

	{"bpf", all(), Row{"bpf", "", OK, "programs for XDP and for tc can be loaded", ""}},
	{"no XDP", lacks(hook.XDPPrograms), Row{"bpf", "", Warning, "this kernel has no XDP: rules go to tc", ""}},
	{"no tc", lacks(hook.TCPrograms), Row{"bpf", "", Warning, "this kernel has no BPF at tc (CONFIG_NET_CLS_ACT): only packets that arrive can be rewritten, by XDP", ""}},
	{"no BPF", lacks(hook.XDPPrograms, hook.TCPrograms), Row{"bpf", "", Error, "this kernel has no BPF for packets (CONFIG_BPF_SYSCALL, CONFIG_NET)", ""}},
	{"user namespace", denied(), Row{"bpf", "", Error, "the kernel permits no programs, though no capability is missing: capabilities of a user namespace do not count", ""}},
	{"no privilege", denied("CAP_BPF"), Row{"bpf", "", Unknown, "cannot be seen: CAP_BPF is missing", "sudo repacket doctor"}},

	{"no status", noFile(statusFile), Row{"capabilities", "", Unknown, "cannot be seen: open /proc/thread-self/status: file does not exist", ""}},
	{"status without them", file(statusFile, "Name:\trepacket\n"), Row{"capabilities", "", Unknown, "cannot be seen: there is no CapEff in /proc/thread-self/status", ""}},
	// capabilities(7): CAP_NET_ADMIN is 12, CAP_PERFMON 38, CAP_BPF 39.
	{"those of a run", file(statusFile, "CapEff:\t000000c000001000\n"), Row{"capabilities", "", Warning, "enough to run and to attach; CAP_SYS_ADMIN is missing, which list and detach take, and a run beside programs of others: run those with sudo, or grant it, which is close to root, to everybody who may execute the file", "setcap cap_bpf,cap_net_admin,cap_perfmon,cap_sys_admin+ep $(command -v repacket)"}},
	{"no NET_ADMIN", file(statusFile, "CapEff:\t000001ffffffefff\n"), Row{"capabilities", "", Error, "CAP_NET_ADMIN is missing: run it with sudo, or grant what a run takes to everybody who may execute the file (list and detach take cap_sys_admin, too)", "setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v repacket)"}},

	{"tcx", all(), Row{"tcx", "", OK, "there: tc programs are links, which go with their process", ""}},
	{"no tcx", lacks(hook.TCX), Row{"tcx", "", Note, "not there (Linux 6.6 brought it): tc programs are put into clsact filters instead", ""}},
	{"XDP links", all(), Row{"xdp-links", "", OK, "there: XDP programs go with their process", ""}},
	{"no XDP links", lacks(hook.XDPLinks), Row{"xdp-links", "", Warning, "not there (Linux 5.9 brought them): a run cannot use XDP, and takes tc", ""}},
	{"no multi-buffer", lacks(hook.XDPFragments), Row{"multi-buffer", "", Note, "not there (Linux 5.18 brought it): with jumbo frames native XDP is refused, and tc is taken", ""}},
	{"no bpf_loop", lacks(hook.Loop), Row{"bpf-loop", "", Warning, "not there (Linux 5.17 brought it): rules with fix, bad or tcp_mss cannot be loaded", ""}},

	{"JIT", all(), Row{"jit", "", OK, "on: programs are compiled", ""}},
	{"JIT off", all(file(jitFile, "0\n"), lacks(hook.JIT)), Row{"jit", "", Warning, "off: programs are interpreted, which makes them several times slower", jitOn}},
	{"JIT talks", file(jitFile, "2\n"), Row{"jit", "", Warning, "on, and writes every program into the kernel's log", jitOn}},
	{"JIT out of sight", noFile(jitFile), Row{"jit", "", OK, "on: programs are compiled", ""}},
	{"JIT out of sight, off", all(noFile(jitFile), lacks(hook.JIT)), Row{"jit", "", Warning, "a program was not compiled but is interpreted, which makes it several times slower", jitOn}},
	{"JIT on, unprivileged", denied("CAP_BPF"), Row{"jit", "", OK, "on", ""}},
	{"JIT out of sight, unprivileged", all(noFile(jitFile), denied("CAP_BPF")), Row{"jit", "", Unknown, "cannot be seen: CAP_BPF is missing", "sudo repacket doctor"}},

	{"no lockdown", noFile(lockdownFile), Row{"lockdown", "", OK, "none: the kernel has no lockdown, or does not show it", ""}},
	{"lockdown none", all(), Row{"lockdown", "", OK, "none", ""}},
	{"integrity", file(lockdownFile, "none [integrity] confidentiality\n"), Row{"lockdown", "", OK, "integrity: forbids nothing that is needed here", ""}},
	{"confidentiality", file(lockdownFile, "none integrity [confidentiality]\n"), Row{"lockdown", "", Warning, "confidentiality: BPF may not read the kernel's memory; if programs are refused, boot with lockdown=integrity", ""}},
	{"lockdown hidden", file(lockdownFile, "denied"), Row{"lockdown", "", Unknown, "cannot be seen: open /sys/kernel/security/lockdown: permission denied", ""}},

	{"bpf file system", all(), Row{"bpf-fs", "", OK, "mounted at /sys/fs/bpf, and not needed: nothing is pinned", ""}},
	{"no bpf file system", file(mountsFile, "sysfs /sys sysfs rw 0 0\n"), Row{"bpf-fs", "", OK, "not mounted, and not needed: nothing is pinned", ""}},
	{"no mounts", noFile(mountsFile), Row{"bpf-fs", "", Unknown, "cannot be seen: open /proc/thread-self/mounts: file does not exist", ""}},
	{"unprivileged", file(unprivilegedFile, "0\n"), Row{"unprivileged-bpf", "", Note, "everybody may load BPF programs, which is not needed here", "sysctl -w kernel.unprivileged_bpf_disabled=2"}},
	{"not unprivileged", all(), Row{"unprivileged-bpf", "", OK, "off, and not needed", ""}},
	{"no unprivileged", noFile(unprivilegedFile), Row{"unprivileged-bpf", "", OK, "not there, and not needed", ""}},

	{"card", all(), Row{"interface", "eth1", OK, "hardware, Ethernet, MTU 1500", ""}},
	{"no driver", func(f *fake) { f.iface.Driver = "" }, Row{"driver", "eth1", OK, "does not tell its name", ""}},
	{"unknown driver", func(f *fake) { f.iface.Native = hook.Unknown }, Row{"native-xdp", "eth1", Unknown, "neither the kernel tells it nor is the driver known here; to try", "repacket -i eth1 --hook xdp --for 1s if all"}},

	{"jumbo", large(hook.Supported), Row{"mtu", "eth1", OK, "9000: more than a page of memory holds: native XDP needs multi-buffer, which kernel and driver have", ""}},
	// 4096-256-320-14-4-4 is 3498, ena's ENA_XDP_MAX_MTU in linux/drivers/net/ethernet/amazon.
	{"jumbo, driver lacks", large(hook.Missing), Row{"mtu", "eth1", Warning, "9000: more than a page of memory holds, and native XDP takes it only with multi-buffer, which the driver lacks", "ip link set dev eth1 mtu 3498"}},
	{"jumbo, kernel lacks", large(hook.Unknown, lacks(hook.XDPFragments)), Row{"mtu", "eth1", Warning, "9000: more than a page of memory holds, and native XDP takes it only with multi-buffer, which this kernel lacks", "ip link set dev eth1 mtu 3498"}},
	{"jumbo, not told", large(hook.Unknown), Row{"mtu", "eth1", Unknown, "9000: more than a page of memory holds: native XDP needs multi-buffer, and whether it is there is not to be seen", ""}},
	{"jumbo at tc", large(hook.Missing, tc), Row{"mtu", "eth1", OK, "9000: no matter without native XDP", ""}},
	{"large pages", large(hook.Missing, func(f *fake) { f.page = 65536 }), Row{"mtu", "eth1", OK, "9000: native XDP needs no multi-buffer", ""}},

	{"LRO", switched(rxLRO, Switch{On: true}), Row{"lro", "eth1", Warning, "lro on: the hardware joins packets, so some drivers refuse native XDP", "ethtool -K eth1 lro off"}},
	{"LRO and hardware GRO", all(switched(rxLRO, Switch{On: true}), switched(rxGROHW, Switch{On: true})), Row{"lro", "eth1", Warning, "lro and rx-gro-hw on: the hardware joins packets, so some drivers refuse native XDP", "ethtool -K eth1 lro off rx-gro-hw off"}},
	{"LRO fixed", switched(rxGROHW, Switch{On: true, Fixed: true}), Row{"lro", "eth1", Warning, "rx-gro-hw on: the hardware joins packets, so some drivers refuse native XDP; it cannot be changed, and tc is taken where they do", ""}},
	{"LRO at tc", all(tc, switched(rxLRO, Switch{On: true})), Row{"lro", "eth1", Note, "lro on: the hardware joins packets, so some drivers refuse native XDP", "ethtool -K eth1 lro off"}},
	{"no ethtool", func(f *fake) { f.toolErr = errors.New("operation not supported") }, Row{"lro", "eth1", Unknown, "cannot be seen: operation not supported", ""}},
	{"GRO", all(), Row{"gro", "eth1", OK, "on, which is behind native XDP", ""}},
	{"a name for a shell", all(tc, func(f *fake) { f.iface.Name = "a;b" }), Row{"gro", "a;b", Note, "on: tc sees streams joined to large packets, and skips those whose segmentation a rule would change (ip_id, ip_tot_len and the like)", "ethtool -K 'a;b' gro off"}},
	{"GRO at tc", tc, Row{"gro", "eth1", Note, "on: tc sees streams joined to large packets, and skips those whose segmentation a rule would change (ip_id, ip_tot_len and the like)", "ethtool -K eth1 gro off"}},
	{"GRO, no ethtool", func(f *fake) { f.toolErr = errors.New("operation not supported") }, Row{"gro", "eth1", Unknown, "cannot be seen: operation not supported", ""}},

	{"queues", all(), Row{"queues", "eth1", OK, "2 of 8", ""}},
	{"queues apart", queued("ice", Channels{Rx: 1, MaxRx: 2, Tx: 3, MaxTx: 4}), Row{"queues", "eth1", OK, "1 of 2 to receive, 3 of 4 to transmit", ""}},
	{"no channels", func(f *fake) { f.toolErr = errors.New("operation not supported") }, Row{"queues", "eth1", OK, "at most 64 to receive, 64 to transmit", ""}},
	{"ENA", queued("ena", Channels{Combined: 8, MaxCombined: 8}), Row{"queues", "eth1", Warning, "8 of 8: native XDP wants at most half of them in use", "ethtool -L eth1 combined 4"}},
	{"ENA, half", queued("ena", Channels{Combined: 4, MaxCombined: 8}), Row{"queues", "eth1", OK, "4 of 8", ""}},
	{"ENA, odd", queued("ena", Channels{Combined: 2, MaxCombined: 3}), Row{"queues", "eth1", Warning, "2 of 3: native XDP wants at most half of them in use", "ethtool -L eth1 combined 1"}},
	{"ENA, one", queued("ena", Channels{Combined: 1, MaxCombined: 1}), Row{"queues", "eth1", Warning, "1 of 1: native XDP wants two at least, which larger machines have", ""}},
	{"ENA, unseen", all(queued("ena", Channels{}), func(f *fake) { f.toolErr = errors.New("no such device") }), Row{"queues", "eth1", Unknown, "cannot be seen: no such device", ""}},
	{"virtio", queued("virtio_net", Channels{Combined: 8, MaxCombined: 8}), Row{"queues", "eth1", Warning, "8 of 8: native XDP wants one more for each of 4 CPUs, else reflect and redirect are slower", "ethtool -L eth1 combined 4"}},
	{"virtio, spare", queued("virtio_net", Channels{Combined: 4, MaxCombined: 8}), Row{"queues", "eth1", OK, "4 of 8", ""}},
	{"virtio, few", queued("virtio_net", Channels{Combined: 4, MaxCombined: 4}), Row{"queues", "eth1", Note, "4 of 4: native XDP wants one more for each of 4 CPUs, else reflect and redirect are slower, and older kernels refuse it; the hypervisor gives them (queues=8)", ""}},
	{"virtio, CPUs unseen", all(queued("virtio_net", Channels{Combined: 4, MaxCombined: 4}), noFile(possibleFile)), Row{"queues", "eth1", OK, "4 of 4", ""}},
	{"virtio, CPUs in pieces", all(queued("virtio_net", Channels{Combined: 8, MaxCombined: 8}), file(possibleFile, "0,2-5\n")), Row{"queues", "eth1", Warning, "8 of 8: native XDP wants one more for each of 6 CPUs, else reflect and redirect are slower", "ethtool -L eth1 combined 2"}},

	{"tags stay", all(), Row{"vlan-stripping", "eth1", OK, "off: VLAN tags stay in their packets", ""}},
	{"tags are taken out", switched(rxVLAN, Switch{On: true}), Row{"vlan-stripping", "eth1", Warning, "on: VLAN tags are taken out before XDP, which does not see them (tc does)", "ethtool -K eth1 rxvlan off"}},
	{"both tags are taken out", all(switched(rxVLAN, Switch{On: true}), switched(rxSVLAN, Switch{On: true})), Row{"vlan-stripping", "eth1", Warning, "on: VLAN tags are taken out before XDP, which does not see them (tc does)", "ethtool -K eth1 rxvlan off rx-vlan-stag-hw-parse off"}},
	{"tags are always taken out", switched(rxVLAN, Switch{On: true, Fixed: true}), Row{"vlan-stripping", "eth1", Warning, "on: VLAN tags are taken out before XDP, which does not see them (tc does); the driver does not let it be changed", "repacket -i eth1 --hook tc RULES"}},
	{"tags at tc", all(tc, switched(rxVLAN, Switch{On: true})), Row{"vlan-stripping", "eth1", Note, "on: VLAN tags are taken out before XDP, which does not see them (tc does)", "ethtool -K eth1 rxvlan off"}},
	{"tags, no ethtool", func(f *fake) { f.toolErr = errors.New("operation not supported") }, Row{"vlan-stripping", "eth1", Unknown, "cannot be seen: operation not supported", ""}},

	{"XDP taken", func(f *fake) {
		f.programs = map[run.Direction][]hook.Program{run.In: {{Hook: run.XDP, ProgramID: 12, ProgramName: "lb"}}}
	}, Row{"programs-in", "eth1", Warning, "xdp program 12 (lb)", "repacket -i eth1 --hook tc RULES"}},

	{"native", all(), Row{"auto-in", "eth1", OK, "xdp: the driver of eth1 (ice) has native XDP; tc, if it refuses all the same", ""}},
	{"no hook", func(f *fake) { f.iface.Link, f.iface.Ethernet = hook.OtherLink, false }, Row{"auto-in", "eth1", Error, "eth1 carries neither Ethernet nor bare IP: its packets begin with a header that is not known here", ""}},
	{"no hook out", func(f *fake) { f.iface.Link, f.iface.Ethernet = hook.OtherLink, false }, Row{"auto-out", "eth1", Error, "eth1 carries neither Ethernet nor bare IP: its packets begin with a header that is not known here", ""}},
}

func TestFaults(t *testing.T) {
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			tt.make(f)
			rows, err := Report(f, "eth1")
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if r.Name != tt.want.Name {
					continue
				}
				if diff := cmp.Diff(tt.want, r); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			t.Errorf("there is no row %s", tt.want.Name)
		})
	}
}

// labRows are of veths: their faults are brought about in the lab.
var labRows = []string{"peer", "peer-checksums", "peer-vlan", "programs-out"}

func TestEveryRowIsTested(t *testing.T) {
	tested := slices.Clone(labRows)
	for _, tt := range faults {
		tested = append(tested, tt.want.Name)
	}
	for _, name := range Names() {
		if !slices.Contains(tested, name) {
			t.Errorf("%s is not", name)
		}
	}
}

// A fault of one interface is a warning among all: another may do.
func TestOverviewIsNoWorseThanAWarning(t *testing.T) {
	f := newFake()
	f.iface.Link, f.iface.Ethernet = hook.OtherLink, false
	rows, err := Report(f, "")
	if err != nil {
		t.Fatal(err)
	}
	want := Row{
		"interface", "eth1", Warning, "hardware, other, MTU 1500; in by nothing, out by nothing; see auto-in, auto-out",
		"repacket doctor -i eth1",
	}
	if diff := cmp.Diff(want, rows[len(rows)-1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every row is in the documentation, and the documentation has no other.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			told = append(told, name)
		}
	}
	if diff := cmp.Diff(Names(), told); diff != "" {
		t.Errorf("(-rows +docs/doctor.md):\n%s", diff)
	}
}
