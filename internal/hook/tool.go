package hook

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Tool is whose program another's is, as its name, its maps and its pins tell.
type Tool string

// The tools whose programs are recognised. libxdp has one program at XDP, a dispatcher that runs
// those of others in turn; bpfman does the same, with a program of the same name there.
// DispatcherTool is one of the two, where no pin tells which.
const (
	UnknownTool    Tool = ""
	Libxdp         Tool = "libxdp"
	Bpfman         Tool = "bpfman"
	DispatcherTool Tool = "libxdp or bpfman"
	Cilium         Tool = "Cilium"
)

// Names of programs in the kernel, which keeps 15 bytes of each.
const (
	xdpDispatcher = "xdp_dispatcher" // libxdp, and bpfman
	tcDispatcher  = "tc_dispatcher"  // bpfman
	ciliumPrefix  = "cil_"           // cil_xdp_entry, cil_from_netdev, cil_from_contai(ner), …
)

// toolOf is whose program it is by its name.
func toolOf(name string) Tool {
	switch {
	case name == xdpDispatcher:
		return DispatcherTool
	case name == tcDispatcher:
		return Bpfman
	case strings.HasPrefix(name, ciliumPrefix):
		return Cilium
	}
	return UnknownTool
}

// pinsBelow is the directory below which pins are looked for. Tests set it.
var pinsBelow = "/"

// whoseDispatcher is whose dispatcher at XDP a program is, by what is pinned for it.
func whoseDispatcher(ifindex int, program uint32) Tool {
	for _, pin := range []struct {
		tool    Tool
		pattern string
	}{
		{Libxdp, fmt.Sprintf("sys/fs/bpf/xdp/dispatch-%d-%d", ifindex, program)},
		{Bpfman, fmt.Sprintf("run/bpfman/fs/xdp/dispatcher_%d_link", ifindex)},
		{Bpfman, fmt.Sprintf("run/bpfman/fs/xdp/dispatcher_*_%d_link", ifindex)},
		{Bpfman, fmt.Sprintf("sys/fs/bpf/bpfman/xdp/dispatcher_%d_link", ifindex)},
		{Bpfman, fmt.Sprintf("sys/fs/bpf/bpfman/xdp/dispatcher_*_%d_link", ifindex)},
	} {
		if there, err := filepath.Glob(filepath.Join(pinsBelow, pin.pattern)); err == nil && len(there) > 0 {
			return pin.tool
		}
	}
	return DispatcherTool
}

// What the configuration of a dispatcher at XDP begins with, in its read-only data: a magic
// number, a version, and how many programs it runs (libxdp's struct xdp_dispatcher_config, since
// version 2, and bpfman's the same).
const (
	dispatcherMagic   = 236
	dispatcherVersion = 2
	dispatcherRoom    = 10
)

// dispatched is how many programs a dispatcher runs by its configuration; ok is false where
// that is none.
func dispatched(config []byte) (n int, ok bool) {
	if len(config) < 3 || config[0] != dispatcherMagic || config[1] < dispatcherVersion || config[2] > dispatcherRoom {
		return 0, false
	}
	return int(config[2]), true
}

// describe says what another's program is, with its name and its number.
func (t Tool) describe(at, name string, id uint32, runs int) string {
	what := string(t) + "'s " + at + " program"
	switch {
	case t == DispatcherTool:
		what = "a dispatcher of " + string(t)
	case name == xdpDispatcher:
		what = string(t) + "'s dispatcher"
	}
	text := fmt.Sprintf("%s, %s (%d)", what, name, id)
	switch {
	case runs == 1:
		text += ", which runs 1 program"
	case runs > 1:
		text += fmt.Sprintf(", which runs %d programs", runs)
	}
	return text
}
