package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// offloadedTag parses packets whose first tag is offloaded: it lies in
// skb->vlan_tci. Where tags are stepped over, such a packet is one without a tag.
func (c *tc) offloadedTag(p *parser) {
	if len(c.plan.Levels) == 1 {
		return
	}
	tagged := c.NewLabel()
	c.About("vlan tag")
	c.loadContext(value, skbTagged)
	c.Jump(tagged, asm.JNE.Imm(value, 0, ""))
	c.later(func() {
		c.offloaded = true
		c.Bind(tagged)
		c.guard(c.reg.l3, ethLen, c.pass)
		for tags := 1; tags <= maxTags; tags++ {
			p.dispatch(p.networks(c.plan.Levels[tags], noLabel), tags)
		}
	})
}

// thirdTag looks whether the first tag is offloaded. Where rules look at tags, such
// packets have been parsed apart.
func (c *tc) thirdTag(tags int, other assembler.Label) {
	if len(c.plan.Levels) == 1 && tags == maxTags-1 {
		c.loadContext(value, skbTagged)
		c.Jump(other, asm.JNE.Imm(value, 0, ""))
	}
}

// inTag reports whether a window lies in an offloaded tag or is its type.
func (c *code) inTag(w plan.Window) bool {
	return c.offloaded && (w.Header == field.VLAN && w.Off < 2 || w.Header == field.Eth && w.Off >= ethTypeAt)
}

// loadTag loads such a window as if it were in the packet.
func (c *code) loadTag(w plan.Window) {
	at := int16(skbTag)
	if w.Header == field.Eth { // in the order of memory; of one byte it is the first, see narrowed
		at = skbTagType
	}
	c.Emit(asm.LoadMem(value, c.reg.ctx, at, asm.Word))
	switch {
	case at == skbTagType && w.Size == 2:
	case at == skbTag && w.Size == 2:
		c.Emit(asm.HostTo(asm.BE, value, asm.Half))
	case at == skbTag && w.Off == 0:
		c.Emit(asm.RSh.Imm(value, 8))
	default:
		c.Emit(asm.And.Imm(value, 0xff))
	}
}

// typeStays reports whether the type of an offloaded tag stays one that the
// kernel offloads.
func (c *tc) typeStays(s plan.Step) bool {
	return !slices.ContainsFunc(s.Writes, func(w plan.Write) bool {
		return c.inTag(w.Window) && w.Header == field.Eth && (w.Made() || w.Value != typeTag && w.Value != typeService)
	})
}

// rewriteTag pushes an offloaded tag in the place of the one that is there.
func (c *tc) rewriteTag(s plan.Step) {
	var mask, val uint32
	newType := int64(0)
	for _, w := range s.Writes {
		switch {
		case !c.inTag(w.Window):
		case w.Header == field.Eth:
			newType = int64(swapped(w.Value, 2))
		default:
			shift := 8 * (2 - w.Off - w.Size)
			mask |= w.Mask << shift
			val |= w.Value << shift // 0 if it is worked out; of a row what is the same in all
		}
	}
	if mask == 0 && newType == 0 {
		return
	}
	c.About("vlan tag")
	c.loadContext(value, skbTag)
	c.Emit(asm.And.Imm(value, int32(0xffff&^mask)), asm.Or.Imm(value, int32(val)))
	for _, w := range s.Writes {
		if !w.Made() || !c.inTag(w.Window) {
			continue
		}
		c.loadMade(w.Window, w.Source)
		if w.Size == 2 {
			c.Emit(asm.HostTo(asm.BE, temp, asm.Half))
		} else if w.Off == 0 {
			c.Emit(asm.LSh.Imm(temp, 8))
		}
		c.Emit(asm.Or.Reg(value, temp))
	}
	c.save(slotTag, value)
	if newType != 0 {
		c.saveImm(slotTagType, newType)
	} else {
		c.loadContext(value, skbTagType)
		c.save(slotTagType, value)
	}
	lost := c.NewLabel()
	c.Call(asm.FnSkbVlanPop, assembler.Reg(c.reg.ctx))
	c.Jump(c.abort, asm.JNE.Imm(asm.R0, 0, ""))
	c.Call(asm.FnSkbVlanPush, assembler.Reg(c.reg.ctx), c.content(slotTagType), c.content(slotTag))
	c.Jump(lost, asm.JNE.Imm(asm.R0, 0, ""))
	c.later(func() {
		// There is no memory for the tag, and without it the packet is another's. Like
		// c.abort, this leaves in the middle of a rewrite.
		c.Bind(lost)
		recorder{c.code}.discard()
		c.About("no memory")
		c.Emit(asm.Mov.Imm(asm.R0, c.abi.verdicts[rule.Drop]))
		c.Exit()
	})
}
