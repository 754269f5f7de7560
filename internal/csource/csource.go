// Package csource writes a plan as C: the same program for people to read
// and audit, and for other tools to load. It does byte for byte what the
// instructions of internal/bpf do, but it is not written like them: the C says
// what is meant, and how that is done well is left to clang.
//
// What is written has nothing in it that the rules do not need: helpers,
// headers and masks are written down only where something before has asked
// for them. It includes headers of the kernel and libbpf's two, nothing else.
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

// DrawsMap is the name of the map with the random numbers of the next packet, in
// a program that is handed them: an ARRAY of one entry, which has one __u32 in
// the machine's byte order for each place, plan.Program.Draws of them. Programs
// that ask for no random number do not have it.
const DrawsMap = "repacket_draws"

// ProgramName is the name of the program's function.
const ProgramName = "repacket"

// Print writes the program of a plan in C. p is what the plan was made of.
func Print(p *rule.Program, pl *plan.Program, o Options) string {
	w := &writer{program: p, options: o, needs: map[string]bool{}, masks: map[*field.Field]bool{}, lists: map[string]string{}}
	w.needs[map[Hook]string{XDP: hookXDP, TC: hookTC}[o.Hook]] = true
	w.needs[map[bool]string{false: ownDraws, true: givenDraws}[o.HandedDraws]] = true
	main := w.entry(pl) // first, because it notes what it needs
	parts := slices.Concat(
		[]string{w.title(), w.includes()}, w.headers(), []string{w.defines(), w.counters(), w.draws(pl.Draws), w.flows()},
		w.functions(), w.written(main), []string{main, license})
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return o.words(strings.Join(parts, "\n"))
}

// writer writes one program. What the text asks for on its way is noted, and
// written down before it.
type writer struct {
	program *rule.Program
	options Options
	on      field.Link
	needs   map[string]bool
	masks   map[*field.Field]bool // fields whose bits are named
	// lists are the functions that know long lists of values, by what they say.
	lists map[string]string
	// routines are the program's own functions, each behind those that it calls.
	routines []*routine
	chains   map[*plan.Chain]*routine
	// redirects are the interfaces that rules redirect to.
	redirects []string
	// inMemory are the IPv6 addresses that the step at hand changes and whose new value is in
	// memory, and where: a flow has it. Copies of all words of the addresses of a packet, of those
	// of the packet that it quotes, and of their sums would be too much for the stack, which has 512
	// bytes for all functions that call each other.
	inMemory map[*field.Field]string
	// params are the parameters that the routine at hand uses.
	params map[param]bool
}

func (w *writer) includes() string {
	text := "#include <linux/bpf.h>\n"
	if w.options.Hook == TC {
		text += "#include <linux/pkt_cls.h>\n"
	}
	return text + "#include <bpf/bpf_endian.h>\n#include <bpf/bpf_helpers.h>\n"
}

const license = `char LICENSE[] SEC("license") = "Dual MIT/GPL";
`

// title is the comment at the top: the rules, and how to use the file.
func (w *writer) title() string {
	var b strings.Builder
	hook, passes := "XDP", "every packet passes on"
	if w.options.Hook == TC {
		hook = "tc"
	}
	if slices.ContainsFunc(w.program.Rules, func(r *rule.Rule) bool { return r.Verdict != rule.Pass }) {
		passes = "what none takes passes on"
	}
	b.WriteString("/*\n" + starred(fmt.Sprintf(
		"One %s program for these rules, written by repacket. The first rule that matches acts; %s.", hook, passes)) + " *\n")
	for i, r := range w.program.Written {
		b.WriteString(starred(fmt.Sprintf("%d: %s", i, words(r))))
	}
	fmt.Fprintf(&b, " *\n * clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c %[1]s.c -o %[1]s.o\n"+
		" * section %s, map %s: packets and bytes by rule and CPU\n */\n", ProgramName, w.options.section(), CountersMap)
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

// draws is the definition of the map with so many random numbers, if they are
// handed in.
func (w *writer) draws(n int) string {
	if !w.options.HandedDraws || !w.needs["draw"] {
		return ""
	}
	return fmt.Sprintf(`struct draws {
	__u32 number[%d];
};

/* The random numbers of the next packet, by their places. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct draws);
} %s SEC(".maps");
`, n, DrawsMap)
}
