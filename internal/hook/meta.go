package hook

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"repacket/internal/run"
)

// MetaVersion is the version of the metadata's format that this package
// writes. A later version only adds fields.
const MetaVersion = 1

// Meta says what a program of ours does and who started it. It lies as JSON in
// a map that is bound to the program, so it lives exactly as long.
type Meta struct {
	Version int `json:"version"`
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
	// Release is the version of Repacket that attached it, or "" of versions that did not tell.
	Release string `json:"release,omitempty"`
	// By is who attached the rules, by which command; nil in programs of versions that did not
	// keep it.
	By *run.Origin `json:"by,omitempty"`
	// Start is when the program was attached, in nanoseconds of Unix time.
	Start int64 `json:"start"`
	// Limit is the number of packets to act on, or 0 for no limit.
	Limit uint64 `json:"limit,omitempty"`
	// Replies is the direction in which another program of ours rewrites the replies, and
	// RepliesOf, in the metadata of that one, the direction of the rules; else "".
	Replies   string `json:"replies,omitempty"`
	RepliesOf string `json:"replies_of,omitempty"`
	// Flows is how many flows the table of flows is for that rules track, or 0 where there is
	// none; NextOwner is an owner that no rule has had in it.
	Flows     int `json:"flows,omitempty"`
	NextOwner int `json:"next_owner,omitempty"`
	// OldRules is how many rules the program had whose place this one took and
	// whose counters it goes on from, see Follow; Skipped are the packets that
	// the programs before that one skipped, by reason.
	OldRules int      `json:"old_rules,omitempty"`
	Skipped  []uint64 `json:"skipped,omitempty"`
	// Revert is what the program does again once a deadline has passed, or nil.
	Revert *MetaRevert `json:"revert,omitempty"`
}

// MetaRevert is what a program does again that goes back: it has two sets of rules, each with
// maps of its own, and which of them acts says a map of the name RevertMapName.
type MetaRevert struct {
	// Old is the metadata of the rules before, with final counts of what came before them; of no
	// rules where nothing was there.
	Old Meta `json:"old"`
	// Counters, Flows, Limit and Until are the kernel's numbers of their maps, which have the
	// names of those of the other rules; 0 is none.
	Counters uint32 `json:"counters"`
	Flows    uint32 `json:"flows,omitempty"`
	Limit    uint32 `json:"limit,omitempty"`
	Until    uint32 `json:"until,omitempty"`
}

// MetaRule is one rule in the user's words.
type MetaRule struct {
	Name string `json:"name,omitempty"`
	Text string `json:"text"`
	// Sum is the SHA-256 of the whole text in hexadecimal where Text is only its
	// beginning and an ellipsis, else "".
	Sum    string `json:"sum,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"` // it only counts
	// Verdict is the word for what becomes of the packets, or "" where they pass, and in
	// programs of versions that did not keep it.
	Verdict string `json:"verdict,omitempty"`
	Replies bool   `json:"replies,omitempty"` // replies are rewritten too
	// Owner is what the entries of the table of flows name the rule by, or 0.
	Owner uint16 `json:"owner,omitempty"`
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

// Bounds of the texts of rules in bytes. The memory is the kernel's and stays as long as
// the rules do.
const (
	maxRuleText  = 4 << 10 // of one rule
	maxRuleTexts = 1 << 20 // of all, unless there are so many that each has the least
	minRuleText  = 128
)

// NewMetaRule is a rule among a number of rules, in the user's words as far as they are
// kept.
func NewMetaRule(name, text string, dryRun bool, rules int) MetaRule {
	m := MetaRule{Name: name, Text: text, DryRun: dryRun}
	most := min(maxRuleText, max(minRuleText, maxRuleTexts/max(1, rules)))
	if len(text) > most {
		m.Sum = textSum(text)
		m.Text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return m
}

func textSum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// MetaRuleKey is the same for rules of the same name and the same whole text.
type MetaRuleKey struct{ name, sum string }

// Key tells the rule from those of other words.
func (m MetaRule) Key() MetaRuleKey {
	if m.Sum != "" {
		return MetaRuleKey{m.Name, m.Sum}
	}
	return MetaRuleKey{m.Name, textSum(m.Text)}
}

// Source is the rules as a text that can be checked, each on a line of its own; ok is
// false where not all of them is kept.
func (m Meta) Source() (text string, ok bool) {
	var lines []string
	for _, r := range m.Rules {
		if r.Sum != "" {
			return "", false
		}
		line := r.Text
		if r.Name != "" {
			line = r.Name + ": " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), true
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
func (a *Program) Elsewhere() bool {
	own := PIDSpace()
	return a.Meta.PIDSpace != "" && own != "" && a.Meta.PIDSpace != own
}

func (m Meta) encode() ([]byte, error) {
	m.Version = MetaVersion
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // nobody puts it on a page, and < takes six bytes so
	err := e.Encode(m)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
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
