package bpf

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"repacket/internal/bpf/assembler"
)

// Recording says how packets on which rules act are recorded.
type Recording struct {
	// Ring is a RINGBUF map of records, see Record.
	Ring int
	// Control is an ARRAY map of one RecordControl.
	Control int
	// Source names the program among those that share the ring.
	Source uint32
	// Rate is how many packets a second are recorded, about, or 0 for no limit.
	Rate uint32
	// Every: of so many packets one is recorded; 0 and 1 are all.
	Every uint32
	// Most is how many packets are recorded in all, or 0 for no limit.
	Most uint64
	// Bytes is how many bytes of a packet are recorded at most; up to HeadBytes that many are.
	Bytes int
}

// RecordControl is what programs that record share, in a map.
type RecordControl struct {
	// Lost counts the packets for which the ring had no room.
	Lost uint64
	// Seen counts the packets of Recording.Every, Taken those of Recording.Most.
	Seen, Taken uint64
	// Window is the CLOCK_MONOTONIC_COARSE time in nanoseconds at which the current
	// window of Recording.Rate began, and InWindow how many were recorded in it.
	Window, InWindow uint64
}

// Places in a RecordControl.
const (
	controlLost     = 0
	controlSeen     = 8
	controlTaken    = 16
	controlWindow   = 24
	controlInWindow = 32
	// RecordControlSize is the size in bytes of a RecordControl.
	RecordControlSize = 40
)

// HeadBytes is how many bytes of a packet are recorded where only its headers are asked for.
const HeadBytes = 128

// MostBytes is how many bytes of a packet a record has at most: a GSO packet that is not BIG
// TCP, with its headers.
const MostBytes = 1<<16 + 256

// Record is what a record in the ring begins with; behind it are Head bytes of the packet as it
// left, then Captured bytes as it arrived. Numbers are in the order of the machine.
type Record struct {
	Time     uint64 // CLOCK_MONOTONIC, in nanoseconds
	Rule     uint32 // by its place among the rules as written
	Length   uint32 // of the packet, without an offloaded VLAN tag
	Segments uint32 // at tc, of a GSO packet; else 0 or 1
	Captured uint32 // how many bytes there are as it arrived
	// At tc: whether the packet has an offloaded VLAN tag, its control information and,
	// in network order, its type; TagLeft and TagTypeLeft are as it left.
	Tagged, Tag, TagType uint32
	TagLeft, TagTypeLeft uint32
	Left                 uint32 // how many of the Head bytes there are as it left
	Source               uint32 // the program: Recording.Source
}

// Head is how many bytes of a packet as it left there is room for in each record. Rules change no
// byte behind them, but in packets at XDP with long extension headers.
func (r Recording) Head() int {
	if r.Bytes <= HeadBytes {
		return HeadBytes
	}
	return 2 * HeadBytes
}

// rooms are how many bytes of a packet as it arrived records have room for: the smallest that
// fits is taken. There are few, because the verifier walks a program for each.
func (r Recording) rooms() []int {
	if r.Bytes <= HeadBytes {
		return []int{HeadBytes}
	}
	const ofEthernet = 2048
	most := (min(r.Bytes, MostBytes) + 7) &^ 7
	if most <= ofEthernet {
		return []int{HeadBytes, most}
	}
	return []int{HeadBytes, ofEthernet, most}
}

// Places in a Record.
const (
	recordTime     = 0
	recordRule     = 8
	recordLength   = 12
	recordSegments = 16
	recordCaptured = 20
	recordTagged   = 24
	recordTag      = 28
	recordTagType  = 32
	recordTagLeft  = 36
	recordTypeLeft = 40
	recordLeft     = 44
	recordSource   = 48
	// RecordHeader is the size in bytes of a Record, with padding.
	RecordHeader = 56
)

