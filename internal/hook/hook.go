// Package hook puts XDP programs on interfaces, finds them there and takes
// them off again.
//
// A program is on an interface in one of two ways. By Link it belongs to the
// process and goes when the process does, however that ends. By Give it belongs
// to the interface: it outlives the process and needs no pin, no mount and no
// file. Which program is ours is known by its name and by a map with metadata
// that is bound to it. A program of somebody else is never replaced or removed.
//
// All functions work in the network namespace of the calling thread.
package hook

// Names in the kernel by which a program of ours and its maps are known. The
// kernel keeps 15 bytes of each.
const (
	ProgramName     = "repacket"
	MetaMapName     = "repacket_meta"
	CountersMapName = "repacket_counts"
)

// Mode is where in the kernel an XDP program runs.
type Mode uint8

// The modes. Auto leaves the choice to the kernel: native where the driver has
// it, else generic. A program that was loaded for multi-buffer packets does not
// belong in generic mode, so who loads such programs asks for Native first.
const (
	Auto    Mode = iota
	Native       // in the driver, before a socket buffer is made
	Generic      // in the stack, behind it
	Offload      // on the network card; only ever found, never asked for
)

var modeNames = [...]string{Auto: "auto", Native: "xdp", Generic: "xdp-generic", Offload: "xdp-offload"}

// String is the mode's word on the command line.
func (m Mode) String() string { return modeNames[m] }

// Attached is an XDP program that was found on an interface.
type Attached struct {
	Interface string
	Ifindex   int
	Mode      Mode
	// ProgramID is the kernel's number of the program, ProgramName its name
	// there, which may be "".
	ProgramID   uint32
	ProgramName string
	// Ours: name and metadata are those of this tool. Else Meta is empty.
	Ours bool
	Meta Meta
	// counters is the kernel's number of the map with the counters, or 0.
	counters uint32
}
