package bpf

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// xdp emits for XDP: the packet is as on the wire, and its checksums are changed
// in place.
type xdp struct{ *code }

func (c xdp) linearize()                    {}
func (c xdp) offloadedTag(*parser)          {}
func (c xdp) thirdTag(int, assembler.Label) {}
func (c xdp) begin()                        {}
func (c xdp) reflect()                      {}
func (c xdp) countAhead()                   {}
func (c xdp) length()                       { c.Call(asm.FnXdpGetBuffLen, assembler.Reg(c.reg.ctx)) }
func (c xdp) act(s plan.Step)               { actions(c).rewrite(s, &xdpRewrite{c, c.NewLabel()}) }

func (c xdp) measure() asm.Instruction {
	if c.opt.Fragments {
		c.length()
		c.Emit(asm.Mov.Reg(packetLength, asm.R0))
	} else {
		c.Emit(asm.LoadMem(asm.R2, c.reg.ctx, c.abi.data, asm.Word), asm.LoadMem(packetLength, c.reg.ctx, c.abi.end, asm.Word))
		c.Emit(asm.Sub.Reg(packetLength, asm.R2))
	}
	return asm.Add.Imm(asm.R1, 1)
}

// xdpRewrite is a rewrite at XDP. It ends at done.
type xdpRewrite struct {
	xdp
	done assembler.Label
}

// limit counts by tickets, which are exact over all CPUs; reading first keeps the
// CPUs off each other's cache line once the limit is reached.
func (c *xdpRewrite) limit() {
	if c.opt.Limit == 0 {
		return
	}
	limit := c.spare()
	c.About("limit")
	c.Forget()
	c.Emit(asm.LoadImm(limit, int64(c.opt.Limit), asm.DWord))
	c.Emit(asm.LoadMapValue(value, c.opt.Tickets, 0), asm.LoadMem(temp, value, 0, asm.DWord))
	c.Jump(c.pass, asm.JGE.Reg(temp, limit, ""))
	c.Emit(asm.Mov.Imm(temp, 1), assembler.FetchAdd(value, temp))
	c.Jump(c.pass, asm.JGE.Reg(temp, limit, ""))
}

// prepare asks first whether the only field that is written has its new value
// already: then no byte changes. Behind that, the old value of a single bit is
// known too. UDP's checksum is left out: what asking would save, it costs.
func (c *xdpRewrite) prepare(s plan.Step) (out []adjustment) {
	for _, sum := range s.Sums {
		if sum.Op == plan.Adjust {
			out = append(out, adjustment{Sum: sum})
		}
	}
	if len(s.Writes) != 1 || len(s.Sums) != 1 || len(s.Exchanges) > 0 || len(s.Computes) > 0 || s.Lookup != nil ||
		len(out) == 0 || out[0].ZeroIsNone || len(out[0].Terms) != 1 || len(out[0].Changes) != 1 || len(s.Writes[0].Fields) != 1 {
		c.Forget()
		return out
	}
	only := &out[0]
	term, change := only.Terms[0], only.Changes[0]
	want := change.Value.Lo << change.Field.Shift()
	test := plan.Test{Window: term.Window, In: field.One(field.V(want)), Fields: []*field.Field{change.Field}}
	conditions{c.code}.test(test, c.done, true)
	only.differs = true
	if bits.OnesCount32(term.Mask) == 1 {
		if want == 0 {
			old := int64(term.Factor) * int64(term.Mask) % modulus
			only.Const = uint32((int64(only.Const) - old + modulus) % modulus)
		}
		only.Terms = nil
	}
	return out
}

func (c *xdpRewrite) finish(s plan.Step) {
	recompute{c.code}.storeLast(s.Sums)
	c.Bind(c.done)
}
