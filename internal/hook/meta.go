package hook

import (
	"encoding/json"
	"fmt"
	"os"
)

// MetaVersion is the version of the metadata's format that this package
// writes. A later version only adds fields.
const MetaVersion = 1

// Meta says what a program of ours does and who started it. It lies as JSON in
// a map that is bound to the program, so it lives exactly as long.
type Meta struct {
	Version int `json:"version"`
	// Source is the text of the rules as it was given.
	Source string `json:"source"`
	// Rules are the rules as written; the counters are in their order.
	Rules     []MetaRule `json:"rules"`
	Interface string     `json:"interface"`
	Ifindex   int        `json:"ifindex"`
	Direction string     `json:"direction"` // a Direction's word
	Hook      string     `json:"hook"`      // a Mode's word
	PID       int        `json:"pid"`
	// PIDSpace names the PID namespace in which PID counts, as PIDSpace does.
	PIDSpace string `json:"pid_space,omitempty"`
	// Foreground: the program goes when the process PID ends.
	Foreground bool `json:"foreground"`
	// Start is when the program was attached, in nanoseconds of Unix time.
	Start int64 `json:"start"`
	// Limit is the number of packets to act on, or 0 for no limit.
	Limit uint64 `json:"limit,omitempty"`
	// OldRules is how many rules the program had whose place this one took and
	// whose counters it goes on from, see Follow; LeftAlone are the packets that
	// the programs before that one left alone, by reason.
	OldRules  int      `json:"old_rules,omitempty"`
	LeftAlone []uint64 `json:"left_alone,omitempty"`
}

// MetaRule is one rule in the user's words.
type MetaRule struct {
	Name string `json:"name,omitempty"`
	Text string `json:"text"`
	Look bool   `json:"look,omitempty"` // it only counts
	// Past is what the rule has counted in programs that have come to rest. Old
	// is 1 + its place among the rules of the program before this one, which may
	// count on for a moment, or 0 where it was not there.
	Past MetaCount `json:"past,omitzero"`
	Old  int       `json:"old,omitempty"`
}

// MetaCount is a number of packets and of their bytes.
type MetaCount struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// PIDSpace names this process's PID namespace, or is "" where there is none to be
// seen.
func PIDSpace() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return name
}

// Elsewhere tells that the process of a program is in another PID namespace, as
// that of a container: its number means nothing here.
func (a *Attached) Elsewhere() bool {
	own := PIDSpace()
	return a.Meta.PIDSpace != "" && own != "" && a.Meta.PIDSpace != own
}

func (m Meta) encode() ([]byte, error) {
	m.Version = MetaVersion
	return json.Marshal(m)
}

func decodeMeta(text []byte) (Meta, error) {
	var m Meta
	if err := json.Unmarshal(text, &m); err != nil {
		return Meta{}, fmt.Errorf("read the metadata: %w", err)
	}
	if m.Version < 1 {
		return Meta{}, fmt.Errorf("read the metadata: version %d is unknown", m.Version)
	}
	return m, nil
}
