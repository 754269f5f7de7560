package why

import (
	"math/bits"

	"repacket/internal/field"
)

// The values that are seen where a test fails are counted in a table of fixed size for each, so
// that any traffic can be counted: a value that has no place yet takes that of the least frequent
// one in its row, which is counted down before. So what is frequent stays, and is counted as at
// most what it is. Programs in the kernel have such tables, one a processor, as they are here.
const (
	// Rows and Ways are the size of the table.
	Rows = 8
	Ways = 4
	// Multiplier spreads the values over the rows (Knuth's, of 64 bits).
	Multiplier = 0x9e3779b97f4a7c15
	rowBits    = 3
	// RowShift leaves the bits of a product that say the row.
	RowShift = 64 - rowBits
)

// Seen is a value and for how many packets it was counted.
type Seen struct {
	Value   field.Value
	Packets uint64
}

// Count is how often a test failed in one way, and what was seen there. It lies in memory as
// programs in the kernel have it: numbers of 64 bits, in the order of the machine.
type Count struct {
	Packets uint64
	Seen    [Rows * Ways]Seen
}

// The size of a Count and the places in it, in bytes.
const (
	SeenAt    = 8
	SeenSize  = 24
	CountSize = SeenAt + Rows*Ways*SeenSize
)

// Row is the row of a value.
func Row(v field.Value) int {
	return int(((v.Lo ^ bits.RotateLeft64(v.Hi, 32)) * Multiplier) >> RowShift)
}

// Add counts packets, and the value that was seen in them.
func (c *Count) Add(v field.Value, packets uint64) {
	c.Packets += packets
	row := c.Seen[Row(v)*Ways:][:Ways]
	least := 0
	for i := range row {
		if row[i].Packets > 0 && row[i].Value == v {
			row[i].Packets += packets
			return
		}
		if row[i].Packets < row[least].Packets {
			least = i
		}
	}
	if row[least].Packets > packets {
		row[least].Packets -= packets
		return
	}
	row[least] = Seen{v, packets}
}

// Sum is what several have counted.
type Sum struct {
	Packets uint64
	Values  map[field.Value]uint64
}

// Add adds what one has counted.
func (s *Sum) Add(c *Count) {
	s.Packets += c.Packets
	for _, x := range c.Seen {
		if x.Packets == 0 {
			continue
		}
		if s.Values == nil {
			s.Values = map[field.Value]uint64{}
		}
		s.Values[x.Value] += x.Packets
	}
}
