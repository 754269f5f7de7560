package capture

import "repacket/internal/pcapng"

// Edit is a change of a block with a packet that changes its length.
type Edit struct {
	Packet int // its place in Batch.Packets
	// Drop leaves the packet out; then nothing else is done.
	Drop bool
	// RemoveHash removes the option epb_hash.
	RemoveHash bool
	// Comment is added to the packet, unless it is "".
	Comment string
}

// options are those of a block with a packet, or nil if it has none or can have none.
func (b *Batch) options(p *Packet) []byte {
	start := p.Data + p.Captured + uint32(pcapng.Padding(int(p.Captured)))
	if b.format != PCAPNG || start+trailer >= p.End || !b.TakesComments(p) {
		return nil
	}
	return b.Bytes[start : p.End-trailer]
}

// Options says what the options of a packet say of its bytes: how many of them are the frame
// check sequence, which the interface says where the packet does not, and whether there is a
// hash of them.
func (b *Batch) Options(p *Packet) (fcs int, hashed bool) {
	fcs = b.Interface(p).FCS
	options := b.options(p)
	if options == nil {
		return fcs, false
	}
	order := b.orderAt(int(p.Start))
	eachOption(options, order, func(o option) {
		switch {
		case o.code == pcapng.PacketHash:
			hashed = true
		case o.code == pcapng.PacketFlags && len(o.value) == 4:
			if own := order.Uint32(o.value) & pcapng.FlagsFCS >> pcapng.FlagsFCSShift; own > 0 {
				fcs = int(own)
			}
		}
	})
	return fcs, hashed
}

// TakesComments reports whether a comment can be added to a packet: one of pcapng, but not in
// a Simple Packet Block.
func (b *Batch) TakesComments(p *Packet) bool {
	return b.format == PCAPNG && b.orderAt(int(p.Start)).Uint32(b.Bytes[p.Start:]) != pcapng.SimplePacket
}

// Edited appends the blocks of a batch to out, with edits that are in the order of packets.
func (b *Batch) Edited(out []byte, edits []Edit) []byte {
	at := uint32(0)
	for _, e := range edits {
		p := &b.Packets[e.Packet]
		out = append(out, b.Bytes[at:p.Start]...)
		switch {
		case e.Drop:
		case b.TakesComments(p):
			out = b.edited(out, p, e)
		default: // it has no options
			out = append(out, b.Bytes[p.Start:p.End]...)
		}
		at = p.End
	}
	return append(out, b.Bytes[at:]...)
}

// edited appends one block with other options.
func (b *Batch) edited(out []byte, p *Packet, e Edit) []byte {
	order, start := b.orderAt(int(p.Start)), len(out)
	options := b.options(p)
	before := p.End - trailer - uint32(len(options))
	out = append(out, b.Bytes[p.Start:before]...)
	end := eachOption(options, order, func(o option) {
		if o.code != pcapng.PacketHash || !e.RemoveHash {
			out = append(out, options[o.at:o.end]...)
		}
	})
	if e.Comment != "" {
		out = pcapng.AppendText(out, order, pcapng.Comment, e.Comment)
		if end == len(options) {
			out = pcapng.AppendEndOfOptions(out, order)
		}
	}
	out = append(out, options[end:]...)
	return pcapng.Close(out, order, start)
}
