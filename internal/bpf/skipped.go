package bpf

// Reason says why a packet on which a rule should have acted was skipped. At
// tc such packets are counted behind the rules: the entry of a reason is the
// number of rules as written plus the reason.
type Reason int

// The reasons.
const (
	// ReasonSegments: the rule sets fields that shape segmentation, and the packet
	// is a GSO packet, which is segmented later.
	ReasonSegments Reason = iota
	// ReasonPartial: the rule sets a checksum of layer 4 to a value or makes it right,
	// and that of the packet is offloaded (CHECKSUM_PARTIAL).
	ReasonPartial
	// ReasonHeaders: the headers could not be brought into one buffer, for want of
	// memory. No packet provokes that; a test makes the program ask for too much.
	ReasonHeaders
	// ReasonTag: the rule sets the type of a VLAN tag to one that the kernel does
	// not offload.
	ReasonTag
	// ReasonLimit: the packet stands for more than the limit has left.
	ReasonLimit
	// ReasonCount is how many there are.
	ReasonCount = iota
)
