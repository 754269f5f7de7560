package hook

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/internal/run"
)

// Has says of each feature what using it shows.
func TestHas(t *testing.T) {
	used := map[Feature]func(ifindex int) bool{
		XDPPrograms: func(int) bool { load(t, "any"); return true },
		TCPrograms:  func(int) bool { loadSpec(t, tcProgram("any", nil, tcUnspec)); return true },
		TCX: func(int) bool {
			_, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress})
			return !errors.Is(err, unix.EINVAL)
		},
		XDPLinks: func(ifindex int) bool {
			l, err := link.AttachXDP(link.XDPOptions{Program: load(t, "any"), Interface: ifindex, Flags: link.XDPDriverMode})
			return err == nil && l.Close() == nil
		},
		XDPFragments: func(int) bool {
			spec := passProgram("any")
			spec.Flags = unix.BPF_F_XDP_HAS_FRAGS
			prog, err := ebpf.NewProgram(spec)
			return err == nil && prog.Close() == nil
		},
		Loop: func(int) bool { return true }, // Linux 5.17; this package asks for 5.10, the tests for 6.1
		JIT: func(int) bool {
			text, err := os.ReadFile("/proc/sys/net/core/bpf_jit_enable")
			return err != nil || strings.TrimSpace(string(text)) != "0"
		},
	}
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		for f, use := range used {
			got, err := Has(f)
			if err != nil || got != use(ifindex) {
				t.Errorf("%s: %v, %v", f, got, err)
			}
		}
		lo, err := Programs(1, run.In)
		if err != nil || len(lo) > 0 {
			t.Errorf("on the loopback %+v is left, %v", lo, err)
		}
	})
	if all := [...]int{len(probes), len(featureNames)}; all != [...]int{len(used), len(used)} {
		t.Errorf("%d features are tried of %d", len(used), all)
	}
}

// Without a tcx there is none.
func TestHasNoTCX(t *testing.T) {
	withWay(t, ByClsact)
	if got, err := Has(TCX); got || err != nil {
		t.Errorf("tcx: %v, %v", got, err)
	}
}

// netdev.h: veth has NETDEV_XDP_ACT_RX_SG since the bits are there (Linux 6.3),
// the loopback has nothing.
func TestTakesFragments(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		if xdpFeatures([]Iface{{Index: ifindex}}) == nil {
			t.Skip("this kernel does not tell what drivers have")
		}
		for index, want := range map[int]Support{ifindex: Supported, 1: Missing} {
			if got := TakesFragments(Iface{Index: index}); got != want {
				t.Errorf("interface %d: %s, want %s", index, got, want)
			}
		}
	})
}

// What is on the hooks is seen by number, name and owner, in the order in which
// it runs.
func TestPrograms(t *testing.T) {
	for _, way := range []Way{ByTCX, ByClsact} {
		t.Run(way.String(), func(t *testing.T) {
			withWay(t, way)
			inPair(t, lab.PairConfig{}, func(ifindex int) {
				for _, dir := range []run.Direction{run.In, run.Out} {
					if got, err := Programs(ifindex, dir); err != nil || len(got) > 0 {
						t.Errorf("nothing is there, but (%s) %+v, %v", dir, got, err)
					}
				}
				xdp := load(t, "another")
				if err := Attach(ifindex, run.In, xdp, run.XDP); err != nil {
					t.Fatal(err)
				}
				other := loadSpec(t, tcProgram("somebody", nil, tcUnspec))
				attachOthers(t, ifindex, tcHook{way, run.Out}, other)
				ours, _ := counted(t, someMeta(true))
				h, err := Link(ifindex, run.Out, ours, run.TC)
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				want := map[run.Direction][]Program{
					run.In: {{Hook: run.XDP, Way: ByXDP, ProgramID: programID(t, xdp), ProgramName: "another"}},
					run.Out: {
						{Hook: run.TC, Way: way, ProgramID: programID(t, ours), ProgramName: ProgramName, Ours: true},
						{Hook: run.TC, Way: way, ProgramID: programID(t, other), ProgramName: "somebody"},
					},
				}
				for dir, want := range want {
					got, err := Programs(ifindex, dir)
					if err != nil {
						t.Error(err)
					}
					for i := range want {
						want[i].Interface, want[i].Ifindex, want[i].Direction = "left", ifindex, dir
					}
					ignored := cmpopts.IgnoreFields(Program{}, "Meta", "Loaded", "maps", "resting", "filter")
					if diff := cmp.Diff(want, got, ignored); diff != "" {
						t.Errorf("%s (-want +got):\n%s", dir, diff)
					}
				}
			})
		})
	}
}

func TestProgramsOfNoInterface(t *testing.T) {
	_, err := Programs(1<<30, run.In)
	var missing *NoInterfaceError
	if !errors.As(err, &missing) {
		t.Errorf("error %v", err)
	}
}

// Without a privilege the numbers that the interface itself tells are still
// seen, and the error says what is missing.
func TestProgramsUnprivileged(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		xdp := load(t, "another")
		if err := Attach(ifindex, run.In, xdp, run.XDP); err != nil {
			t.Fatal(err)
		}
		filtered := loadSpec(t, tcProgram("somebody", nil, tcUnspec))
		attachOthers(t, ifindex, tcHook{ByClsact, run.In}, filtered)
		var got []Program
		var seen, asked error
		without(t, func() {
			got, seen = Programs(ifindex, run.In)
			_, asked = Has(XDPPrograms)
			_, tcx := Has(TCX)
			asked = errors.Join(asked, tcx)
		}, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_PERFMON)
		var privilege *PrivilegeError
		if !errors.As(seen, &privilege) || len(privilege.Missing) == 0 {
			t.Errorf("error %v", seen)
		}
		var numbers []string
		for _, a := range got {
			numbers = append(numbers, fmt.Sprint(a.Way, a.ProgramID, a.ProgramName))
		}
		want := []string{fmt.Sprint(ByXDP, programID(t, xdp), ""), fmt.Sprint(ByClsact, programID(t, filtered), "somebody")}
		if diff := cmp.Diff(want, numbers); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if !errors.As(asked, &privilege) {
			t.Errorf("asked for features: %v", asked)
		}
	})
}
