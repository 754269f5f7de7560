package bpf

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/plan"
)

// scattered looks up the key where plan.PerfectHash says: two loads from the map,
// and no search. The kernel's own hash tables take a call, a longer hash and a
// list, and four times the memory.
func (c *compiler) scattered(l *plan.Lookup, miss label) {
	s, lay := l.Table.PerfectHash(), layoutOf(l.Table)
	at := c.reg.end // not needed in a chain
	c.hash(l.Key, s.Factor)
	c.emit(
		asm.Mov.Reg(value, at),
		asm.RSh.Imm(at, int32(s.BucketShift())),
		asm.LSh.Imm(at, multiplierShift),
		asm.LoadMapValue(temp, c.tableMap(l.Table), uint32(lay.multipliers)),
		asm.Add.Reg(temp, at),
		asm.LoadMem(temp, temp, 0, asm.Word),
		asm.Mul.Reg(value, temp),
		asm.RSh.Imm(value, int32(s.SlotShift())),
	)
	if n := lay.slotSize; n&(n-1) == 0 {
		c.emit(asm.LSh.Imm(value, int32(bits.TrailingZeros(uint(n)))))
	} else {
		c.emit(asm.Mul.Imm(value, int32(n)))
	}
	c.emit(
		asm.LoadMapValue(temp, c.tableMap(l.Table), 0),
		asm.Add.Reg(temp, value),
	)
	off := l.Table.RowSize
	for _, w := range l.Key {
		c.load = held{}
		c.loadWindow(w, false)
		c.emit(asm.LoadMem(at, temp, int16(off), sizes[w.Size]))
		c.jumpTo(miss, asm.JNE.Reg(value, at, ""))
		off += w.Size
	}
}

// hash leaves the hash of plan.PerfectHash in what was the end of the packet.
func (c *compiler) hash(key []plan.Window, factor uint64) {
	h := c.reg.end
	multiply := func() {
		c.emit(asm.LoadImm(temp, int64(factor), asm.DWord), asm.Mul.Reg(h, temp))
	}
	for i, w := range key {
		if i > 0 && i%2 == 0 {
			multiply()
			c.emit(asm.Mov.Reg(temp, h), asm.RSh.Imm(temp, 32), asm.Xor.Reg(h, temp))
		}
		c.load = held{}
		c.loadWindow(w, false)
		switch {
		case i == 0:
			c.emit(asm.Mov.Reg(h, value))
			continue
		case i%2 == 1:
			c.emit(asm.LSh.Imm(value, 32))
		}
		c.emit(asm.Xor.Reg(h, value))
	}
	multiply()
	c.load = held{}
}

// multiplierShift is log2 of the size of a multiplier.
const multiplierShift = 2
