package doctor

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"repacket/internal/hook"
)

// machine is the table of checks of the machine.
var machine = []check{
	{"kernel", kernel},
	{"bpf", programs},
	{"capabilities", capabilities},
	{"tcx", feature(hook.TCX, "tc programs are links, which go with their process", Row{
		Level: Note, Text: "not there (Linux 6.6 brought it): tc programs are put into clsact filters instead",
	})},
	{"xdp-links", feature(hook.XDPLinks, "XDP programs go with their process", Row{
		Level: Warning, Text: "not there (Linux 5.9 brought them): a run cannot use XDP, and takes tc",
	})},
	{"multi-buffer", feature(hook.XDPFragments, "XDP takes packets that are larger than a page", Row{
		Level: Note, Text: "not there (Linux 5.18 brought it): with jumbo frames native XDP is refused, and tc is taken",
	})},
	{"bpf-loop", feature(hook.Loop, "programs can look at a whole packet", Row{
		Level: Warning, Text: "not there (Linux 5.17 brought it): rules with fix, bad or tcp_mss cannot be loaded",
	})},
	{"jit", jit},
	{"lockdown", lockdown},
	{"bpf-fs", fileSystem},
	{"unprivileged-bpf", unprivileged},
}

func kernel(f *Facts) Row {
	release, err := f.file(releaseFile)
	if err != nil {
		return f.unseen(err)
	}
	return Row{Level: OK, Text: "Linux " + release + "; what it has is tried, not read off its version"}
}

// programs reports whether programs can be loaded at all.
func programs(f *Facts) Row {
	xdp, tc := f.Has[hook.XDPPrograms], f.Has[hook.TCPrograms]
	for _, err := range []error{xdp.Err, tc.Err} {
		if err == nil {
			continue
		}
		var privilege *hook.PrivilegeError
		if errors.As(err, &privilege) && len(privilege.Missing) == 0 {
			return Row{Level: Error, Text: "the kernel permits no programs, though no capability is missing: " + privilege.Hint()}
		}
		return f.unseen(err)
	}
	switch {
	case xdp.Value && tc.Value:
		return Row{Level: OK, Text: "programs for XDP and for tc can be loaded"}
	case tc.Value:
		return Row{Level: Warning, Text: "this kernel has no XDP: rules go to tc"}
	case xdp.Value:
		return Row{Level: Warning, Text: "this kernel has no BPF at tc (CONFIG_NET_CLS_ACT): only packets that arrive can be rewritten, by XDP"}
	}
	return Row{Level: Error, Text: "this kernel has no BPF for packets (CONFIG_BPF_SYSCALL, CONFIG_NET)"}
}

// feature is a check of what a kernel has or lacks.
func feature(what hook.Feature, there string, lacking Row) func(*Facts) Row {
	return func(f *Facts) Row {
		has := f.Has[what]
		switch {
		case has.Err != nil:
			return f.unseen(has.Err)
		case has.Value:
			return Row{Level: OK, Text: "there: " + there}
		}
		return lacking
	}
}

// Capabilities by their numbers in linux/capability.h.
const (
	netAdmin = 12
	sysAdmin = 21
	perfmon  = 38
	bpf      = 39
)

func capabilities(f *Facts) Row {
	set, err := f.effective()
	if err != nil {
		return f.unseen(err)
	}
	has := func(n int) bool { return set>>n&1 == 1 }
	var missing []string
	for _, c := range []struct {
		name string
		// there: CAP_SYS_ADMIN stands in for what was a part of it once.
		there bool
	}{
		{"CAP_BPF", has(bpf) || has(sysAdmin)},
		{"CAP_NET_ADMIN", has(netAdmin)},
		{"CAP_PERFMON", has(perfmon) || has(sysAdmin)},
	} {
		if !c.there {
			missing = append(missing, c.name)
		}
	}
	switch {
	case len(missing) > 0:
		return Row{
			Level:   Error,
			Text:    isMissing(missing) + ": run it with sudo, or grant what a run takes to everybody who may execute the file (list and detach take cap_sys_admin, too)",
			Command: "setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v repacket)",
		}
	case !has(sysAdmin):
		return Row{
			Level:   Warning,
			Text:    "enough to run and to attach; CAP_SYS_ADMIN is missing, which list and detach take, and a run beside programs of others: run those with sudo, or grant it, which is close to root, to everybody who may execute the file",
			Command: "setcap cap_bpf,cap_net_admin,cap_perfmon,cap_sys_admin+ep $(command -v repacket)",
		}
	}
	return Row{Level: OK, Text: "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN are there"}
}

// effective is the set of capabilities: bit n is capability n.
func (f *Facts) effective() (uint64, error) {
	text, err := f.file(statusFile)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(rest), 16, 64)
		}
	}
	return 0, errors.New("there is no CapEff in " + statusFile)
}

const jitOn = "sysctl -w net.core.bpf_jit_enable=1"

func jit(f *Facts) Row {
	set, err := f.file(jitFile)
	compiled := f.Has[hook.JIT]
	switch {
	case err == nil && set == "0":
		return Row{Level: Warning, Text: "off: programs are interpreted, which makes them several times slower", Command: jitOn}
	case err == nil && set == "2":
		return Row{Level: Warning, Text: "on, and writes every program into the kernel's log", Command: jitOn}
	case compiled.Err == nil && compiled.Value:
		return Row{Level: OK, Text: "on: programs are compiled"}
	case compiled.Err == nil:
		// The switch is to be seen in the first network namespace only.
		return Row{Level: Warning, Text: "a program was not compiled but is interpreted, which makes it several times slower", Command: jitOn}
	case err == nil:
		return Row{Level: OK, Text: "on"}
	}
	return f.unseen(compiled.Err)
}

func lockdown(f *Facts) Row {
	modes, err := f.file(lockdownFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Row{Level: OK, Text: "none: the kernel has no lockdown, or does not show it"}
	}
	if err != nil {
		return f.unseen(err)
	}
	_, rest, _ := strings.Cut(modes, "[") // such as none [integrity] confidentiality
	mode, _, _ := strings.Cut(rest, "]")
	switch mode {
	case "none":
		return Row{Level: OK, Text: "none"}
	case "integrity":
		return Row{Level: OK, Text: "integrity: forbids nothing that is needed here"}
	}
	return Row{Level: Warning, Text: mode + ": BPF may not read the kernel's memory; if programs are refused, boot with lockdown=integrity"}
}

func fileSystem(f *Facts) Row {
	mounts, err := f.file(mountsFile)
	if err != nil {
		return f.unseen(err)
	}
	for line := range strings.Lines(mounts) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "bpf" {
			return Row{Level: OK, Text: "mounted at " + fields[1] + ", and not needed: nothing is pinned"}
		}
	}
	return Row{Level: OK, Text: "not mounted, and not needed: nothing is pinned"}
}

func unprivileged(f *Facts) Row {
	switch off, err := f.file(unprivilegedFile); {
	case errors.Is(err, fs.ErrNotExist):
		return Row{Level: OK, Text: "not there, and not needed"}
	case err != nil:
		return f.unseen(err)
	case off == "0":
		return Row{
			Level: Note, Text: "everybody may load BPF programs, which is not needed here",
			Command: "sysctl -w kernel.unprivileged_bpf_disabled=2",
		}
	}
	return Row{Level: OK, Text: "off, and not needed"}
}
