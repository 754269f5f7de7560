package operand

import "repacket/internal/field"

var (
	checksums = []field.Kind{field.Checksum}
	addresses = []field.Kind{field.Address4, field.Address6, field.MAC}
	numbers   = append([]field.Kind{field.Number, field.Port}, addresses...)
	values    = append([]field.Kind{field.Flag}, numbers...)
	all       = append(checksums, values...)
)

func zero(*field.Field) field.Value      { return field.Value{} }
func highest(f *field.Field) field.Value { return f.Max() }

// table has a line for each Op, in the order of the constants.
var table = []Operand{
	{Op: Set, Argument: Value, Kinds: all},
	{Op: Fix, Word: "fix", Kinds: checksums},
	{Op: Bad, Word: "bad", Kinds: checksums},
	{Op: Add, Sign: "+", Argument: Amount, Kinds: numbers, Neutral: zero},
	{Op: Sub, Sign: "-", Argument: Amount, Kinds: numbers, Neutral: zero},
	{Op: AtLeast, Word: "atleast", Test: "ge", Argument: Value, Kinds: numbers, Neutral: zero},
	{Op: AtMost, Word: "atmost", Test: "le", Argument: Value, Kinds: numbers, Neutral: highest},
	{Op: Copy, Kinds: all},
	{Op: Random, Word: "random", Argument: Choice, Kinds: values, Draws: true, Explain: "is drawn for each packet"},
	{Op: Prefix, Argument: Value, Kinds: addresses},
	{Op: Hash, Word: "hash", Elsewhere: []string{"symhash", "jhash"}, Argument: Choice, Kinds: values, Over: []field.Protocol{field.IP, field.IP6}, Explain: "is the same for all packets of a flow"},
}
