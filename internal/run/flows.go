package run

// DefaultFlows is how many flows are tracked unless Options say otherwise.
const DefaultFlows = 65536

// MaxFlows is the most. A program reaches 512 MiB of a map (BPF_MAX_VAR_OFF,
// kernel/bpf/verifier.c).
const MaxFlows = 4_000_000

// FlowUsage is how full the table of flows is that rules with replies tracked share.
type FlowUsage struct {
	// Flows is how many are tracked, of Room that it was made for.
	Flows int `json:"tracked"`
	Room  int `json:"room"`
	// Evicted is how many had to make room for others while they may have been in use.
	Evicted uint64 `json:"evicted"`
	// Bytes is the memory that it takes.
	Bytes int64 `json:"bytes"`
}