// ReadRecord reads what a record begins with; of fewer than RecordHeader bytes it is 0.
func ReadRecord(b []byte) (r Record) {
	if len(b) < RecordHeader {
		return r
	}
	o := binary.NativeEndian
	return Record{
		Time: o.Uint64(b[recordTime:]), Rule: o.Uint32(b[recordRule:]), Length: o.Uint32(b[recordLength:]),
		Segments: o.Uint32(b[recordSegments:]), Captured: o.Uint32(b[recordCaptured:]), Left: o.Uint32(b[recordLeft:]),
		Tagged: o.Uint32(b[recordTagged:]), Tag: o.Uint32(b[recordTag:]), TagType: o.Uint32(b[recordTagType:]),
		TagLeft: o.Uint32(b[recordTagLeft:]), TagTypeLeft: o.Uint32(b[recordTypeLeft:]), Source: o.Uint32(b[recordSource:]),
	}
}

// TimeOf is the time of a Record; of fewer than RecordHeader bytes it is 0.
func TimeOf(b []byte) uint64 {
	if len(b) < RecordHeader {
		return 0
	}
	return binary.NativeEndian.Uint64(b[recordTime:])
}

// The functions that record. They are in the program once, and each rule calls them.
const (
	beginFunction = "record_begin"
	endFunction   = "record_end"
)

// recorder emits what records the packets on which rules act. A record is reserved and filled
// before the first store to the packet and completed behind the last, so that it says what
// happened. Where there is none, because it is not to be or the ring is full, the packet is
// rewritten all the same.
type recorder struct{ *code }

// begin reserves a record of the packet as it is and leaves it on the stack, or 0, and beside it
// whether there is one. By the record itself that cannot be told again: to the verifier of Linux
// 6.1 a record that was found not to be 0 is a pointer that may be 0 in the next comparison, and
// then nobody gives the record back ("Unreleased reference").
func (c recorder) begin() {
	if c.opt.Record == nil {
		return
	}
	c.About("record")
	c.Invoke(beginFunction, assembler.Reg(c.reg.ctx), c.address(slotRecorded))
	c.save(slotRecord, asm.R0)
	c.Forget()
	c.functions[beginFunction], c.functions[endFunction] = c.beginFunction, c.endFunction
}

// end completes the record, if there is one. The number of the rule is on the stack.
func (c recorder) end() {
	if c.opt.Record == nil {
		return
	}
	c.About("record")
	c.load(asm.R1, slotRecorded)
	c.SkipIf(asm.JEq.Imm(asm.R1, 0, ""), func() {
		rule := func(dst asm.Register) []asm.Instruction {
			return []asm.Instruction{asm.LoadMem(dst, asm.R10, c.frameOffset(slotRule), asm.Word)}
		}
		segments := assembler.Imm(0)
		if c.opt.Hook == TC {
			segments = c.content(slotSegments)
		}
		c.Invoke(endFunction, assembler.Reg(c.reg.ctx), c.content(slotRecord), rule, segments)
	})
}

// discard gives the record back, if there is one: the packet is not rewritten in the end.
func (c recorder) discard() {
	if c.opt.Record == nil {
		return
	}
	c.About("record")
	c.load(asm.R1, slotRecorded)
	c.SkipIf(asm.JEq.Imm(asm.R1, 0, ""), func() {
		c.Call(asm.FnRingbufDiscard, c.content(slotRecord), assembler.Imm(noWakeup))
	})
}

// noWakeup is BPF_RB_NO_WAKEUP: the reader looks by itself. A wake-up costs about fifty times
// as much as the record.
const noWakeup = 1

// functionType is the type of a function of a program.
func functionType(name string) *btf.Func {
	switch name {
	case beginFunction:
		return assembler.PlainFunction(name, "context", "recorded")
	case endFunction:
		return assembler.PlainFunction(name, "context", "record", "rule", "segments")
	case whyFunction:
		return assembler.GlobalFunction(name, "slot", "low", "high", "packets")
	}
	return assembler.LoopFunction(name)
}

