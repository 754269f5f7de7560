package software

import (
	"encoding/binary"
	"math/bits"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/plan"
)

// compute is a plan.Compute.
type compute struct {
	plan.Compute
	from   []window // those of the field that the value follows from, most significant first
	images []image
	// reads are what has to have been captured.
	reads []window
}

// image is where a window of the field goes in the scratch area, and how far the window is
// from the lowest bit of the value.
type image struct {
	at, size     int
	below, shift int
	mask         uint32
}

func computeOf(p plan.Compute) compute {
	c := compute{Compute: p}
	read := p.Field
	switch {
	case p.Action.Op == operand.Copy:
		read = p.Action.From
	case p.Action.Op.Chooses():
		read = nil
	}
	if read != nil {
		c.from = windowsOf(plan.Compute{Field: read}.Windows())
		c.reads = c.from
	}
	list := p.Windows()
	below := 0
	for i := len(list) - 1; i >= 0; i-- {
		w := list[i]
		c.images = append(c.images, image{p.At(w), w.Size, below, bits.TrailingZeros32(w.Mask), w.Mask})
		below += 8 * w.Size
	}
	return c
}

// compute works a value out and leaves its image in the scratch area.
func (r *Runner) compute(c *compute) {
	v := r.value(c)
	for _, i := range c.images {
		part := uint32(v.Shr(i.below).Lo) << i.shift & i.mask
		write(r.scratch[i.at:], uint8(i.size), part)
	}
}

// value is what an operand makes.
func (r *Runner) value(c *compute) field.Value {
	a := c.Action
	switch a.Op {
	case operand.Random:
		return chosen(c, func(i int) uint32 { return r.Draw(a.Draw + i) })
	case operand.Hash:
		return chosen(c, r.flowNumber)
	}
	v := r.loadField(c.from)
	switch a.Op {
	case operand.Add:
		return plus(c.Field, v, a.Value)
	case operand.Sub:
		return minus(c.Field, v, a.Value)
	case operand.AtLeast:
		if v.Cmp(a.Value) < 0 {
			return a.Value
		}
	case operand.AtMost:
		if v.Cmp(a.Value) > 0 {
			return a.Value
		}
	}
	return v
}

// loadField is the value of a field. One that has several windows fills them.
func (r *Runner) loadField(list []window) field.Value {
	var v field.Value
	for _, w := range list {
		part, _ := r.loadPart(w)
		part >>= bits.TrailingZeros32(w.mask)
		n := 8 * uint(w.size)
		v = field.Value{Hi: v.Hi<<n | v.Lo>>(64-n), Lo: v.Lo<<n | uint64(part)}
	}
	return v
}

func plus(f *field.Field, v, n field.Value) field.Value {
	lo, carry := bits.Add64(v.Lo, n.Lo, 0)
	hi, over := bits.Add64(v.Hi, n.Hi, carry)
	out := field.Value{Hi: hi, Lo: lo}
	switch {
	case f.Wraps:
		return out.Low(f.Width)
	case over != 0 || out.Cmp(f.Max()) > 0:
		return f.Max()
	}
	return out
}

func minus(f *field.Field, v, n field.Value) field.Value {
	lo, borrow := bits.Sub64(v.Lo, n.Lo, 0)
	hi, under := bits.Sub64(v.Hi, n.Hi, borrow)
	switch {
	case f.Wraps:
		return field.Value{Hi: hi, Lo: lo}.Low(f.Width)
	case under != 0:
		return field.Value{}
	}
	return field.Value{Hi: hi, Lo: lo}
}

// chosen is what numbers of 32 bits choose (rule.Action.Words).
func chosen(c *compute, number func(i int) uint32) field.Value {
	const word = 32
	if c.Bits() {
		first, skip := c.Skip/word, c.Skip%word
		var v field.Value // a field has one window, or it is an address of up to 128 bits
		have := 0
		for have < skip+c.Field.Width {
			v = field.Value{Hi: v.Hi<<word | v.Lo>>word, Lo: v.Lo<<word | uint64(number(first))}
			first++
			have += word
		}
		return v.Shr(have - skip - c.Field.Width).Low(c.Field.Width)
	}
	lo := c.Action.Range.Lo
	size := c.Action.Range.Hi.Lo - lo.Lo + 1 // 2^32 at most, also across 2^64
	low, carry := bits.Add64(lo.Lo, size*uint64(number(0))>>word, 0)
	if size == 1<<word {
		low, carry = bits.Add64(lo.Lo, uint64(number(0)), 0)
	}
	return field.Value{Hi: lo.Hi + carry, Lo: low}
}

// Of the hash of a flow (semantics.md 3.11).
const (
	goldenRatio  = 0x9e3779b97f4a7c15
	firstFactor  = 0xff51afd7ed558ccd
	secondFactor = 0xc4ceb9fe1a85ec53
)

// hashFlow works out the state of the hash of the packet's flow.
func (r *Runner) hashFlow(f *plan.Flow) {
	h := uint64(0)
	mix := func(word uint64) {
		h = (h ^ word) * goldenRatio
		h ^= h >> 32
	}
	addresses := f.Addresses()
	at := r.at[f.L3] + addresses.Off
	for i := range addresses.Size / 8 {
		mix(binary.BigEndian.Uint64(r.data[at+8*i:]))
	}
	if f.L4 != field.None && !r.fragmented(f) {
		mix(uint64(binary.BigEndian.Uint32(r.data[r.at[f.L4]:]))<<32 | uint64(f.L4.Header().Number))
	} else {
		mix(uint64(r.data[r.at[f.L3]+protocolAt(f.L3)]))
	}
	r.flow = h
}

// fragmented reports whether the packet, which is no later fragment, is a fragment.
func (r *Runner) fragmented(f *plan.Flow) bool {
	if f.L3 == field.IP6 {
		return r.more
	}
	return r.data[r.at[field.IP]+6]&moreFragments != 0
}

// protocolAt is where an IP header has the number of what follows.
func protocolAt(l3 field.Protocol) int {
	if l3 == field.IP6 {
		return 6
	}
	return 9
}

// hasFlow reports whether what the hash is made of was captured.
func (r *Runner) hasFlow(f *plan.Flow) bool {
	const ports = 4
	if r.at[f.L3]+f.L3.Header().Fixed > len(r.data) {
		return false
	}
	return f.L4 == field.None || r.fragmented(f) || r.at[f.L4]+ports <= len(r.data)
}

// flowNumber is number i of the hash.
func (r *Runner) flowNumber(i int) uint32 {
	z := r.flow + uint64(i)*goldenRatio
	z = (z ^ z>>33) * firstFactor
	z = (z ^ z>>33) * secondFactor
	return uint32(z >> 32)
}
