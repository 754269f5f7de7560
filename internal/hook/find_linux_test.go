package hook

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"repacket/internal/lab"
	"repacket/internal/run"
)

func TestListSeesAllAndOnlyWhatIsThere(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		all, err := List("")
		if err != nil || len(all) != 0 {
			t.Fatalf("listed %+v, %v, want none", all, err)
		}
		ours, others := loadOurs(t, someMeta(false)), load(t, "somebody")
		if err := Attach(ifindex, run.In, ours, run.XDP); err != nil {
			t.Fatal(err)
		}
		if err := Attach(1, run.In, others, run.GenericXDP); err != nil { // lo
			t.Fatal(err)
		}
		all, err = List("")
		if err != nil {
			t.Fatal(err)
		}
		type short struct {
			Interface string
			Mode      run.Hook
			ID        uint32
			Name      string
			Ours      bool
		}
		var got []short
		for _, a := range all {
			got = append(got, short{a.Interface, a.Hook, a.ProgramID, a.ProgramName, a.Ours})
		}
		want := []short{
			{"lo", run.GenericXDP, programID(t, others), "somebody", false},
			{"left", run.XDP, programID(t, ours), ProgramName, true},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
	})
}

// A program is ours by both its name and its metadata.
func TestOursTakesNameAndMetadata(t *testing.T) {
	bind := func(t *testing.T, prog *ebpf.Program, content string) {
		t.Helper()
		m, err := ebpf.NewMap(&ebpf.MapSpec{
			Name: MetaMapName, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(content)), MaxEntries: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if err := errors.Join(m.Put(uint32(0), []byte(content)), prog.BindMap(m)); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		program, content string
		ours             bool
	}{
		"both":                      {ProgramName, `{"version":1}`, true},
		"of a later version":        {ProgramName, `{"version":2,"new":[1]}`, true},
		"only the metadata":         {"somebody", `{"version":1}`, false},
		"only the name":             {ProgramName, "", false},
		"metadata that are no JSON": {ProgramName, "version 1", false},
		"metadata of no version":    {ProgramName, `{"a":1}`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inNamespace(t, func() {
				prog := load(t, test.program)
				if test.content != "" {
					bind(t, prog, test.content)
				}
				if err := Attach(1, run.In, prog, run.GenericXDP); err != nil {
					t.Fatal(err)
				}
				found, err := Find(1, run.In)
				if err != nil {
					t.Fatal(err)
				}
				if found.Ours != test.ours {
					t.Errorf("ours: %v, want %v", found.Ours, test.ours)
				}
			})
		})
	}
}

func TestCounters(t *testing.T) {
	inNamespace(t, func() {
		prog := loadOurs(t, someMeta(false))
		counters, err := ebpf.NewMap(&ebpf.MapSpec{
			Name: CountersMapName, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 3,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer counters.Close()
		if err := errors.Join(prog.BindMap(counters), counters.Put(uint32(2), uint64(4711))); err != nil {
			t.Fatal(err)
		}
		if err := Attach(1, run.In, prog, run.GenericXDP); err != nil {
			t.Fatal(err)
		}
		found, err := Find(1, run.In)
		if err != nil {
			t.Fatal(err)
		}
		again, err := found.Counters()
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if err := Detach(found); err != nil {
			t.Fatal(err)
		}
		var n uint64
		if err := again.Lookup(uint32(2), &n); err != nil || n != 4711 {
			t.Errorf("counted %d, %v, want 4711", n, err)
		}
	})
}

func TestNoCounters(t *testing.T) {
	inNamespace(t, func() {
		if err := Attach(1, run.In, loadOurs(t, someMeta(false)), run.GenericXDP); err != nil {
			t.Fatal(err)
		}
		found, err := Find(1, run.In)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := found.Counters(); err == nil {
			t.Errorf("counters %v of a program without", m)
		}
	})
}

func TestNoDescriptorIsLeft(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		cycle := func() {
			prog, err := ebpf.NewProgram(passProgram(ProgramName))
			if err != nil {
				t.Fatal(err)
			}
			defer prog.Close()
			if err := errors.Join(Label(prog, someMeta(false), nil), Attach(ifindex, run.In, prog, run.GenericXDP)); err != nil {
				t.Fatal(err)
			}
			if _, err := Link(ifindex, run.In, prog, run.XDP); err == nil {
				t.Error("taken and yet linked")
			}
			found, err := Find(ifindex, run.In)
			if err != nil {
				t.Fatal(err)
			}
			if err := Detach(found); err != nil {
				t.Fatal(err)
			}
		}
		cycle() // what the libraries keep open is open now
		before := descriptors(t)
		cycle()
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors are open, before it were %d", after, before)
		}
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// Messages of the kernel for IFLA_XDP, put together by hand from the numbers
// in linux/if_link.h.
func TestParseXDP(t *testing.T) {
	attr := func(typ byte, value ...byte) []byte {
		a := append([]byte{byte(4 + len(value)), 0, typ, 0}, value...)
		for len(a)%4 != 0 {
			a = append(a, 0)
		}
		return a
	}
	join := func(attrs ...[]byte) (all []byte) {
		for _, a := range attrs {
			all = append(all, a...)
		}
		return all
	}
	id := func(n byte) []byte {
		if hostIsLittleEndian() {
			return []byte{n, 0, 0, 0}
		}
		return []byte{0, 0, 0, n}
	}
	tests := map[string]struct {
		message []byte
		want    []slot
	}{
		"none":    {attr(2, 0), nil},
		"native":  {join(attr(2, 1), attr(4, id(9)...), attr(5, id(9)...)), []slot{{run.XDP, 9}}},
		"generic": {join(attr(2, 2), attr(4, id(8)...), attr(6, id(8)...)), []slot{{run.GenericXDP, 8}}},
		"several": {join(attr(2, 4), attr(6, id(3)...), attr(7, id(5)...)), []slot{{run.GenericXDP, 3}, {run.OffloadXDP, 5}}},
	}
	for name, test := range tests {
		got, err := parseXDP(test.message)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(slot{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func hostIsLittleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }
