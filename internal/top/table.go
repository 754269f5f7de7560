// Package top shows what rules do to packets while they do it: a table in a terminal that is refreshed
// each second. It knows neither the kernel nor the command.
package top

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"repacket/internal/run"
)

// kept is how many rates are kept of a rule for its sparkline.
const kept = 60

// row is a rule and what it does.
type row struct {
	in    run.Attached // where it is; without its rules
	rule  run.RuleCount
	label string // its name, or its number from 1
	key   string // the same as long as the rule is there
	// packets and bytes are those of the last second, share the part of all packets.
	packets, bytes, share float64
	history               []float64 // packets a second, the last one last
}

// words are all that is known of the rule, as far as the filter looks at it.
func (r row) words() string {
	return strings.ToLower(strings.Join([]string{
		r.in.Namespace, r.in.Interface, r.in.Direction.String(), r.in.Hook.String(), r.label, r.rule.Text, r.owner(),
	}, " "))
}

// owner says with what the rules go.
func (r row) owner() string {
	by := ""
	if r.in.Release != "" {
		by = ", by Repacket " + r.in.Release
	}
	if r.in.PID == 0 {
		return "attached" + by + "; stays until detach"
	}
	elsewhere := ""
	if r.in.PIDElsewhere {
		elsewhere = " of another PID namespace"
	}
	return fmt.Sprintf("a run%s; goes with process %d%s", by, r.in.PID, elsewhere)
}

// counted is what a rule had counted at a time.
type counted struct{ packets, bytes uint64 }

// table makes rates of counts.
type table struct {
	at     time.Time
	before map[string]counted
	past   map[string][]float64
	rows   []row
}

// add takes the counts of a time. A rule that was not there before, or whose counts began anew, has no
// rate yet.
func (t *table) add(at time.Time, all []run.Attached) {
	seconds := at.Sub(t.at).Seconds()
	now, past := map[string]counted{}, map[string][]float64{}
	t.rows = nil
	total := 0.0
	for _, p := range all {
		where := p
		where.Counts = run.Counts{}
		for i, c := range p.Rules {
			if c.Gone {
				continue
			}
			r := row{in: where, rule: c, label: cmp.Or(c.Name, strconv.Itoa(i+1))}
			r.key = strings.Join([]string{p.Namespace, p.Interface, p.Direction.String(), p.Hook.String(), strconv.Itoa(i), c.Name, c.Text}, "\x00")
			now[r.key] = counted{c.Matched, c.MatchedBytes}
			if b, known := t.before[r.key]; known && seconds > 0 && c.Matched >= b.packets && c.MatchedBytes >= b.bytes {
				r.packets, r.bytes = float64(c.Matched-b.packets)/seconds, float64(c.MatchedBytes-b.bytes)/seconds
				r.history = append(slices.Clone(t.past[r.key]), r.packets)
				r.history = r.history[max(0, len(r.history)-kept):]
			}
			past[r.key] = r.history
			total += r.packets
			t.rows = append(t.rows, r)
		}
	}
	for i := range t.rows {
		if total > 0 {
			t.rows[i].share = t.rows[i].packets / total
		}
	}
	t.at, t.before, t.past = at, now, past
}

// order is by what rows are sorted.
type order int

// The orders. All but the last have the most first.
const (
	byPackets order = iota
	byBytes
	byTotal
	byPlace
	orders // how many there are
)

func (o order) String() string { return [...]string{"pkts/s", "bytes/s", "pkts", "interface"}[o] }

// shown are the rows that a filter lets through, sorted. Rows that are alike stay as they are listed.
func (t *table) shown(filter string, by order) []row {
	var out []row
	for _, r := range t.rows {
		if strings.Contains(r.words(), strings.ToLower(filter)) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b row) int {
		switch by {
		case byPackets:
			return cmp.Compare(b.packets, a.packets)
		case byBytes:
			return cmp.Compare(b.bytes, a.bytes)
		case byTotal:
			return cmp.Compare(b.rule.Matched, a.rule.Matched)
		}
		return cmp.Or(cmp.Compare(a.in.Namespace, b.in.Namespace), cmp.Compare(a.in.Interface, b.in.Interface))
	})
	return out
}

// bars are the heights of a sparkline.
var bars = []rune("▁▂▃▄▅▆▇█")

// sparkline is the last values in so many columns, the highest as high as a line; what is above 0 is
// never as low as 0.
func sparkline(values []float64, width int) string {
	values = values[max(0, len(values)-width):]
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	line := []rune(strings.Repeat(" ", width-len(values)))
	for _, v := range values {
		bar := 0
		if v > 0 {
			bar = max(1, int(v/highest*float64(len(bars)-1)+0.5))
		}
		line = append(line, bars[bar])
	}
	return string(line)
}

// short is a number in at most six characters, three of them digits from 1000 up.
func short(v float64) string {
	if v < 999.5 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	unit := 0
	for v >= 999.5 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	digits := 2
	if v >= 99.95 {
		digits = 0
	} else if v >= 9.995 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + units[unit:unit+1]
}

const units = " kMGTPE"

// printable shows what a terminal would act on as a mark: the kernel allows escapes in the name of an
// interface, and anybody can write metadata.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
