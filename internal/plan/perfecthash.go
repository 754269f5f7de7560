package plan

import (
	"math/bits"
)

// PerfectHash says where the rows of a Hash lie: each in a slot of its own, which
// its key leads to in two steps without a search (hash and displace:
// Belazzougui, Botelho, Dietzfelbinger, "Hash, Displace, and Compress", 2009).
//
// The key is hashed to 64 bits. Their highest choose a bucket, which has a
// multiplier; the highest bits of hash times multiplier choose a slot. Those of
// different keys are made to be different. A key that no row has comes to some
// slot too, so the key there has to be compared.
type PerfectHash struct {
	// Factor is that of the hash; see Hash.
	Factor uint64
	// Multipliers are by bucket, Slots the numbers of rows by slot, or -1; there
	// are 2, 4, 8 … of both.
	Multipliers []uint32
	Slots       []int32
	// Spare is the row whose key stands in the slots without a row. It leads to
	// another slot, so whatever is looked up is not found there.
	Spare int
}

// Hash is the hash of a key: of its windows as 32-bit numbers, each window's
// bytes read as those of a little-endian number.
//
// Two are taken at a time, which keeps apart whatever differs in one pair: to
// multiply by an odd number and to fold the upper half into the lower can both
// be undone.
func (s *PerfectHash) Hash(key []uint32) uint64 {
	h := uint64(0)
	for i, w := range key {
		switch {
		case i%2 == 1:
			h ^= uint64(w) << 32
			continue
		case i > 0:
			h *= s.Factor
			h ^= h >> 32
		}
		h ^= uint64(w)
	}
	return h * s.Factor
}

// BucketShift is how far a hash is shifted to the right for the number of a bucket.
func (s *PerfectHash) BucketShift() int { return 64 - bits.TrailingZeros(uint(len(s.Multipliers))) }

// SlotShift is how far a hash times a multiplier is, for the number of a slot.
func (s *PerfectHash) SlotShift() int { return 64 - bits.TrailingZeros(uint(len(s.Slots))) }

// PerfectHash works out, once, where the rows of a Hash lie.
func (t *Table) PerfectHash() *PerfectHash {
	t.perfectHashOnce.Do(func() {
		for try := 0; t.perfectHash == nil; try++ {
			t.perfectHash = t.tryPerfectHash(try)
		}
	})
	return t.perfectHash
}

// perBucket is about how many keys share a bucket: more take less memory, and
// longer to find a multiplier for.
const perBucket = 4

// triesASize is after how many failures there are twice as many slots. One is
// rare enough: keys of more than two windows have the same hash, or no
// multiplier keeps those of a bucket apart.
const triesASize = 4

// tryPerfectHash is one try; it is nil if it fails.
func (t *Table) tryPerfectHash(try int) *PerfectHash {
	n := t.Len()
	s := &PerfectHash{
		Factor:      mixed(uint64(try)) | 1,
		Multipliers: make([]uint32, powerOf2(n/perBucket)),
		Slots:       make([]int32, powerOf2(n+n/4)<<(try/triesASize)),
	}
	for i := range s.Slots {
		s.Slots[i] = -1
	}
	b := t.buckets(s)
	for size := len(b.largest) - 1; size > 0; size-- {
		for _, bucket := range b.largest[size] {
			if !b.place(s, bucket) {
				return nil
			}
		}
	}
	return s
}

// powerOf2 is the least of 2, 4, 8 … that is at least n.
func powerOf2(n int) int {
	return 1 << max(1, bits.Len(uint(max(n, 1)-1)))
}

// mixed is a number that looks random, and differs for every n (SplitMix64:
// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
func mixed(n uint64) uint64 {
	z := (n + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s *PerfectHash) slot(hash uint64, multiplier uint32) int {
	return int(hash * uint64(multiplier) >> s.SlotShift())
}

// buckets are the rows in their order of buckets.
type buckets struct {
	table  *Table
	hashes []uint64 // by row
	rows   []int32  // bucket by bucket
	starts []int32  // where each begins in rows, and where the last one ends
	// largest are the numbers of buckets by how many rows they have.
	largest [][]int32
	slots   []int // of the bucket at hand
}

func (t *Table) buckets(s *PerfectHash) *buckets {
	n := t.Len()
	b := &buckets{table: t, hashes: make([]uint64, n), rows: make([]int32, n), starts: make([]int32, len(s.Multipliers)+1)}
	key := make([]uint32, len(t.key))
	shift := s.BucketShift()
	for row := range n {
		t.Key(row, key)
		b.hashes[row] = s.Hash(key)
		b.starts[b.hashes[row]>>shift+1]++
	}
	most := int32(0)
	for i := range s.Multipliers {
		most = max(most, b.starts[i+1])
		b.starts[i+1] += b.starts[i]
	}
	next := append([]int32(nil), b.starts...)
	for row, h := range b.hashes {
		at := &next[h>>shift]
		b.rows[*at] = int32(row)
		*at++
	}
	b.largest = make([][]int32, most+1)
	for i := range s.Multipliers {
		size := b.starts[i+1] - b.starts[i]
		b.largest[size] = append(b.largest[size], int32(i))
	}
	return b
}

// mostMultipliers is how many are tried for a bucket.
const mostMultipliers = 1 << 16

// place finds a multiplier by which the rows of a bucket come to free slots.
func (b *buckets) place(s *PerfectHash, bucket int32) bool {
	rows, ok := b.distinct(b.rows[b.starts[bucket]:b.starts[bucket+1]])
	if !ok {
		return false
	}
	for n := range uint64(mostMultipliers) {
		m := uint32(mixed(n)) | 1
		if b.fits(s, rows, m) {
			for i, row := range rows {
				s.Slots[b.slots[i]] = row
			}
			s.Multipliers[bucket] = m
			return true
		}
	}
	return false
}

// fits leaves the slots of rows in b.slots, if they are free.
func (b *buckets) fits(s *PerfectHash, rows []int32, multiplier uint32) bool {
	b.slots = b.slots[:0]
	for _, row := range rows {
		at := s.slot(b.hashes[row], multiplier)
		if s.Slots[at] >= 0 {
			return false
		}
		for _, other := range b.slots {
			if other == at {
				return false
			}
		}
		b.slots = append(b.slots, at)
	}
	return true
}

// distinct are the rows less those whose key an earlier one has. It is false if
// different keys have one hash.
func (b *buckets) distinct(rows []int32) ([]int32, bool) {
	out := rows[:0:0]
next:
	for _, row := range rows { // rising
		for _, first := range out {
			if b.hashes[first] != b.hashes[row] {
				continue
			}
			if !b.table.sameKey(first, row) {
				return nil, false
			}
			continue next
		}
		out = append(out, row)
	}
	return out, true
}

func (t *Table) sameKey(a, b int32) bool {
	x, y := make([]uint32, len(t.key)), make([]uint32, len(t.key))
	t.Key(int(a), x)
	t.Key(int(b), y)
	for i := range x {
		if x[i] != y[i] {
			return false
		}
	}
	return true
}

// Key fills out with the windows of a row's key in a Hash, each as a number
// whose little-endian bytes are those of the window.
func (t *Table) Key(row int, out []uint32) {
	for i, w := range t.key {
		v := t.source.image(w, row)
		out[i] = bits.ReverseBytes32(v << (32 - 8*w.size))
	}
}

// KeyBytes fills b, of KeySize bytes, with a row's key in a Hash.
func (t *Table) KeyBytes(row int, b []byte) {
	for _, w := range t.key {
		t.source.put(b[:w.size], w, row)
		b = b[w.size:]
	}
}
