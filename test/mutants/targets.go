package main

import (
	"path"
	"slices"
	"strings"
)

// target is a package that faults are put into, and the tests that have to
// notice them, the quickest first: the first that fails settles it.
type target struct {
	pkg string
	// files are those that decide what happens to a packet; empty is all.
	files  []string
	judges []judge
}

// has reports whether a fault, as it prints itself, is in one of the files.
func (t target) has(fault string) bool {
	file, _, _ := strings.Cut(fault, " ")
	return path.Dir(file) == t.pkg && (len(t.files) == 0 || slices.Contains(t.files, path.Base(file)))
}

// judge is the tests of a package, or those whose names match run.
type judge struct {
	pkg, run string
}

// behaviour is what compares the program in the kernel with the reference, and
// the counts that were made by hand. Listings that are compared letter by
// letter are left out: they would notice any change, and say nothing of it.
var behaviour = judge{"internal/bpf", "^Test(Prove|Tables|TablesOfPrefixes|ProveRawIP|ProveRouted|ProveEveryField|EveryWord|EveryLength|NoLength|Limit|TicketIsCompared|LargeNumbers|Short|FirstGuard|Jumps|Segments|HeadersNotToBeHad)$"}

// states are packets as the kernel has them at tc.
var states = judge{"test/live", "^Test(RightSums|UDPWithoutSum|WrongSumStaysWrong|FixedSums|BrokenSums|BrokenOpenSums|" +
	"EveryFieldOfOpenSums|Tags|PushedTags|TagNotKept|OpenSumsBehindTags|TunnelsOpenInside|EveryFieldOfSuperPackets|LargePackets|LimitIsExact)$"}

var targets = []target{
	{
		pkg: "internal/plan",
		files: []string{
			"build.go", "bundle.go", "bytepattern.go", "checksum.go", "class.go", "compute.go", "condition.go", "perfecthash.go",
			"plan.go", "print.go", "shape.go", "step.go", "table.go", "tablekind.go", "tablesteps.go", "template.go", "widefield.go",
		},
		judges: []judge{{"internal/plan", ""}, behaviour},
	},
	{
		pkg: "internal/bpf",
		files: []string{
			"actions.go", "bpf.go", "checksum.go", "code.go", "compiler.go", "conditions.go", "ethernet.go", "flowhash.go", "ipv4.go",
			"ipv6.go", "recompute.go", "search.go", "slots.go", "tablelayout.go", "tables.go", "tcpoption.go", "values.go", "widevalues.go", "xdp.go",
		},
		judges: []judge{
			behaviour,
			{"internal/engine", "^Test(TimeOverPasses|TooLargeIsRefused)$"},
			{"test/prove", "^TestRegressions$"},
			{"test/live", "^TestPushedTags$"},
		},
	},
	{
		pkg:    "internal/bpf/assembler",
		files:  []string{"assembler.go", "call.go", "frame.go"},
		judges: []judge{{"internal/bpf/assembler", ""}, behaviour},
	},
	{
		// A test run knows no offloaded checksum, no GSO packet and no offloaded VLAN
		// tag: real packets do.
		pkg:    "internal/bpf",
		files:  []string{"gso.go", "hook.go", "tc.go", "tcchecksum.go", "tcoffload.go", "tcvlan.go"},
		judges: []judge{behaviour, {"internal/engine", "^TestSkipped$"}, states},
	},
	{
		pkg: "internal/reference",
		// What reads the files of another package is left out: tests run in a directory
		// of their own.
		judges: []judge{{"internal/reference", ""}, behaviour, {"internal/packetgen", ""}, {"test/rulegen", "^Test([^E]|E[^x])"}},
	},
	{
		pkg:    "internal/syntax",
		judges: []judge{{"internal/syntax", ""}, {"internal/rule", ""}},
	},
	{
		pkg:    "internal/packetset",
		judges: []judge{{"internal/packetset", ""}, {"internal/rule", ""}},
	},
	{
		pkg:    "internal/rule",
		judges: []judge{{"internal/rule", ""}},
	},
}
