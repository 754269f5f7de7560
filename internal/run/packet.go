package run

import (
	"strconv"
	"time"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// Packet is a packet on which a rule acted, or that a dry run matched: as it arrived and
// as it left.
type Packet struct {
	// Time is when the rule acted. A capture file has that of the capture.
	Time      time.Time
	Direction Direction
	Hook      Hook // of a live packet
	// Program and Rule say which rule it was: Program.Written[Rule].
	Program *rule.Program
	Rule    int
	// Link is what the bytes begin with.
	Link field.Link
	// Length is the packet's length in bytes at the hook; Before and After may have only the
	// first of these bytes. It does not change.
	Length int
	// Before is the packet as it arrived, an offloaded VLAN tag in the place that it has
	// on the wire. After is the packet as it left, as many bytes; nil where it was dropped.
	Before, After []byte
	// Segments is how many packets on the wire a GSO packet stands for; else it is 0 or 1.
	Segments int
	// OffloadedChecksum: what the field of the TCP or UDP checksum holds is not the checksum,
	// which is computed behind the hook (CHECKSUM_PARTIAL).
	OffloadedChecksum bool
}

// Written is the rule that acted, in the user's words.
func (p *Packet) Written() rule.Written { return p.Program.Written[p.Rule] }

// RuleComment is what files say of a packet on which a rule acted, as lines of a key, a colon and a
// value: the rule's number from 1, its name where it has one, its text, and its verdict with the
// interface that it redirects to, if it does.
func RuleComment(index int, w rule.Written, redirect string) string {
	text := "rule: " + strconv.Itoa(index+1) + "\n"
	if w.Name != "" {
		text += "name: " + w.Name + "\n"
	}
	text += "text: " + w.Text + "\nverdict: " + w.Verdict.String()
	if redirect != "" {
		text += " " + redirect
	}
	return text
}

// Recording asks for the packets on which rules act. It is one for a whole run: for its replies,
// and for rules that take the place of others.
type Recording struct {
	// Rate is how many packets a second are recorded, about, or 0 for no limit.
	Rate uint32
	// Every: of so many packets one is recorded; 0 and 1 are all.
	Every uint32
	// Most is how many packets are recorded in all, or 0 for no limit. More are rewritten.
	Most uint64
	// Bytes is how many bytes of a packet are recorded at most; the first 128 are in any case.
	Bytes int
	// Packet is called for each packet, in the order of time, replies among the others. The packet
	// and its bytes are the caller's again when it returns.
	Packet func(*Packet)
	// Drained is called when all packets that there are have been handed over, at least a hundred
	// times a second. It may be nil.
	Drained func()
	// Lost is called with how many more packets were rewritten and not recorded because the
	// reader was too slow.
	Lost func(packets uint64)
}