// Registers of both functions.
const (
	recordContext = asm.R6
	record        = asm.R7
	// recordedLength is how long the packet is, where that is asked for.
	recordedLength = asm.R8
	// recorded points to where it is noted whether there is a record.
	recorded = asm.R9
)

// beginFunction is the function that reserves a record: it gets the context and where to note
// whether there is a record, and returns that or 0.
func (c recorder) beginFunction() {
	none := c.NewLabel()
	c.frame.Phase = preparing
	c.About("record: is it one to record?")
	c.Emit(asm.Mov.Reg(recordContext, asm.R1), asm.Mov.Reg(recorded, asm.R2))
	c.every(none)
	c.most(none)
	c.rate(none)
	rooms := c.opt.Record.rooms()
	if len(rooms) > 1 {
		c.About("record: how long is it?")
		c.packetLength()
		c.Emit(asm.Mov.Reg(recordedLength, asm.R0))
	}
	for i, room := range rooms {
		if i < len(rooms)-1 {
			longer := c.NewLabel()
			c.Jump(longer, asm.JGT.Imm(recordedLength, int32(room), ""))
			c.reserve(room, none)
			c.Bind(longer)
			continue
		}
		c.reserve(room, none)
	}
	c.BindLoop(none)
	c.Emit(asm.Mov.Imm(asm.R0, 0), asm.StoreMem(recorded, 0, asm.R0, asm.DWord))
	c.Exit()
}

// reserve reserves a record for so many bytes of a packet and returns with it, or goes to none.
func (c recorder) reserve(room int, none assembler.Label) {
	there := c.NewLabel()
	head := c.opt.Record.Head()
	c.About("record: reserve")
	c.Call(asm.FnRingbufReserve, assembler.Map(c.opt.Record.Ring), assembler.Imm(int32(RecordHeader+head+room)), assembler.Imm(0))
	c.Jump(there, asm.JNE.Imm(asm.R0, 0, ""))
	c.Emit(asm.LoadMapValue(asm.R1, c.opt.Record.Control, controlLost), asm.Mov.Imm(asm.R2, 1), assembler.FetchAdd(asm.R1, asm.R2))
	c.Goto(none)
	c.Bind(there)
	c.Emit(asm.Mov.Reg(record, asm.R0))
	c.Call(asm.FnKtimeGetNs)
	c.Emit(asm.StoreMem(record, recordTime, asm.R0, asm.DWord), asm.StoreImm(record, recordSource, int64(int32(c.opt.Record.Source)), asm.Word))
	c.tag(recordTag, recordTagType)
	if c.opt.Hook == TC {
		c.Emit(asm.LoadMem(asm.R1, recordContext, skbTagged, asm.Word), asm.StoreMem(record, recordTagged, asm.R1, asm.Word))
	} else {
		c.Emit(asm.StoreImm(record, recordTagged, 0, asm.Word))
	}
	if at := int16(RecordHeader + head); room == HeadBytes {
		c.copy(at, room, recordCaptured)
	} else {
		c.copyWhole(at, room)
	}
	c.Emit(asm.Mov.Imm(asm.R1, 1), asm.StoreMem(recorded, 0, asm.R1, asm.DWord))
	c.Emit(asm.Mov.Reg(asm.R0, record))
	c.Exit()
}

// packetLength leaves in R0 how long the packet is, without an offloaded tag.
func (c recorder) packetLength() {
	switch {
	case c.opt.Hook == TC:
		c.Emit(asm.LoadMem(asm.R0, recordContext, skbLength, asm.Word))
	case c.opt.Fragments:
		c.Call(asm.FnXdpGetBuffLen, assembler.Reg(recordContext))
	default:
		c.Emit(asm.LoadMem(asm.R0, recordContext, c.abi.end, asm.Word), asm.LoadMem(asm.R1, recordContext, c.abi.data, asm.Word))
		c.Emit(asm.Sub.Reg(asm.R0, asm.R1))
	}
}

