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
	{
		Op: Set, Argument: Value, Kinds: all,
		Usage: "VALUE", Meaning: "the field becomes the value",
	},
	{
		Op: Fix, Word: "fix", Kinds: checksums,
		Usage: "fix", Meaning: "the correct checksum",
	},
	{
		Op: Bad, Word: "bad", Kinds: checksums,
		Usage: "bad", Meaning: "a wrong checksum",
	},
	{
		Op: Add, Sign: "+", Argument: Amount, Kinds: numbers, Neutral: zero,
		Usage: "+N", Meaning: "add, up to the highest value; sequence numbers and identifiers wrap around",
	},
	{
		Op: Sub, Sign: "-", Argument: Amount, Kinds: numbers, Neutral: zero,
		Usage: "-N", Meaning: "subtract, down to 0; sequence numbers and identifiers wrap around",
	},
	{
		Op: AtLeast, Word: "atleast", Test: "ge", Argument: Value, Kinds: numbers, Neutral: zero,
		Usage: "atleast VALUE", Meaning: "the value, if the field is below it",
	},
	{
		Op: AtMost, Word: "atmost", Test: "le", Argument: Value, Kinds: numbers, Neutral: highest,
		Usage: "atmost VALUE", Meaning: "the value, if the field is above it",
	},
	{
		Op: Copy, Kinds: all,
		Usage: "FIELD", Meaning: "what another field of the same kind held when the packet arrived",
	},
	{
		Op: Random, Word: "random", Argument: Choice, Kinds: values, Draws: true, Explain: "is drawn for each packet",
		Usage: "random [LO-HI | PREFIX]", Meaning: "a random value, drawn for each packet",
	},
	{
		Op: Prefix, Argument: Value, Kinds: addresses,
		Usage: "ADDRESS/LENGTH", Meaning: "the upper bits become those of the prefix, the lower bits stay",
	},
	{
		Op: Hash, Word: "hash", Elsewhere: []string{"symhash", "jhash"}, Argument: Choice, Kinds: values,
		Over: []field.Protocol{field.IP, field.IP6}, Explain: "is the same for all packets of a flow",
		Usage: "hash [LO-HI | PREFIX]", Meaning: "a value that is the same for all packets of a flow",
	},
	{
		Op: Restore, Usage: "as it was", Meaning: "what it held before the rule changed it",
	},
}
