package hook

import (
	"strings"

	"github.com/cilium/ebpf"
)

// recognise finds out whose program another's is. What it cannot find out it leaves open.
func (a *Program) recognise(info *ebpf.ProgramInfo) {
	if a.Tool = toolOf(a.ProgramName); a.Tool != DispatcherTool {
		return
	}
	a.Tool = whoseDispatcher(a.Ifindex, a.ProgramID)
	ids, _ := info.MapIDs()
	for _, id := range ids {
		if n, ok := readDispatcher(id); ok {
			a.Dispatches = n
		}
	}
}

// readDispatcher reads the configuration of a dispatcher from its read-only data, if that is what
// the map is.
func readDispatcher(id ebpf.MapID) (runs int, ok bool) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return 0, false
	}
	defer func() { _ = m.Close() }()
	info, err := m.Info()
	if err != nil || !strings.HasSuffix(info.Name, ".rodata") || info.Type != ebpf.Array || info.KeySize != 4 {
		return 0, false
	}
	var config []byte
	if err := m.Lookup(uint32(0), &config); err != nil {
		return 0, false
	}
	return dispatched(config)
}
