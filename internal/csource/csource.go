// Package csource writes a plan as C: the same XDP program for people to read
// and audit, and for other tools to load. It does byte for byte what the
// instructions of internal/bpf do, but it is not written like them: the C says
// what is meant, and how that is done well is left to clang.
//
// What is written has nothing in it that the rules do not need: helpers,
// headers and masks are written down only where something before has asked
// for them. It includes linux/bpf.h and libbpf's two headers, nothing else.
package csource

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// CountersMap is the name of the map with the counters: a PERCPU_ARRAY of two
// 64-bit words, packets and bytes, one entry a rule as written.
const CountersMap = "repacket_counts"

// ProgramName is the name of the program's function.
const ProgramName = "repacket"

// Options say what a program is written for.
type Options struct {
	// Fragments makes the program take packets in several buffers (native mode
	// with a large MTU).
	Fragments bool
}

// section is the ELF section by which loaders know what the program is.
func (o Options) section() string {
	if o.Fragments {
		return "xdp.frags"
	}
	return "xdp"
}

// Print writes the program of a plan in C. p is what the plan was made of.
func Print(p *rule.Program, pl *plan.Program, o Options) string {
	w := &writer{program: p, needs: map[part]bool{}, masks: map[*field.Field]bool{}, lists: map[string]string{}}
	main := w.entry(pl, o) // first, because it notes what it needs
	parts := slices.Concat(
		[]string{w.title(o), includes}, w.headers(), []string{w.defines(), w.counters()},
		w.library(), w.functions, []string{main, license})
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, "\n")
}

// writer writes one program. What the text asks for on its way is noted, and
// written down before it.
type writer struct {
	program *rule.Program
	needs   map[part]bool
	masks   map[*field.Field]bool // fields whose bits are named
	// lists are the functions that know long lists of values, by what they say.
	lists map[string]string
	// functions are those of the lists and of the classes of packets.
	functions []string
	// params are the parameters that the class at hand uses.
	params map[param]bool
}

// param is a parameter of the function of a class.
type param string

// The parameters. ctx is there always.
const (
	frameOffset param = "l3" // where the IPv4 header begins in the frame
	ipHeader    param = "ip"
	l4Header    param = "l4"
)

const includes = `#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
`

const license = `char LICENSE[] SEC("license") = "Dual MIT/GPL";
`

// title is the comment at the top: the rules, and how to use the file.
func (w *writer) title(o Options) string {
	var b strings.Builder
	b.WriteString("/*\n * One XDP program for these rules, written by repacket. The first rule that\n" +
		" * matches acts; every packet passes on.\n *\n")
	for i, r := range w.program.Written {
		b.WriteString(starred(fmt.Sprintf("%d: %s", i, words(r))))
	}
	fmt.Fprintf(&b, " *\n * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c %[1]s.c -o %[1]s.o\n"+
		" * section %s, map %s: packets and bytes by rule and CPU\n */\n", ProgramName, o.section(), CountersMap)
	return b.String()
}

// words is a rule as the user wrote it, its name included.
func words(r rule.Written) string {
	if r.Name != "" {
		return r.Name + ": " + r.Text
	}
	return r.Text
}

// counters is the definition of the map.
func (w *writer) counters() string {
	return fmt.Sprintf(`struct counter {
	__u64 packets;
	__u64 bytes;
};

/* What each rule has taken. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, %d);
	__type(key, __u32);
	__type(value, struct counter);
} %s SEC(".maps");
`, max(1, len(w.program.Written)), CountersMap)
}
