package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"repacket/internal/run"
	"repacket/internal/spelling"
	"repacket/internal/syntax"
)

// report shows what a run has done: a line that is refreshed on a terminal,
// and the summary, which ends with the same line.
type report struct {
	out     *output
	target  run.Target
	shower  *shower // nil where no packets are shown
	showing int     // length of the line that is being refreshed
	// traffic is what is known of the packets of the interface at the end.
	traffic func() (run.Traffic, error)
	// file is the capture file, or nil.
	file *fileReport
	// why: it is counted why rules do not act. width is how many columns the terminal has, or 0.
	why   bool
	width func() int
}

// periodic reports whether there is anybody to tell each second.
func (r *report) periodic() bool { return r.out.json || r.out.live && !r.still() }

// still reports whether the line stands still, because packets are shown on the same terminal.
func (r *report) still() bool { return r.shower != nil && r.shower.level > 0 && r.shower.terminal }

// show shows the counts: as the "progress" of a run that goes on, as an "interim" summary
// that was asked for, or as the "summary" of the whole run, with why it ended.
func (r *report) show(as string, counts run.Counts, elapsed time.Duration, why string) {
	switch {
	case r.out.json && r.file != nil:
		r.fileEvent(as, counts, elapsed, why)
	case r.out.json:
		e := statsEvent{
			event: r.out.event("stats"), Target: r.target, Seconds: elapsed.Seconds(),
			Ended: why, Total: counts.Total(), Counts: counts,
			savedCounts: r.shower.saved().counts(r.shower),
		}
		if as == "progress" {
			e.shownCounts = r.shower.soFar(counts)
		} else {
			e.shownCounts = r.shower.counts(counts)
		}
		if as == "summary" {
			e.Event = as
		}
		r.out.object(e)
	case as == "progress" && r.file != nil:
		r.line(r.file.progress(r.file.session.Progress(), elapsed.Seconds()), "")
	case as == "progress":
		r.line(r.total(counts, elapsed)+r.missed(counts), "")
	case as == "interim" || !r.out.quiet:
		r.lines(counts, elapsed)
		if as == "summary" && why != "error" && counts.Total().Matched == 0 && len(counts.Skipped) == 0 {
			r.nothing()
		}
	}
}

// manyRules is up to how many rules have a line each in any case.
const manyRules = 20

// lines prints the lines of a summary: the rules where that is worth it, what
// was skipped, and the total.
func (r *report) lines(counts run.Counts, elapsed time.Duration) {
	if len(counts.Rules) > 1 {
		all := ruleLines(counts.Rules)
		idle := 0
		for i, line := range all {
			if c := counts.Rules[i]; len(all) > manyRules && c.Matched+c.Replies == 0 {
				idle++
				continue
			}
			r.line(line, "\n")
		}
		if idle > 0 {
			r.line(fmt.Sprintf("%d more rules have matched nothing", idle), "\n")
		}
	}
	r.reasons(counts.Rules)
	for _, s := range counts.Skipped {
		r.line(fmt.Sprintf("skipped: %d pkts: %s", s.Packets, s.Why), "\n")
	}
	if line := r.shower.savedLine(); line != "" {
		r.line(line, "\n")
	}
	if line := r.shower.counts(counts).line(); line != "" {
		r.line(line, "\n")
	}
	if counts.Flows != nil {
		r.line("flows: "+flowsText(*counts.Flows), "\n")
	}
	r.line(r.total(counts, elapsed), "\n")
}

// missed says in the line that is refreshed how many packets were not shown or saved.
func (r *report) missed(counts run.Counts) string {
	text := ""
	if line := r.shower.soFar(counts).line(); line != "" {
		text = " (" + line + ")"
	}
	if saved := r.shower.saved().counts(r.shower); saved != nil && saved.NotWritten > 0 {
		text += fmt.Sprintf(" (%s not written)", spelling.Thousands(int(saved.NotWritten)))
	}
	return text
}

// flowsText says how full the table of flows is.
func flowsText(u run.FlowUsage) string {
	text := fmt.Sprintf("%s tracked of %s, in %.1f MiB", spelling.Thousands(u.Flows), spelling.Thousands(u.Room), float64(u.Bytes)/(1<<20))
	if u.Evicted > 0 {
		text += fmt.Sprintf("; %d evicted before they were idle for long: --flows makes room for more", u.Evicted)
	}
	return text
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

// total is the last line of a summary: for each verdict of the rules, on how many packets
// they acted. Where all rules are dry runs it counts what matched.
func (r *report) total(counts run.Counts, elapsed time.Duration) string {
	var parts []string
	for _, v := range syntax.Verdicts() {
		n, some := uint64(0), false
		for _, c := range counts.Rules {
			if c.Verdict == v && !c.DryRun {
				n, some = n+c.Rewritten, true
			}
		}
		if some {
			parts = append(parts, fmt.Sprintf("%s %d", verbs[v], n))
		}
	}
	if parts == nil {
		parts = []string{fmt.Sprintf("match %d", counts.Total().Matched)}
	}
	replies := ""
	if haveReplies(counts.Rules) {
		replies = fmt.Sprintf(", %d replies", counts.Total().Replies)
	}
	text := fmt.Sprintf("%s pkts%s in %.3f s", strings.Join(parts, ", "), replies, elapsed.Seconds())
	if r.file != nil {
		p := r.file.session.Progress()
		text += fmt.Sprintf(" (read %d pkts, %.1f MB)", p.Packets, float64(p.Bytes)/mega)
	}
	return text
}

// haveReplies reports whether replies of any of the rules are rewritten.
func haveReplies(counts []run.RuleCount) bool {
	return slices.ContainsFunc(counts, func(c run.RuleCount) bool { return c.HasReplies })
}

// verbs say what rules with a verdict do to packets.
var verbs = map[syntax.Verdict]string{
	syntax.Pass: "rewrite", syntax.Drop: "drop", syntax.Reflect: "reflect", syntax.ToInterface: "redirect",
}

// ruleLines is a line for each rule as written: name or number, packets and
// bytes that it acted on (or, without actions, matched), its replies where any rule has them,
// and its text.
func ruleLines(counts []run.RuleCount) []string {
	replies := haveReplies(counts)
	right := []int{1, 2}
	if replies {
		right = append(right, 3)
	}
	rows := make([][]string, len(counts))
	for i, c := range counts {
		n, bytes := c.Rewritten, c.RewrittenBytes
		if c.DryRun {
			n, bytes = c.Matched, c.MatchedBytes
		}
		name := cmp.Or(c.Name, strconv.Itoa(i+1))
		if c.Gone { // its number was another one
			name = strings.TrimLeft(c.Name+" (gone)", " ")
		}
		rows[i] = []string{name, fmt.Sprintf("%d pkts", n), fmt.Sprintf("%d bytes", bytes)}
		switch {
		case c.HasReplies:
			rows[i] = append(rows[i], fmt.Sprintf("%d replies", c.Replies))
		case replies:
			rows[i] = append(rows[i], "")
		}
		rows[i] = append(rows[i], c.Text)
	}
	return columns(rows, right...)
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
	run.Target
	Seconds float64   `json:"seconds"`
	Ended   string    `json:"ended,omitempty"` // summary: signal, count, time or error
	Total   run.Count `json:"total"`
	run.Counts
	*shownCounts // of the packets, where they are shown
	*savedCounts // and where they are saved
}
