package oracle

import (
	"encoding/binary"
	"math/big"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// expected are the values of which an action gives one to its field, by what
// the outside library reads in the packet as it arrived; ok is false where it
// cannot tell.
func expected(a rule.Action, before *headers) (want field.Range, ok bool) {
	read := a.Field
	switch {
	case a.Op.Sums():
		return want, false
	case a.Op == operand.Set:
		return field.Range{Lo: a.Value, Hi: a.Value}, true
	case a.Op.Chooses():
		return a.Range, true
	case a.Op == operand.Copy:
		read = a.From
	}
	v, ok := before.read(read)
	if !ok {
		return want, false
	}
	v = valueOf(computed(a, bigOf(v)))
	return field.Range{Lo: v, Hi: v}, true
}

// computed is what becomes of v, in numbers of any size.
func computed(a rule.Action, v *big.Int) *big.Int {
	n, size := bigOf(a.Value), new(big.Int).Lsh(big.NewInt(1), uint(a.Field.Width))
	top := new(big.Int).Sub(size, big.NewInt(1))
	switch a.Op {
	case operand.Add:
		return into(a.Field, v.Add(v, n), top, size)
	case operand.Sub:
		return into(a.Field, v.Sub(v, n), top, size)
	case operand.AtLeast:
		if v.Cmp(n) < 0 {
			return n
		}
	case operand.AtMost:
		if v.Cmp(n) > 0 {
			return n
		}
	case operand.Prefix:
		hosts := new(big.Int).Lsh(big.NewInt(1), uint(a.Field.Width-a.Bits))
		return n.Add(n, v.Mod(v, hosts))
	}
	return v
}

// wraps are the fields that wrap around (semantics.md 3.5).
var wraps = map[string]bool{"tcp_seq": true, "tcp_ack_seq": true, "ip_id": true, "icmp_seq": true}

func into(f *field.Field, v, top, size *big.Int) *big.Int {
	switch {
	case wraps[f.Name]:
		return v.Mod(v, size) // never negative
	case v.Sign() < 0:
		return new(big.Int)
	case v.Cmp(top) > 0:
		return top
	}
	return v
}

func bigOf(v field.Value) *big.Int {
	b := binary.BigEndian.AppendUint64(nil, v.Hi)
	return new(big.Int).SetBytes(binary.BigEndian.AppendUint64(b, v.Lo))
}

func valueOf(n *big.Int) field.Value {
	b := n.FillBytes(make([]byte, 16))
	return field.Value{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}
