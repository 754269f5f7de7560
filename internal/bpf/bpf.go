// Package bpf compiles a plan into an eBPF program for XDP or tc. It makes no
// map and calls no kernel: maps come in as file descriptors.
//
// The program's shape: one check of the packet's length, the Ethernet type,
// the layer-4 header if some rule asks for it, then the chain of the class.
// That is for plain IPv4 packets, which run straight through. All else (short
// packets, tags, ARP, IPv6, IPv4 options) stands behind the exit.
//
// Both architectures that are built, amd64 and arm64, are little-endian, and
// so is the code: loads are compared with swapped constants, and checksums
// are summed in the byte order of memory, which RFC 1071 section 2(B) allows.
package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"repacket/internal/bpf/assembler"
	"repacket/internal/bpf/flowtable"
	"repacket/internal/bpf/object"
	"repacket/internal/plan"
)

// The names of the program and of the map with its counters.
const (
	ProgramName  = "repacket"
	CountersName = "repacket_counts"
)

// Counter is what a program counts by rule and CPU, in the order of rules as
// written: packets and bytes that the rule took.
type Counter struct {
	Packets, Bytes uint64
}

// CounterSize is the size in bytes of a Counter in its map.
const CounterSize = 16

// MaxInstructions is what a program may take. Conditional jumps reach 32,767
// instructions, so no jump within the limit can miss its target.
const MaxInstructions = 32767

// Options are what a program is bound to.
type Options struct {
	Hook Hook
	// Rules is the number of rules as written. At tc, entries of the counters
	// behind theirs count what was skipped, by Reason.
	Rules int
	// Counters is a PERCPU_ARRAY map of Counter, one a rule as written.
	Counters int
	// Fragments: a packet can lie in several buffers, so its length comes from
	// a helper. Without it the packet's pointers are subtracted, which is faster.
	Fragments bool
	// Limit is the number of packets to act on, or 0 for no limit.
	Limit uint64
	// Tickets is an ARRAY map of one 64-bit word, the number of packets acted
	// on, which may run past the limit. Needed for Limit only.
	Tickets int
	// Timed: let every packet pass from the deadline on.
	Timed bool
	// Redirect are the numbers of the interfaces that rules redirect to.
	Redirect map[string]int
	// Deadline is an ARRAY map of one 64-bit word, a CLOCK_MONOTONIC_COARSE
	// time in nanoseconds. Needed for Timed only.
	Deadline int
	// Tables are the maps of plan.Program.Tables: each an ARRAY of the one value
	// that FillArray makes.
	Tables []int
	// Flows is the table of the flows that rules track; a program and that of its replies
	// share it. Owners are what its entries name the rules by, in the order of rules as
	// written; nil: their place, from 1.
	Flows  flowtable.Table
	Owners []uint16
	// Draws is an ARRAY map of one value that holds plan.Program.Draws numbers
	// of 32 bits, which are taken for the random ones, so that other
	// implementations can draw the same. 0: the kernel draws.
	Draws int
	// Record has the packets recorded on which rules act, or is nil.
	Record *Recording
	// Why is a PERCPU_ARRAY map of why.Count, one for each slot of plan.Program.Tests. Needed
	// for a plan that has these only.
	Why int
}

// TooLargeError says that a program has more instructions than are allowed.
type TooLargeError struct {
	Instructions int
	// More: there are more still, which were not counted.
	More bool
}

// mostEmitted is how many instructions are emitted before the compiler gives up.
const mostEmitted = 4 * MaxInstructions

func (e *TooLargeError) Error() string {
	more := ""
	if e.More {
		more = "more than "
	}
	return fmt.Sprintf("the rules come to %s%d instructions, and a program can have %d", more, e.Instructions, MaxInstructions)
}

// Compile makes the program of a plan. The error is a *TooLargeError.
func Compile(p *plan.Program, o Options) (asm.Instructions, error) {
	a, err := Annotate(p, o)
	if err != nil {
		return nil, err
	}
	return a.Instructions, nil
}

// Program is a program that says what it does.
type Program struct {
	*assembler.Program
	section string
}

// Annotate makes the program of a plan with notes. The error is a *TooLargeError.
func Annotate(p *plan.Program, o Options) (*Program, error) {
	c := newCompiler(p, o)
	if !c.program() {
		return nil, &TooLargeError{mostEmitted, true}
	}
	out := &Program{c.Finish(), c.abi.section}
	if o.Fragments {
		out.section += ".frags"
	}
	if n := out.Instructions.Size() / asm.InstructionSize; n > MaxInstructions {
		return nil, &TooLargeError{Instructions: int(n)}
	}
	return out, nil
}

// ELF writes the program as a relocatable object that loaders read, with the
// definition of the counters' map for so many rules. A program that is bound to
// a limit or a deadline cannot be written.
func (p *Program) ELF(rules int) ([]byte, error) {
	word := &btf.Int{Name: "unsigned long long", Size: 8}
	out, err := object.Write(p.Program, p.section, object.Map{
		Type: int(ebpf.PerCPUArray), Entries: rules, Key: &btf.Int{Name: "unsigned int", Size: 4},
		Value: &btf.Struct{Name: "counter", Size: CounterSize, Members: []btf.Member{
			{Name: "packets", Type: word}, {Name: "bytes", Type: word, Offset: 64},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("write the object: %w", err)
	}
	return out, nil
}
