package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/csource"
	"repacket/internal/engine"
	"repacket/internal/plan"
)

// cAtXDP and cAtTC are the C source of the program, compiled by clang.
func cAtXDP(s subject) (*implementation, error) { return viaC(s, bpf.XDP) }

func cAtTC(s subject) (*implementation, error) { return viaC(s, bpf.TC) }

func viaC(s subject, h bpf.Hook) (*implementation, error) {
	all, err := compileTogether([]source{{s, h}})
	if err != nil {
		return nil, err
	}
	return all[0]()
}

// source is a program that clang is to compile for a hook.
type source struct {
	subject
	hook bpf.Hook
}

// text is the program in C. A plan with a fault may be none that can be written:
// that is an error, so that the other implementations go on and show the fault.
func (s source) text() (_ string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s\nits plan cannot be written in C: %v", s.program.Source, r)
		}
	}()
	p, err := plan.WrittenOut(s.program)
	if err != nil {
		return "", err
	}
	return csource.Print(p, plan.Build(p, s.link),
		csource.Options{Hook: csource.Hook(s.hook), Fragments: s.hook == bpf.XDP, Interfaces: interfaces, HandedDraws: true}), nil
}

// compileTogether has one clang compile all programs, for half of its time is
// that of its start and of the kernel's headers. Each can be loaded by itself.
func compileTogether(sources []source) ([]func() (*implementation, error), error) {
	var all strings.Builder
	for i, s := range sources {
		text, err := s.text()
		if err != nil {
			return nil, err
		}
		if len(sources) > 1 {
			text = rename(text, suffix(i))
		}
		if i > 0 { // one object has one license
			text = license.ReplaceAllString(text, "")
		}
		all.WriteString(text)
	}
	elf, err := csource.Build(context.Background(), all.String())
	if err != nil {
		return nil, errors.Join(err, culprit(sources))
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		return nil, fmt.Errorf("C: %w", err)
	}
	var out []func() (*implementation, error)
	for i, s := range sources {
		end := suffix(i)
		if len(sources) == 1 {
			end = ""
		}
		out = append(out, func() (*implementation, error) { return s.load(spec, end) })
	}
	return out, nil
}

// culprit finds the program that clang does not take by itself.
func culprit(sources []source) error {
	for _, s := range sources {
		text, err := s.text()
		if err != nil {
			return err
		}
		if _, err := csource.Build(context.Background(), text); err != nil {
			return fmt.Errorf("%s\n%s", s.program.Source, text)
		}
	}
	return errors.New("clang takes each by itself, but not together")
}

// load loads one program of an object, whose names have an ending.
func (s source) load(object *ebpf.CollectionSpec, end string) (*implementation, error) {
	program, counts, draws := csource.ProgramName+end, csource.CountersMap+end, csource.DrawsMap+end
	maps := map[string]*ebpf.MapSpec{counts: object.Maps[counts].Copy()}
	if m, ok := object.Maps[draws]; ok {
		maps[draws] = m.Copy()
	}
	all, err := ebpf.NewCollection(&ebpf.CollectionSpec{
		Maps:      maps,
		Programs:  map[string]*ebpf.ProgramSpec{program: object.Programs[program].Copy()},
		ByteOrder: object.ByteOrder,
	})
	name := "C" + at(s.hook)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &implementation{
		name:     name,
		options:  engine.LoadOptions{Link: s.link, Hook: s.hook, Fragments: s.hook == bpf.XDP},
		run:      runner(all.Programs[program]),
		draws:    func(numbers []uint32) error { return handOver(all.Maps[draws], numbers) },
		counters: func() ([]counter, error) { return addUp(all.Maps[counts], len(s.program.Written)) },
		close:    all.Close,
	}, nil
}

func suffix(i int) string { return fmt.Sprintf("__%d", i) }

// defined finds what a source defines for the whole of its file: structures,
// macros, functions and the map.
var (
	defined = regexp.MustCompile(`(?m)^(?:struct (\w+) \{|#define (\w+)|[a-z_].*[ *](\w+)\(.*[,)]$|\} (\w+) SEC)`)
	words   = regexp.MustCompile(`\w+`)
	license = regexp.MustCompile(`(?m)^char LICENSE.*\n`)
)

// rename gives all that a source defines names that no other source has.
func rename(text, end string) string {
	names := map[string]bool{}
	for _, m := range defined.FindAllStringSubmatch(text, -1) {
		for _, name := range m[1:] {
			names[name] = true
		}
	}
	return words.ReplaceAllStringFunc(text, func(word string) string {
		if names[word] {
			return word + end
		}
		return word
	})
}

// addUp reads the counters of every rule, over all CPUs.
func addUp(m *ebpf.Map, rules int) ([]counter, error) {
	out := make([]counter, rules)
	for i := range out {
		var perCPU []counter
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			return nil, err
		}
		for _, c := range perCPU {
			out[i].Packets += c.Packets
			out[i].Bytes += c.Bytes
		}
	}
	return out, nil
}

// handOver puts random numbers into a map, if the program has one.
func handOver(m *ebpf.Map, numbers []uint32) error {
	if m == nil {
		return nil
	}
	return m.Put(uint32(0), numbers)
}
