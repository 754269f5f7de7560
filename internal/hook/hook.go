// Package hook attaches programs to interfaces, finds them there and detaches them
// again: XDP programs on the way in, tc programs on the way in and out.
//
// A program is on an interface in one of two ways. By Link it belongs to the
// process and goes when the process does, however that ends. By Attach it belongs
// to the interface: it outlives the process and needs no pin, no mount and no
// file. Which program is ours is known by its name and by a map with metadata
// that is bound to it. A program of somebody else is never replaced or removed.
//
// A program is ours by interface and direction: one of ours at most is on each,
// whichever hook it uses. Two processes that attach in the same moment are told
// apart by the kernel on each hook, but not between XDP and tc.
//
// All functions work in the network namespace of the calling thread, and what
// they return stays in it.
package hook

import (
	"time"

	"repacket/internal/run"
)

// Names in the kernel by which a program of ours and its maps are known. The
// kernel keeps 15 bytes of each.
const (
	ProgramName     = "repacket"
	MetaMapName     = "repacket_meta"
	CountersMapName = "repacket_counts"
	// BeforeMapName is a map that holds the counters of the program before.
	BeforeMapName = "repacket_before"
	// FlowsMapName is the table of the flows that rules track.
	FlowsMapName = "repacket_flows"
	// LimitMapName is a word that counts the packets that were acted on, and
	// UntilMapName one with the CLOCK_MONOTONIC time in nanoseconds from which
	// none is acted on any more.
	LimitMapName = "repacket_limit"
	UntilMapName = "repacket_until"
	// RevertMapName is a word with the jiffies from which a program does again what was done
	// before its rules, see MetaRevert.
	RevertMapName = "repacket_revert"
	// ToldMapName is a word that is 1 once somebody has been told that such a program went back.
	ToldMapName = "repacket_told"
	// StubName is the program and SlotMapName its map by which a program of a
	// process is on an interface where the kernel has no link for tc.
	StubName    = "repacket_stub"
	SlotMapName = "repacket_slot"
	// PeerName is the program that lets a veth take what native XDP of ours sends
	// it from its other end. It passes everything.
	PeerName = "repacket_peer"
)

// Way is what holds a program on its interface.
type Way uint8

// The ways. A program of a process is in a clsact stub's slot; one that was
// given is in a clsact filter itself.
const (
	ByXDP Way = iota
	ByTCX
	ByClsact
)

var wayNames = [...]string{ByXDP: "xdp", ByTCX: "tcx", ByClsact: "clsact"}

// String is the way's name in the kernel.
func (w Way) String() string { return wayNames[w] }

// Program is a program that was found on an interface.
type Program struct {
	Interface string
	Ifindex   int
	Direction run.Direction
	Hook      run.Hook
	Way       Way
	// ProgramID is the kernel's number of the program, ProgramName its name
	// there, which may be "".
	ProgramID   uint32
	ProgramName string
	// Loaded is when the program was loaded, since the machine was booted, and UID by which user;
	// 0 where the kernel does not say.
	Loaded time.Duration
	UID    uint32
	// Tool is whose program it is, as far as it is recognised; Dispatches is how many programs it
	// runs, where it is a dispatcher that tells.
	Tool       Tool
	Dispatches int
	// Ours: name and metadata are those of this tool. Else Meta is empty.
	Ours bool
	Meta Meta
	// Tickets is how many packets of Meta.Limit were taken, which goes on beyond
	// it. Until is the CLOCK_MONOTONIC time in nanoseconds from which packets
	// pass untouched, or 0.
	Tickets, Until uint64
	// Revert is what is known of a program that goes back; else nil. All else is about the
	// rules that act now.
	Revert *Reverting
	// maps are those of the rules that act, resting those of the others where it goes back.
	maps, resting maps
	// filter is the clsact filter that holds the program or the stub.
	filter filter
}

// filter is a filter of a clsact or ingress qdisc, as rtnetlink tells it.
type filter struct {
	kind     string
	pref     uint16 // the lowest comes first
	protocol uint16 // in the wire's byte order, as the kernel has it
	chain    uint32
	handle   uint32 // 0 is not a filter but the place of all with this pref
	program  uint32 // of a BPF filter
	name     string // of a BPF filter, as whoever made it calls it
}
