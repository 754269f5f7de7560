package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// beside tells whether a window lies beside the packet: the first tag and its
// type, where the kernel has taken them out of it.
func (c *compiler) beside(w plan.Window) bool {
	return c.aside && (w.Header == field.VLAN && w.Off < 2 || w.Header == field.Eth && w.Off >= ethTypeAt)
}

// loadBeside loads such a window as if it were in the packet.
func (c *compiler) loadBeside(w plan.Window) {
	if w.Header == field.Eth { // in the order of memory; of one byte it is the first, see narrowed
		c.emit(asm.LoadMem(value, c.reg.ctx, skbTagType, asm.Word))
		if w.Size == 1 {
			c.emit(asm.And.Imm(value, 0xff))
		}
		return
	}
	c.emit(asm.LoadMem(value, c.reg.ctx, skbTag, asm.Word))
	switch {
	case w.Size == 2:
		c.emit(asm.HostTo(asm.BE, value, asm.Half))
	case w.Off == 0:
		c.emit(asm.RSh.Imm(value, 8))
	default:
		c.emit(asm.And.Imm(value, 0xff))
	}
}

// typeStays tells whether the type of a tag beside the packet stays one that
// the kernel keeps there.
func (c *compiler) typeStays(s plan.Step) bool {
	for _, w := range s.Writes {
		if c.beside(w.Window) && w.Header == field.Eth && (w.Made() || w.Value != typeTag && w.Value != typeService) {
			return false
		}
	}
	return true
}

// tagBeside puts a tag beside the packet in the place of the one that is there.
func (c *compiler) tagBeside(s plan.Step) {
	var mask, val uint32
	newType := int32(0)
	for _, w := range s.Writes {
		switch {
		case !c.beside(w.Window):
		case w.Header == field.Eth:
			newType = swapped(w.Value, 2)
		default:
			shift := 8 * (2 - w.Off - w.Size)
			mask |= w.Mask << shift
			val |= w.Value << shift // 0 if it is worked out; of a row what is the same in all
		}
	}
	if mask == 0 && newType == 0 {
		return
	}
	c.about("vlan tag")
	c.emit(
		asm.LoadMem(value, c.reg.ctx, skbTag, asm.Word),
		asm.And.Imm(value, int32(0xffff&^mask)),
		asm.Or.Imm(value, int32(val)),
	)
	c.madeTag(s)
	c.emit(
		asm.StoreMem(asm.R10, slotTag, value, asm.DWord),
	)
	if newType != 0 {
		c.emit(storeLong(slotTagType, int64(newType)))
	} else {
		c.emit(
			asm.LoadMem(value, c.reg.ctx, skbTagType, asm.Word),
			asm.StoreMem(asm.R10, slotTagType, value, asm.DWord),
		)
	}
	lost := c.newLabel()
	c.emit(asm.Mov.Reg(asm.R1, c.reg.ctx), asm.FnSkbVlanPop.Call())
	c.jumpTo(c.pass, asm.JNE.Imm(asm.R0, 0, ""))
	c.emit(
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.LoadMem(asm.R2, asm.R10, slotTagType, asm.DWord),
		asm.LoadMem(asm.R3, asm.R10, slotTag, asm.DWord),
		asm.FnSkbVlanPush.Call(),
	)
	c.jumpTo(lost, asm.JNE.Imm(asm.R0, 0, ""))
	c.later(func() {
		// There is no memory for the tag, and without it the packet is another's.
		c.bind(lost, false)
		c.about("no memory")
		c.emit(asm.Mov.Imm(asm.R0, c.to.verdicts[1]))
		c.exit()
	})
}

// madeTag adds to a tag in value what is made for it.
func (c *compiler) madeTag(s plan.Step) {
	for _, w := range s.Writes {
		if !w.Made() || !c.beside(w.Window) {
			continue
		}
		c.loadMade(w.Window, w.Source)
		if w.Size == 2 {
			c.emit(asm.HostTo(asm.BE, temp, asm.Half))
		} else if w.Off == 0 {
			c.emit(asm.LSh.Imm(temp, 8))
		}
		c.emit(asm.Or.Reg(value, temp))
	}
}