// endFunction is the function that completes a record: it gets the context, the record, the
// number of the rule and that of the segments.
func (c recorder) endFunction() {
	c.frame.Phase = counting
	c.About("record: complete")
	c.Emit(
		asm.Mov.Reg(recordContext, asm.R1), asm.Mov.Reg(record, asm.R2),
		asm.StoreMem(record, recordRule, asm.R3, asm.Word), asm.StoreMem(record, recordSegments, asm.R4, asm.Word),
	)
	c.packetLength()
	c.Emit(asm.StoreMem(record, recordLength, asm.R0, asm.Word))
	c.tag(recordTagLeft, recordTypeLeft)
	c.copy(RecordHeader, c.opt.Record.Head(), recordLeft)
	c.Call(asm.FnRingbufSubmit, assembler.Reg(record), assembler.Imm(noWakeup))
	c.Emit(asm.Mov.Imm(asm.R0, 0))
	c.Exit()
}

// tag copies the offloaded VLAN tag.
func (c recorder) tag(at, typeAt int16) {
	if c.opt.Hook != TC {
		c.Emit(asm.StoreImm(record, at, 0, asm.Word), asm.StoreImm(record, typeAt, 0, asm.Word))
		return
	}
	c.Emit(asm.LoadMem(asm.R1, recordContext, skbTag, asm.Word), asm.StoreMem(record, at, asm.R1, asm.Word))
	c.Emit(asm.LoadMem(asm.R1, recordContext, skbTagType, asm.Word), asm.StoreMem(record, typeAt, asm.R1, asm.Word))
}

// copy copies the first bytes of the packet, at most so many, to a place in the record, and how
// many these are to another. It loads 8 bytes at a time: as many from the start as are a power
// of two, then as many that end with the last byte. So there are few ways through it, of which
// each is as short as the packet allows, and none is a call. No packet has fewer than 14 bytes.
func (c recorder) copy(at int16, most int, count int16) {
	const data, end, length, limit, word = asm.R1, asm.R2, asm.R3, asm.R4, asm.R5
	done, failed := c.NewLabel(), c.NewLabel()
	c.About("record: copy")
	c.Emit(asm.LoadMem(data, recordContext, c.abi.data, asm.Word), asm.LoadMem(end, recordContext, c.abi.end, asm.Word))
	c.Emit(asm.Mov.Reg(length, end), asm.Sub.Reg(length, data))
	c.SkipIf(asm.JLE.Imm(length, int32(most), ""), func() { c.Emit(asm.Mov.Imm(length, int32(most))) })
	c.Emit(asm.StoreMem(record, count, length, asm.Word))
	words := func(to asm.Register, bytes int16) {
		c.Emit(asm.Mov.Reg(limit, data), asm.Add.Imm(limit, int32(bytes)))
		c.Jump(failed, asm.JGT.Reg(limit, end, ""))
		if to == limit { // the rest: it begins that many bytes into the record
			c.Emit(asm.Mov.Reg(to, record), asm.Add.Reg(to, length))
		}
		for off := int16(0); off < bytes; off += 8 {
			c.Emit(asm.LoadMem(word, data, off, asm.DWord), asm.StoreMem(to, at+off, word, asm.DWord))
		}
	}
	for bytes := int16(most / 2); bytes >= 8; bytes /= 2 {
		less := c.NewLabel()
		c.Jump(less, asm.JLT.Imm(length, int32(bytes), ""))
		words(record, bytes)
		c.Emit(asm.Sub.Imm(length, int32(bytes)), asm.Add.Reg(data, length))
		words(limit, bytes)
		c.Goto(done)
		c.Bind(less)
	}
	c.Bind(failed)
	c.Emit(asm.StoreImm(record, count, 0, asm.Word))
	c.Bind(done)
}

