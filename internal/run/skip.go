package run

// SkipReason is the word for why packets on which a rule should have acted were skipped. Metrics have
// it as a label, so a word stays what it is.
type SkipReason string

// The reasons.
const (
	SkipSegments  SkipReason = "segments"  // a GSO packet, and the rule sets what shapes its segments
	SkipChecksum  SkipReason = "checksum"  // its checksum is offloaded, and the rule sets it
	SkipHeaders   SkipReason = "headers"   // its headers could not be brought into one buffer
	SkipTag       SkipReason = "tag"       // the kernel does not offload VLAN tags of the type
	SkipLimit     SkipReason = "limit"     // it stands for more packets than -c has left
	SkipCollision SkipReason = "collision" // it would look like a packet of another tracked flow
	SkipBusy      SkipReason = "busy"      // the place of its flow was being written to
	SkipTorn      SkipReason = "torn"      // the flow that it answers was changing
)

// SkipReasons are all reasons.
func SkipReasons() []SkipReason {
	return []SkipReason{SkipSegments, SkipChecksum, SkipHeaders, SkipTag, SkipLimit, SkipCollision, SkipBusy, SkipTorn}
}
