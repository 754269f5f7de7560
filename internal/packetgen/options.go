package packetgen

import (
	"encoding/binary"
	"math/rand/v2"

	"repacket/internal/field"
)

// optionWords chooses the length of TCP's options, in 32-bit words.
func (d *draft) optionWords() int {
	if d.proto != field.TCP {
		return 0
	}
	if in, asked := d.w.wanted(tcpHLen); asked {
		return max(0, int(pick(d.r, in).Lo)-5)
	}
	words := 0
	if d.r.IntN(2) == 0 {
		words = d.r.IntN(11)
	}
	if d.w.has[field.MSS] {
		words = max(1, words)
	}
	return words
}

// tcpOptions fills b with options, among them the MSS if it is asked for, at
// even and at odd places.
func (d *draft) tcpOptions(b []byte) {
	wanted, known := d.w.has[field.MSS]
	if len(b) < 4 || known && !wanted || !wanted && d.r.IntN(3) == 0 {
		options(d.r, b, 253)
		return
	}
	at := d.r.IntN(len(b) - 3)
	if d.r.IntN(3) == 0 {
		at = 0
	}
	wellFormed(d.r, b[:at], 253)
	b[at], b[at+1] = 2, 4
	binary.BigEndian.PutUint16(b[at+2:], d.mss())
	options(d.r, b[at+4:], 253)
	if rest := b[at+4:]; len(rest) >= 4 && d.r.IntN(4) == 0 { // a second one, which does not count
		copy(rest, []byte{2, 4})
	}
	d.at[field.MSS] = d.l4 + 20 + at
}

// mss is a maximum segment size: mostly one of those that are seen.
func (d *draft) mss() uint16 {
	usual := []uint16{1460, 1440, 1360, 536, 1220, 8960, 0, 65535}
	if d.r.IntN(2) == 0 {
		return uint16(d.r.UintN(65536))
	}
	return usual[d.r.IntN(len(usual))]
}

// options fills b, mostly with well-formed options.
func options(r *rand.Rand, b []byte, kind byte) {
	if r.IntN(6) > 0 {
		wellFormed(r, b, kind)
	}
}

// wellFormed fills b with well-formed options (RFC 791, RFC 9293): no
// operation, and one of the kinds for experiments (RFC 4727); in TCP now and
// then an MSS of a length that it does not have.
func wellFormed(r *rand.Rand, b []byte, kind byte) {
	for len(b) > 0 {
		n := 1
		b[0] = 1
		if len(b) >= 2 && r.IntN(2) == 0 {
			n = 2 + r.IntN(len(b)-1)
			b[0], b[1] = kind, byte(n)
			if n != 4 && kind == 253 && r.IntN(8) == 0 {
				b[0] = 2 // called MSS, but none
			}
		}
		b = b[n:]
	}
}