// copyWhole copies as many bytes of the packet as there is room for, in whichever buffers they
// are.
func (c recorder) copyWhole(at int16, room int) {
	failed := c.NewLabel()
	c.About("record: copy")
	most := int32(min(room, c.opt.Record.Bytes))
	c.SkipIf(asm.JLE.Imm(recordedLength, most, ""), func() { c.Emit(asm.Mov.Imm(recordedLength, most)) })
	c.Emit(asm.StoreImm(record, recordCaptured, 0, asm.Word))
	c.Call(c.abi.loadBytes, assembler.Reg(recordContext), assembler.Imm(0), assembler.Sum(assembler.Reg(record), int32(at)), assembler.Reg(recordedLength))
	c.Jump(failed, asm.JNE.Imm(asm.R0, 0, ""))
	c.Emit(asm.StoreMem(record, recordCaptured, recordedLength, asm.Word))
	c.Bind(failed)
}

// every goes to none but for one packet of so many.
func (c recorder) every(none assembler.Label) {
	if c.opt.Record.Every < 2 {
		return
	}
	c.Emit(asm.LoadMapValue(asm.R1, c.opt.Record.Control, controlSeen), asm.Mov.Imm(asm.R2, 1), assembler.FetchAdd(asm.R1, asm.R2))
	c.Emit(asm.LoadImm(asm.R3, int64(c.opt.Record.Every), asm.DWord), asm.Mod.Reg(asm.R2, asm.R3))
	c.Jump(none, asm.JNE.Imm(asm.R2, 0, ""))
}

// most goes to none behind so many packets.
func (c recorder) most(none assembler.Label) {
	if c.opt.Record.Most == 0 {
		return
	}
	c.Emit(asm.LoadImm(asm.R3, int64(min(c.opt.Record.Most, math.MaxInt64)), asm.DWord))
	c.Emit(asm.LoadMapValue(asm.R1, c.opt.Record.Control, controlTaken), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord))
	c.Jump(none, asm.JGE.Reg(asm.R2, asm.R3, ""))
	c.Emit(asm.Mov.Imm(asm.R2, 1), assembler.FetchAdd(asm.R1, asm.R2))
	c.Jump(none, asm.JGE.Reg(asm.R2, asm.R3, ""))
}

// window is how long the rate is counted for: a tenth of a second, or a second where the
// rate is no multiple of ten.
func (r Recording) window() (length time.Duration, packets uint32) {
	const parts = 10
	if r.Rate%parts == 0 {
		return time.Second / parts, r.Rate / parts
	}
	return time.Second, r.Rate
}

// rate goes to none where enough packets were recorded in this window. Where one begins, two
// processors may begin it, and then some more are recorded.
func (c recorder) rate(none assembler.Label) {
	if c.opt.Record.Rate == 0 {
		return
	}
	length, packets := c.opt.Record.window()
	same := c.NewLabel()
	c.Call(asm.FnKtimeGetCoarseNs)
	c.Emit(asm.LoadMapValue(asm.R1, c.opt.Record.Control, controlWindow), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord))
	c.Emit(asm.Mov.Reg(asm.R3, asm.R0), asm.Sub.Reg(asm.R3, asm.R2))
	c.Jump(same, asm.JLT.Imm(asm.R3, int32(length), ""))
	c.Emit(asm.StoreMem(asm.R1, 0, asm.R0, asm.DWord), assembler.StoreLong(asm.R1, controlInWindow-controlWindow, 0))
	c.Bind(same)
	c.Emit(asm.Add.Imm(asm.R1, controlInWindow-controlWindow), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord))
	c.Emit(asm.LoadImm(asm.R3, int64(packets), asm.DWord))
	c.Jump(none, asm.JGE.Reg(asm.R2, asm.R3, ""))
	c.Emit(asm.Mov.Imm(asm.R2, 1), assembler.FetchAdd(asm.R1, asm.R2))
	c.Jump(none, asm.JGE.Reg(asm.R2, asm.R3, ""))
}
