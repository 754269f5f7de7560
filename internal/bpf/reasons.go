package bpf

// Reason says why a packet on which a rule should have acted was left alone. At
// tc such packets are counted behind the rules: the entry of a reason is the
// number of rules as written plus the reason.
type Reason int

// The reasons.
const (
	// ReasonSegments: the rule says how packets are cut up, and the packet is yet
	// to be cut up by segmentation offload.
	ReasonSegments Reason = iota
	// ReasonPartial: the rule sets a checksum of layer 4 to a value, and that of
	// the packet is yet to be made.
	ReasonPartial
	// ReasonHeaders: the headers could not be brought into one buffer, for want of
	// memory. No packet provokes that; a test makes the program ask for too much.
	ReasonHeaders
	// ReasonTag: the rule sets the type of a VLAN tag to one that the kernel does
	// not keep beside the packet.
	ReasonTag
	// ReasonLimit: the packet stands for more than the limit has left.
	ReasonLimit
	// ReasonCount is how many there are.
	ReasonCount = iota
)
