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
	// files are those that faults are put into; empty is all but those of except,
	// so that a new file is one of them.
	files, except []string
	judges        []judge
}

// has reports whether a fault, as it prints itself, is in one of the files.
func (t target) has(fault string) bool {
	file, _, _ := strings.Cut(fault, " ")
	return path.Dir(file) == t.pkg && t.takes(path.Base(file))
}

// takes reports whether faults are put into a file of the package.
func (t target) takes(name string) bool {
	if len(t.files) > 0 {
		return slices.Contains(t.files, name)
	}
	return !slices.Contains(t.except, name)
}

// judge is the tests of a package, or those whose names match run.
type judge struct {
	pkg, run string
}

// behaviour is what compares the program in the kernel with the reference, and
// the counts that were made by hand. Listings that are compared letter by
// letter are left out: they would notice any change, and say nothing of it.
var behaviour = judge{"internal/bpf", "^Test(Prove|Tables|TablesOfPrefixes|ProveRawIP|ProveRouted|ProveEveryField|PseudoHeaders|Quotes|QuotesOfReplies|" +
	"EveryWord|EveryLength|NoLength|RecordRooms|Limit|TicketIsCompared|LargeNumbers|Short|FirstGuard|Jumps|Segments|HeadersNotToBeHad|RecordIsGivenBack)$"}

// software is what compares a plan that is carried out in Go with the reference, packets
// that were cut off among them.
var software = judge{"internal/software", ""}

// regressions are packets for which the three implementations once differed.
var regressions = judge{"test/prove", "^TestRegressions$"}

// states are packets as the kernel has them at tc, and what becomes of them by a verdict.
var states = judge{"test/live", "^Test(RightSums|UDPWithoutSum|WrongSumStaysWrong|FixedSums|BrokenSums|BrokenOpenSums|" +
	"EveryFieldOfOpenSums|OpenSumsOfRoutes|Tags|PushedTags|TagNotKept|OpenSumsBehindTags|TunnelsOpenInside|EveryFieldOfSuperPackets|" +
	"LargePackets|LimitIsExact|DropAndPass|Reflect|Redirect)$"}

// ofTC are the files of internal/bpf for what is known at tc alone, and for the verdicts.
var ofTC = []string{"gso.go", "hook.go", "tc.go", "tcchecksum.go", "tcoffload.go", "tcvlan.go"}

var targets = []target{
	{
		pkg:    "internal/plan",
		judges: []judge{software, {"internal/plan", ""}, behaviour},
	},
	{
		pkg:    "internal/bpf",
		except: ofTC,
		judges: []judge{
			behaviour,
			{"internal/engine", "^Test(TimeOverPasses|TooLargeIsRefused|RecordsAreTested|RecordsAreLimited|RecordsAreInOrder)$"},
			regressions,
			{"test/live", "^TestPushedTags$"},
		},
	},
	{
		pkg:    "internal/bpf/assembler",
		except: []string{"listing.go", "notation.go"},
		judges: []judge{{"internal/bpf/assembler", ""}, behaviour},
	},
	{
		// A test run knows no offloaded checksum, no GSO packet and no offloaded VLAN
		// tag: real packets do.
		pkg:    "internal/bpf",
		files:  ofTC,
		judges: []judge{behaviour, {"internal/engine", "^TestSkipped$"}, regressions, states},
	},
	{
		pkg: "internal/reference",
		// What reads the files of another package is left out: tests run in a directory
		// of their own.
		judges: []judge{{"internal/reference", ""}, software, behaviour, {"internal/packetgen", ""}, {"test/rulegen", "^Test([^E]|E[^x])"}},
	},
	{
		pkg:    "internal/software",
		judges: []judge{software},
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
