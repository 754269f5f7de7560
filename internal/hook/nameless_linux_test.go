package hook

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"repacket/test/needs"
)

// TestNamelessIsRefused: what list and detach would not know as ours is no program of
// ours.
func TestNamelessIsRefused(t *testing.T) {
	needs.Kernel(t)
	counters := func(name string) *ebpf.Map {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 16, MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	tests := map[string]struct {
		program, counters string
		refused           bool
	}{
		"named":                    {ProgramName, CountersMapName, false},
		"a program without a name": {"", CountersMapName, true},
		"a map without a name":     {ProgramName, "", true},
	}
	for name, test := range tests {
		err := Label(load(t, test.program), someMeta(false), counters(test.counters))
		var nameless *NamelessError
		if errors.As(err, &nameless) != test.refused || err != nil && !test.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
