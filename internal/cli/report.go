package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// report shows what a run has done: a line that is refreshed on a terminal,
// and the summary, which ends with the same line.
type report struct {
	out       *output
	iface     string
	direction string
	byRule    bool // a line for each rule before the last line, even for one, even for many
	showing   int  // length of the line that is being refreshed
}

func newReport(out *output, job Job, verbose bool) *report {
	return &report{out: out, iface: job.Interface, direction: job.Direction, byRule: verbose}
}

// periodic tells whether there is anybody to tell each second.
func (r *report) periodic() bool { return r.out.json || r.out.live }

// progress shows the counts while the run goes on.
func (r *report) progress(counts []tally, alone []LeftAlone, elapsed time.Duration) {
	if r.out.json {
		r.object("stats", counts, alone, elapsed, "")
		return
	}
	r.line(r.total(counts, elapsed), "")
}

// interim prints a summary of a run that goes on.
func (r *report) interim(counts []tally, alone []LeftAlone, elapsed time.Duration) {
	if r.out.json {
		r.object("stats", counts, alone, elapsed, "")
		return
	}
	r.lines(counts, alone, elapsed)
}

// summary prints what the whole run has done, and why it ended.
func (r *report) summary(counts []tally, alone []LeftAlone, elapsed time.Duration, why string) {
	if r.out.json {
		r.object("summary", counts, alone, elapsed, why)
		return
	}
	if r.out.quiet {
		return
	}
	r.lines(counts, alone, elapsed)
	switch {
	case sum(counts).Matched > 0 || len(alone) > 0:
	case r.direction == "out":
		r.out.status("nothing matched: only packets that leave by %s are looked at (-Q in is for those that come in)", r.iface)
	default:
		r.out.status("nothing matched: only packets that come in on %s are looked at (-Q out is for those that leave)", r.iface)
	}
}

// manyRules is up to how many rules have a line each in any case.
const manyRules = 20

// lines prints the lines of a summary: the rules where that is worth it, what
// was left alone, and the total.
func (r *report) lines(counts []tally, alone []LeftAlone, elapsed time.Duration) {
	if r.byRule || len(counts) > 1 {
		all := ruleLines(counts)
		idle := 0
		for i, line := range all {
			if !r.byRule && len(all) > manyRules && counts[i].Matched == 0 {
				idle++
				continue
			}
			r.line(line, "\n")
		}
		if idle > 0 {
			r.line(fmt.Sprintf("%d more rules have matched nothing (-v shows them)", idle), "\n")
		}
	}
	for _, left := range alone {
		r.line(fmt.Sprintf("left alone: %d pkts: %s", left.Packets, left.Why), "\n")
	}
	r.line(r.total(counts, elapsed), "\n")
}

// line writes over the line that is being refreshed.
func (r *report) line(text, end string) {
	start := ""
	if r.showing > 0 {
		start = "\r"
	}
	_, _ = fmt.Fprintf(r.out.stderr, "%s%-*s%s", start, r.showing, text, end)
	r.showing = 0
	if end == "" {
		r.showing = len(text)
	}
}

// clear makes room for other lines than those of the report.
func (r *report) clear() {
	if r.showing > 0 {
		r.line("", "\r")
	}
}

// total is the last line of a summary. Where no rule has actions it counts
// what matched.
func (r *report) total(counts []tally, elapsed time.Duration) string {
	all := sum(counts)
	verb, n := "match", all.Matched
	for _, c := range counts {
		if !c.Look {
			verb, n = "rewrite", all.Rewritten
		}
	}
	return fmt.Sprintf("%s %d pkts in %.3f s", verb, n, elapsed.Seconds())
}

func sum(counts []tally) Count {
	var all Count
	for _, c := range counts {
		all.Matched += c.Matched
		all.MatchedBytes += c.MatchedBytes
		all.Rewritten += c.Rewritten
		all.RewrittenBytes += c.RewrittenBytes
	}
	return all
}

// ruleLines is a line for each rule as written: name or number, packets and
// bytes that it acted on (or, without actions, matched), and its text.
func ruleLines(counts []tally) []string {
	rows := make([][]string, len(counts))
	for i, c := range counts {
		n, bytes := c.Rewritten, c.RewrittenBytes
		if c.Look {
			n, bytes = c.Matched, c.MatchedBytes
		}
		name := ruleName(c.Name, i)
		if c.Gone { // its number was another one
			name = strings.TrimLeft(c.Name+" (gone)", " ")
		}
		rows[i] = []string{name, fmt.Sprintf("%d pkts", n), fmt.Sprintf("%d bytes", bytes), c.Text}
	}
	return columns(rows, 1, 2)
}

// ruleName is what a rule is called in lists: its name, or its number from 1.
func ruleName(name string, index int) string {
	if name != "" {
		return name
	}
	return strconv.Itoa(index + 1)
}

// columns sets rows in columns two blanks apart; those listed are set right.
// The last column is as wide as it likes.
func columns(rows [][]string, right ...int) []string {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len(cell))
		}
	}
	for _, i := range right {
		width[i] = -width[i]
	}
	var lines []string
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&b, "%*s  ", -width[i], cell)
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// statsEvent is the counts as JSON.
type statsEvent struct {
	event
	Interface string      `json:"interface"`
	Direction string      `json:"direction"`
	Seconds   float64     `json:"seconds"`
	Ended     string      `json:"ended,omitempty"` // summary: signal, count, time or error
	Total     Count       `json:"total"`
	Rules     []tally     `json:"rules"`
	LeftAlone []LeftAlone `json:"left_alone,omitempty"`
}

type ruleCount struct {
	ruleObject
	Count
}

func (r *report) object(name string, counts []tally, alone []LeftAlone, elapsed time.Duration, ended string) {
	e := statsEvent{
		event: r.out.event(name), Interface: r.iface, Direction: r.direction, Seconds: elapsed.Seconds(),
		Ended: ended, Total: sum(counts), Rules: counts, LeftAlone: alone,
	}
	r.out.object(e)
}
