// Package metrics writes what rules have counted in Prometheus's text format and serves it to
// whoever scrapes it. It knows neither the kernel nor the command.
//
// The library for this, client_golang, judges it in tests and is not linked in: with net/http and
// protobuf it adds 5 MB to the program, and more than a millisecond to the start of every run.
package metrics

import (
	"cmp"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"repacket/internal/run"
)

// Snapshot is what is known at the time of a scrape.
type Snapshot struct {
	Programs []run.Attached
	// EventsLost is how many packets were rewritten and neither shown nor saved because they were
	// read too slowly; nil where that is not known.
	EventsLost *uint64
	// Reloads are those of a run; nil where there is none.
	Reloads *Reloads
}

// Reloads are how a run has fared with reading its rules again.
type Reloads struct {
	// Good: the rules that act are those of the file when it was last read.
	Good bool
	// Replaced and Refused are how often rules that were read have replaced others or were wrong.
	Replaced, Refused uint64
	// At is when the rules that act began to: the start of the run, or when they replaced others.
	At time.Time
}

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// family is all samples of one name.
type family struct {
	name, kind, help string
	samples          func(s Snapshot, add adder)
}

// adder takes a sample: its value, and its labels as names and values in turn.
type adder func(value uint64, labels ...string)

// families are all that there are, in the order in which they are written. docs/metrics.md
// describes them.
var families = [...]family{
	{"repacket_rule_packets_total", "counter", "Packets that a rule has matched.", byRule(func(c run.RuleCount) (uint64, bool) {
		return c.Matched, true
	})},
	{"repacket_rule_bytes_total", "counter", "Bytes of the packets that a rule has matched.", byRule(func(c run.RuleCount) (uint64, bool) {
		return c.MatchedBytes, true
	})},
	{"repacket_replies_total", "counter", "Packets of the other direction that answer those of a rule and were rewritten.", byRule(func(c run.RuleCount) (uint64, bool) {
		return c.Replies, c.HasReplies
	})},
	{"repacket_skipped_packets_total", "counter", "Packets that a rule matched and could not act on, by reason.", skippedSamples},
	{"repacket_flows", "gauge", "Flows that are tracked.", byTable(func(u run.FlowUsage) uint64 { return uint64(u.Flows) })},
	{"repacket_flows_limit", "gauge", "Flows that there is room for.", byTable(func(u run.FlowUsage) uint64 { return uint64(u.Room) })},
	{"repacket_flows_evicted_total", "counter", "Flows that had to make room for others while they may have been in use.", byTable(func(u run.FlowUsage) uint64 {
		return u.Evicted
	})},
	{"repacket_events_lost_total", "counter", "Packets that were rewritten and neither shown nor saved because they were read too slowly.", func(s Snapshot, add adder) {
		if s.EventsLost != nil {
			add(*s.EventsLost)
		}
	}},
	{"repacket_reload_success", "gauge", "Whether the rules that act are those of the file when it was last read.", byReloads(func(r Reloads, add adder) {
		good := uint64(0)
		if r.Good {
			good = 1
		}
		add(good)
	})},
	{"repacket_reload_success_timestamp_seconds", "gauge", "When the rules that act began to.", byReloads(func(r Reloads, add adder) {
		add(uint64(max(0, r.At.Unix())))
	})},
	{"repacket_reloads_total", "counter", "Files of rules that were read again, by result.", byReloads(func(r Reloads, add adder) {
		add(r.Replaced, "result", "replaced")
		add(r.Refused, "result", "refused")
	})},
	{"repacket_program_info", "gauge", "A program on an interface: its hook, and the version of Repacket that has attached it.", programSamples},
}

// Write writes all samples. Rules with the same labels, as of one name, are added up, so that no
// sample stands twice.
func Write(w io.Writer, s Snapshot) error {
	var b strings.Builder
	for _, f := range families {
		f.write(&b, s)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f family) write(b *strings.Builder, s Snapshot) {
	var order []string
	sums := map[string]uint64{}
	f.samples(s, func(value uint64, labels ...string) {
		text := labelled(labels)
		if _, known := sums[text]; !known {
			order = append(order, text)
		}
		sums[text] += value
	})
	if order == nil {
		return
	}
	b.WriteString("# HELP " + f.name + " " + f.help + "\n# TYPE " + f.name + " " + f.kind + "\n")
	for _, labels := range order {
		value := sums[labels]
		if strings.HasSuffix(f.name, "_info") {
			value = 1
		}
		b.WriteString(f.name + labels + " " + strconv.FormatUint(value, 10) + "\n")
	}
}

// labelled are labels between braces, or "".
func labelled(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(labels); i += 2 {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(labels[i] + `="`)
		_, _ = escapes.WriteString(&b, strings.Map(visible, labels[i+1]))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// visible shows what a terminal would act on as a mark. The kernel allows any bytes in the name of an
// interface but blanks and slashes; those that are no UTF-8 come as a mark already.
func visible(r rune) rune {
	if !unicode.IsPrint(r) {
		return unicode.ReplacementChar
	}
	return r
}

// where are the labels of rules or of a program.
func where(p run.Attached, d run.Direction, more ...string) []string {
	return append([]string{"interface", p.Interface, "direction", d.String()}, more...)
}

// byRule has a sample for each rule that acts and has the value. A rule is labelled by its name, or
// its number from 1.
func byRule(value func(run.RuleCount) (n uint64, has bool)) func(Snapshot, adder) {
	return func(s Snapshot, add adder) {
		for _, p := range s.Programs {
			for i, c := range p.Rules {
				if n, has := value(c); has && !c.Gone {
					add(n, where(p, p.Direction, "rule", cmp.Or(c.Name, strconv.Itoa(i+1)))...)
				}
			}
		}
	}
}

// byTable has a sample for each table of flows.
func byTable(value func(run.FlowUsage) uint64) func(Snapshot, adder) {
	return func(s Snapshot, add adder) {
		for _, p := range s.Programs {
			if p.Flows != nil {
				add(value(*p.Flows), where(p, p.Direction)...)
			}
		}
	}
}

// byReloads has the samples of a run.
func byReloads(samples func(Reloads, adder)) func(Snapshot, adder) {
	return func(s Snapshot, add adder) {
		if s.Reloads != nil {
			samples(*s.Reloads, add)
		}
	}
}

// skippedSamples has one for each reason: what begins at 0 has a first increase.
func skippedSamples(s Snapshot, add adder) {
	for _, p := range s.Programs {
		for _, reason := range run.SkipReasons() {
			n := uint64(0)
			for _, skipped := range p.Skipped {
				if skipped.Reason == reason {
					n = skipped.Packets
				}
			}
			add(n, where(p, p.Direction, "reason", string(reason))...)
		}
	}
}

func programSamples(s Snapshot, add adder) {
	for _, p := range s.Programs {
		if p.Missing != run.RulesPart {
			add(1, where(p, p.Direction, "hook", p.Hook.String(), "version", p.Release)...)
		}
		if p.Replies != nil {
			add(1, where(p, p.Replies.Direction, "hook", p.Replies.Hook.String(), "version", p.Release)...)
		}
	}
}
