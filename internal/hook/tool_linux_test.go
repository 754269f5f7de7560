package hook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/run"
)

// theirs loads a program as another tool's: by name, and for a dispatcher with its configuration
// in read-only data, laid out as struct xdp_dispatcher_config of libxdp.
func theirs(t *testing.T, s spot, name string, config []byte) *ebpf.Program {
	t.Helper()
	spec := tcProgram(name, nil, tcUnspec)
	if s.mode != run.TC {
		spec = passProgram(name)
	}
	if config != nil {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "xdp_disp.rodata", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(config)), MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		if err := m.Put(uint32(0), config); err != nil {
			t.Fatal(err)
		}
		spec.Instructions = append(asm.Instructions{asm.LoadMapValue(asm.R1, m.FD(), 0)}, spec.Instructions...)
	}
	return loadSpec(t, spec)
}

// dispatcherOf is the configuration of a dispatcher that runs n programs.
func dispatcherOf(n byte) []byte {
	config := make([]byte, 4+3*4*10) // and for each program its verdicts, its priority and its flags
	copy(config, []byte{236, 2, n, 0})
	return config
}

// pinned makes a file where a tool pins something.
func pinned(t *testing.T, path string) {
	t.Helper()
	path = filepath.Join(pinsBelow, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTakenByTools: the programs of other tools at XDP are named, tc is offered, and they stay.
func TestTakenByTools(t *testing.T) {
	for _, c := range []struct {
		name   string
		config []byte
		pin    string // with the numbers of the interface and of the program, in this order
		want   string // with the hook's word
	}{
		{"xdp_dispatcher", dispatcherOf(2), "sys/fs/bpf/xdp/dispatch-%[1]d-%[2]d", "libxdp's dispatcher, xdp_dispatcher (%[2]d), which runs 2 programs"},
		{"xdp_dispatcher", dispatcherOf(1), "run/bpfman/fs/xdp/dispatcher_4026531840_%[1]d_link", "bpfman's dispatcher, xdp_dispatcher (%[2]d), which runs 1 program"},
		{"xdp_dispatcher", nil, "run/bpfman/fs/xdp/dispatcher_%[1]d_link", "bpfman's dispatcher, xdp_dispatcher (%[2]d)"},
		{"xdp_dispatcher", nil, "sys/fs/bpf/bpfman/xdp/dispatcher_%[1]d_link", "bpfman's dispatcher, xdp_dispatcher (%[2]d)"},
		{"xdp_dispatcher", []byte{235, 2, 9, 0}, "sys/fs/bpf/xdp/dispatch-1%[1]d-%[2]d", "a dispatcher of libxdp or bpfman, xdp_dispatcher (%[2]d)"},
		{"cil_xdp_entry", dispatcherOf(3), "", "Cilium's %[1]s program, cil_xdp_entry (%[2]d)"},
		{"xdp_dispatch", dispatcherOf(3), "", "another %[1]s program, xdp_dispatch (%[2]d)"},
	} {
		for _, s := range spots {
			if s.way != ByXDP {
				continue
			}
			t.Run(c.want+" "+s.mode.String(), func(t *testing.T) {
				before := pinsBelow
				pinsBelow = t.TempDir()
				t.Cleanup(func() { pinsBelow = before })
				onWire(t, func(w wire) {
					other := theirs(t, s, c.name, c.config)
					id := programID(t, other)
					if c.pin != "" {
						pinned(t, fmt.Sprintf(c.pin, w.ifindex, id))
					}
					if err := setSlot(attachPoint{w.ifindex, run.In, s.mode}, nil, other); err != nil {
						t.Fatal(err)
					}
					ours, _ := s.counted(t, someMeta(true))
					for what, try := range map[string]func() error{
						"link":   func() error { _, err := Link(w.ifindex, run.In, ours, s.mode); return err },
						"attach": func() error { return Attach(w.ifindex, run.In, ours, s.mode) },
					} {
						var taken *TakenError
						err := try()
						if !errors.As(err, &taken) || err.Error() != "left is taken by "+fmt.Sprintf(c.want, s.mode, id) {
							t.Errorf("%s: %v", what, err)
						} else if want := fmt.Sprintf("another's program is never replaced; --hook tc runs behind it, and bpftool prog show id %d tells of it", id); taken.Hint() != want {
							t.Errorf("hint: %s", taken.Hint())
						}
					}
					besides(t, w, tcHook{ByTCX, run.In}, id)
				})
			})
		}
	}
}

// TestBesideTools: programs of other tools at tc are recognised, and ours come and go beside them.
func TestBesideTools(t *testing.T) {
	for name, want := range map[string]Tool{
		"cil_from_netdev": Cilium, "cil_to_netdev": Cilium, "cil_from_contai": Cilium, "tc_dispatcher": Bpfman, "cilly": UnknownTool,
	} {
		onTC(t, func(t *testing.T, w wire, h tcHook) {
			other := theirs(t, spot{h, run.TC}, name, nil)
			attachOthers(t, w.ifindex, h, other)
			found := wantFound(t, w.ifindex, h.dir, other)
			if found.Tool != want || found.Ours {
				t.Errorf("%s is taken for a program of %q", name, found.Tool)
			}
			besides(t, w, h, programID(t, other))
		})
	}
}

// besides lets a program of ours come to tc and go, where another's has to stay.
func besides(t *testing.T, w wire, h tcHook, other uint32) {
	t.Helper()
	ours := loadSpec(t, tcProgram(ProgramName, nil, tcUnspec))
	if err := Label(ours, someMeta(true), nil); err != nil {
		t.Fatal(err)
	}
	l, err := Link(w.ifindex, h.dir, ours, run.TC)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(programsOn(t, w.ifindex, h.dir)); n != 2 {
		t.Errorf("beside another's there are %d programs, want both", n)
	}
	if loss, err := l.Lost(); loss != (Loss{}) || err != nil {
		t.Errorf("beside another's: lost %v, %v", loss, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if ids := programsOn(t, w.ifindex, h.dir); len(ids) != 1 || ids[0] != other {
		t.Errorf("behind ours there are programs %v, want %d", ids, other)
	}
}
