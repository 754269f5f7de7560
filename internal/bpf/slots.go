package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// The phases of a program's run for one packet.
const (
	parsing   assembler.Phase = iota // headers are looked for
	matching                         // conditions and look-ups of a chain
	examining                        // at tc: what kind of packet it is on which a rule acts
	computing                        // new values, before the first store
	summing                          // checksums that are made anew
	preparing                        // what is not possible behind a store; the record has begun
	storing                          // nothing fails from here on
	counting                         // the epilogue
)

// slot is a place on the stack, by its place in slots.
type slot int

var slots []assembler.Slot

func newSlot(name string, size int, first, last assembler.Phase) slot {
	slots = append(slots, assembler.Slot{Name: name, Size: size, First: first, Last: last})
	return slot(len(slots) - 1)
}

// What is on the stack, and for how long. Offsets count from the packet's start.
var (
	slotRule     = newSlot("rule that acted, for the epilogue", 4, computing, counting)
	slotVerdict  = newSlot("what becomes of the packet, where not all pass", 4, examining, counting)
	slotRedirect = newSlot("interface that it is sent to", 8, computing, counting)
	slotSegments = newSlot("tc: how many packets a GSO packet stands for", 8, parsing, counting)
	slotL4       = newSlot("offset of the layer-4 header", 8, parsing, storing)
	slotMSSAt    = newSlot("where in the TCP header the option MSS is, or 0", 8, parsing, storing)
	slotMSS      = newSlot("base of the option MSS", 8, parsing, storing)
	slotRow      = newSlot("the row by which a step acts", 8, matching, counting)

	slotForm = newSlot("the form of that flow", 8, matching, computing)
	slotFlow = newSlot("a flow that is tracked, as it leaves and as it arrived", flowRoom, matching, computing)

	slotHeader    = newSlot("copy of the IPv4 header", headerRoom, summing, storing)
	slotParts     = newSlot("tc: what each part of the layer-4 sum changes by", 24, summing, storing)
	slotFixed     = newSlot("checksums that are fixed, of layer 3 and 4, in memory order", 16, summing, storing)
	slotL3        = newSlot("offset of the IPv4 header", 8, matching, storing)
	slotHeaderLen = newSlot("length of the IPv4 header", 8, matching, storing)
	slotL4Len     = newSlot("length of the layer-4 datagram", 8, parsing, summing)
	slotContext   = newSlot("the context, for functions", 8, parsing, summing)
	slotCheckAt   = newSlot("tc: offset of the layer-4 checksum", 8, examining, storing)
	slotL3Base    = newSlot("tc: offset of the base of layer 3", 8, examining, storing)
	slotBytes     = newSlot("tc: what bytes change that no checksum covers", 8, summing, storing)
	slotOld       = newSlot("tc: a checksum of two parts as it was", 8, summing, storing)
	slotWhole     = newSlot("tc: not 0 where the UDP checksum is complete", 8, summing, storing)
	slotSum       = newSlot("sum of the datagram so far, or unread", 8, parsing, summing)

	slotSeen   = newSlot("what IPv6 extension headers say", 8, parsing, computing)
	slotLeft   = newSlot("payload length of IPv6; for sums, what extension headers leave of it", 8, parsing, matching)
	slotNext   = newSlot("kind of an extension header", 8, parsing, parsing)
	slotSteps  = newSlot("how many have been stepped over", 8, parsing, parsing)
	slotOption = newSlot("where the search for an option is", 8, parsing, parsing)
	slotTCPLen = newSlot("length of the TCP header", 8, parsing, parsing)

	slotAddress    = newSlot("what an address of the pseudo-header is more than that in the IP header, as a sum", 8, parsing, summing)
	slotFound      = newSlot("where that address is, or 0", 8, parsing, parsing)
	slotOptionsEnd = newSlot("where the options of an extension header end", 8, parsing, parsing)
	slotKind       = newSlot("kind of the extension header behind them", 8, parsing, parsing)
	slotKeptLength = newSlot("length as transport has it, while options are looked for", 8, parsing, parsing)
	slotKeptL3     = newSlot("base of layer 3, meanwhile", 8, parsing, parsing)
	slotKeptL4     = newSlot("base of layer 4, meanwhile", 8, parsing, parsing)
	slotKeptEnd    = newSlot("end of the packet, meanwhile", 8, parsing, parsing)

	// slotZero is how another protocol's checksum of 0 is sent: at XDP what stands for
	// it, at tc a flag. No packet has it and an MSS.
	slotZero = slotMSSAt

	// slotQuoted is the base of the layer-4 header that an ICMP error quotes. No packet
	// has that and an MSS.
	slotQuoted = slotMSS

	slotNumber  = newSlot("number of a row", 4, matching, matching)
	slotBest    = newSlot("row of the first rule found", 8, matching, matching)
	slotOrder   = newSlot("and its place among all", 8, matching, matching)
	slotFoundBy = newSlot("1 + the place in Select of the step that found it", 8, matching, matching)

	slotHeaders = newSlot("tc: length of the headers so far", 8, matching, examining)
	slotPeeked  = newSlot("tc: what has been read there", 8, matching, examining)
	slotIPLen   = newSlot("tc: length of the IP header", 8, matching, examining)
	slotTried   = newSlot("tc: a checksum before it was tried", 8, examining, examining)

	slotTag     = newSlot("tc: the offloaded VLAN tag as it will be", 8, storing, storing)
	slotTagType = newSlot("tc: and its type", 8, storing, storing)

	slotRecord   = newSlot("the record of the packet, or 0", 8, preparing, counting)
	slotRecorded = newSlot("1 if there is a record, else 0", 8, preparing, counting)
)

const (
	// headerRoom is for an IPv4 header of at most 60 bytes, in whole words of 64 bits.
	headerRoom = 64
	// slotsSize is how much of the stack slots may take; values are worked out
	// below. A program and the function that it calls have stackSize bytes together.
	slotsSize = 256
	stackSize = 512
)

// frameOffset is where a slot is, from the frame pointer.
func (c *code) frameOffset(s slot) int16 { return c.frame.At(int(s)) }

func (c *code) load(dst asm.Register, s slot) {
	c.Emit(asm.LoadMem(dst, asm.R10, c.frameOffset(s), asm.DWord))
}

func (c *code) save(s slot, src asm.Register) {
	c.Emit(asm.StoreMem(asm.R10, c.frameOffset(s), src, asm.DWord))
}

func (c *code) saveImm(s slot, n int64) { c.Emit(assembler.StoreLong(asm.R10, c.frameOffset(s), n)) }

// content and address of a slot are arguments of calls.
func (c *code) content(s slot) assembler.Arg { return assembler.Memory(asm.R10, c.frameOffset(s)) }

func (c *code) address(s slot) assembler.Arg { return assembler.Stack(c.frameOffset(s)) }

// image is where on the stack a place of the scratch area is, in which values
// are worked out.
func (c *code) image(at int) int16 { return int16(at - slotsSize - c.use.scratch) }
