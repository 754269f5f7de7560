// Package flowtable makes a table of flows in the only value of an ARRAY map, and the
// eBPF functions that look flows up in it and enter them. It knows no packets and no rules.
//
// A flow is two words of 64 bits for IPv4 and five for IPv6. Their bytes are, as in packets:
// source port, destination port, protocol, two VLAN ids of 12 bits; source address,
// destination address.
//
// The table is set-associative. A flow has two buckets to be in, of which it takes the
// first unless that is nearly full. A bucket has seven entries, so that all that has to be looked
// at to find one lies in the first 64 bytes, a cache line: a tag, an owner and the time of
// the last use for each. Where both buckets are full, the entry that has not been used for
// longest is evicted.
//
// The key of a flow is what it looks like since a rule has rewritten it, its value what it was. By
// what it was it is found too, see index.go.
//
// Programs reach the value directly, without a helper. Each bucket has a sequence number,
// odd while an entry is written (a seqlock, include/linux/seqlock.h). Readers compare it
// before and behind; writers move it from even to odd by one atomic exchange, which fails
// if anything has changed since they looked.
package flowtable

import (
	"encoding/binary"
	"slices"
)

// Entries and buckets.
const (
	ways       = 7
	bucketSize = 640 // ten cache lines
	indexSize  = 4 * marks
	// headerSize is what stands in front of the buckets. A table of another layout has to have
	// another size, by which the rules that come next know that it is not theirs: so this grew.
	headerSize = 128

	// An entry is in two places, the first two words of the key and of the value in one
	// cache line: of IPv4 that is all.
	hotWords = 2
	hotSize  = 2 * 8 * hotWords
	coldSize = 2 * 8 * (wordsIP6 - hotWords)
)

// Places in a bucket, in bytes.
const (
	sequenceAt = 0                    // 32 bits, at the start for atomic operations
	spillAt    = 4                    // 32 bits: 1 if a flow had to take its second bucket, and twice the evicted entries
	tagsAt     = 8                    // 16 bits each, 0 where there is no entry
	ownersAt   = tagsAt + 2*ways      // 16 bits each
	timesAt    = ownersAt + 2*ways    // 32 bits each: jiffies
	hotAt      = timesAt + 4*ways     // the next cache line
	coldAt     = hotAt + ways*hotSize //
)

// evictedOne is what one evicted entry adds to a bucket's word at spillAt.
const evictedOne = 2

// keyAt is where a word of the key of entry i is in a bucket, valueAt one of the value of entry 0.
func keyAt(i int16, word int) int16 { return wordAt(i, word, 0) }
func valueAt(word int) int16        { return wordAt(0, word, 1) }

func wordAt(i int16, word, half int) int16 {
	if word < hotWords {
		return hotAt + i*hotSize + int16(8*word+half*hotSize/2)
	}
	return coldAt + i*coldSize + int16(8*(word-hotWords)+half*coldSize/2)
}

// seedAt is where the seed of the hash is in the header, 64 bits.
const seedAt = 0

// How many words a flow has.
const (
	wordsIP  = 2
	wordsIP6 = 5
)

// Form is what flows have to have in common to be compared: the version of IP and the
// number of VLAN tags.
type Form uint8

// FormOf is the form of flows of IPv6 or IPv4 with so many tags, two at most.
func FormOf(ip6 bool, tags int) Form {
	f := Form(1 + tags)
	if ip6 {
		f += 3
	}
	return f
}

// A tag has the form above so many bits, of which the highest says that the flow is one of TCP, and
// the others are of the hash. It is not 0, since no form is.
const (
	hashedBits = 13
	taggedTCP  = 1 << (hashedBits - 1)
)

// buckets is how many buckets are made for so many flows: one entry in five stays
// free, so that hardly any flow finds both of its buckets full before there are so many.
func buckets(flows int) int {
	n := (flows*5/4 + ways - 1) / ways
	return max(n+n%2, 2) // an even number, see second
}

// Size is the size in bytes of the value of the map for so many flows.
func Size(flows int) int { return headerSize + buckets(flows)*(bucketSize+indexSize) }

// Init makes an empty table in a value of zeros. The seed spreads flows over the buckets
// in a way that nobody else knows.
func Init(value []byte, seed uint64) { binary.LittleEndian.PutUint64(value[seedAt:], seed) }

// Usage is how full a table is.
type Usage struct {
	// Flows is how many entries there are.
	Flows int
	// Evicted is how many had to make room for another one while they may still
	// have been in use.
	Evicted uint64
}

// UsageOf reads it from the value of a map.
func UsageOf(value []byte) Usage {
	var u Usage
	n := (len(value) - headerSize) / (bucketSize + indexSize)
	for b := range slices.Chunk(value[headerSize:][:n*bucketSize], bucketSize) {
		for i := range ways {
			if binary.LittleEndian.Uint16(b[tagsAt+2*i:]) != 0 {
				u.Flows++
			}
		}
		u.Evicted += uint64(binary.LittleEndian.Uint32(b[spillAt:]) / evictedOne)
	}
	return u
}
