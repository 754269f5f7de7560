package top

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// View is the screen.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.screen(), "\n"))
	v.AltScreen = true
	return v
}

// TooSmall says that a terminal is too small.
func TooSmall(columns, lines int) string {
	return fmt.Sprintf("the terminal has %d columns and %d lines, and top needs %d and %d", columns, lines, Columns, Lines)
}

// frameLines are the lines above and below the rows.
const frameLines = 4

// rows is how many rows there is room for.
func (m *model) rows() int { return max(1, m.height-frameLines) }

// screen is all lines, none wider than the terminal.
func (m *model) screen() []string {
	if m.width == 0 {
		return nil
	}
	if m.width < Columns || m.height < Lines {
		lines := strings.Split(ansi.Wrap(TooSmall(m.width, m.height), m.width, ""), "\n")
		return lines[:min(len(lines), m.height)]
	}
	body, keys := m.list(), "q quit  enter rule  / filter  s sort  p pause  n nanoseconds"
	switch m.page {
	case rulePage:
		body, keys = m.rule(), "esc back  p pause  n nanoseconds  q quit"
	case asking:
		body, keys = question(m.width), "n switch it on  any other key: leave it off"
	}
	body = body[:min(len(body), m.height-3)]
	for len(body) < m.height-3 {
		body = append(body, "")
	}
	lines := append([]string{m.title(), m.state()}, body...)
	lines = append(lines, keys)
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, m.width, "…")
	}
	lines[0] = "\x1b[1m" + lines[0] + "\x1b[0m"
	return lines
}

// title adds all rules up.
func (m *model) title() string {
	packets, bytes, where := 0.0, 0.0, map[string]bool{}
	for _, r := range m.table.rows {
		packets, bytes = packets+r.packets, bytes+r.bytes
		where[r.in.Namespace+"\x00"+r.in.Interface] = true
	}
	everywhere := ""
	if m.Everywhere {
		everywhere = " everywhere"
	}
	return fmt.Sprintf("repacket top%s: %s on %s, %s pkts/s, %s bytes/s", everywhere,
		number(len(m.table.rows), "rule"), number(len(where), "interface"), short(packets), short(bytes))
}

// number is a number of things.
func number(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// state is the line below it.
func (m *model) state() string {
	if m.err != nil {
		return "error: " + printable(m.err.Error())
	}
	parts := []string{"sorted by " + m.sort.String()}
	switch {
	case m.typing:
		parts = append(parts, "filter: "+m.filter+"_")
	case m.filter != "":
		parts = append(parts, "filter: "+m.filter+" (esc clears)")
	}
	if m.paused {
		parts = append(parts, "PAUSED")
	}
	if m.timing != nil {
		parts = append(parts, "nanoseconds are on for every eBPF program of this machine (n: off)")
	}
	return strings.Join(parts, "  ")
}

// list is the table.
func (m *model) list() []string {
	shown := m.table.shown(m.filter, m.sort)
	lines := []string{m.line("INTERFACE", "DIR", "RULE", "PKTS/S", "BYTES/S", "SHARE", "HISTORY", "NAMESPACE", "WORDS")}
	if len(shown) == 0 {
		return append(lines, "", map[bool]string{true: "nothing of Repacket is attached", false: "no rule has " + m.filter}[len(m.table.rows) == 0])
	}
	at, room := m.index(shown), m.rows()
	m.first = min(max(m.first, at-room+1), at)
	m.first = max(0, min(m.first, len(shown)-room))
	for i, r := range shown[m.first:min(len(shown), m.first+room)] {
		line := m.line(r.in.Interface, r.in.Direction.String(), r.label, short(r.packets), short(r.bytes),
			fmt.Sprintf("%.0f%%", 100*r.share), sparkline(r.history, 12), r.in.Namespace, r.rule.Text)
		if m.first+i == at {
			line = "\x1b[7m" + fit(line, m.width) + "\x1b[0m"
		}
		lines = append(lines, line)
	}
	return lines
}

// line puts a row in columns.
func (m *model) line(iface, direction, rule, packets, bytes, share, history, namespace, words string) string {
	cells := []string{fit(iface, 15), fit(direction, 3), fit(rule, 10), fmt.Sprintf("%6s", packets), fmt.Sprintf("%7s", bytes), fmt.Sprintf("%5s", share), fit(history, 12)}
	if m.Everywhere {
		cells = append([]string{fit(namespace, 10)}, cells...)
	}
	return strings.Join(append(cells, printable(words)), " ")
}

// fit makes a text so wide, with nothing that a terminal acts on but the styles of this package.
func fit(text string, width int) string {
	text = ansi.Truncate(printable(text), width, "…")
	return text + strings.Repeat(" ", max(0, width-ansi.StringWidth(text)))
}

// rule is the page of the rule that is selected.
func (m *model) rule() []string {
	r := m.chosen()
	if r == nil {
		return []string{"the rule is gone"}
	}
	hook := r.in.Hook.Title() + ", packets that " + map[bool]string{true: "arrive", false: "leave"}[r.in.Direction.String() == "in"]
	if r.in.Replies != nil && r.rule.HasReplies {
		hook += "; replies at " + r.in.Replies.Hook.Title()
	}
	facts := [][2]string{
		{"rule", r.label},
		{"interface", r.in.Interface},
		{"hook", hook},
		{"owner", r.owner()},
		{"counted", fmt.Sprintf("%d packets, %d bytes", r.rule.Matched, r.rule.MatchedBytes)},
		{"now", fmt.Sprintf("%s pkts/s, %s bytes/s, %.0f%% of all", short(r.packets), short(r.bytes), 100*r.share)},
	}
	if m.Everywhere {
		facts = append(facts[:1], append([][2]string{{"namespace", r.in.Namespace}}, facts[1:]...)...)
	}
	if r.rule.HasReplies {
		facts = append(facts, [2]string{"replies", fmt.Sprintf("%d packets", r.rule.Replies)})
	}
	facts = append(facts, [2]string{"program", m.nanoseconds(*r)})
	var lines []string
	for _, f := range facts {
		lines = append(lines, fmt.Sprintf("%-10s %s", f[0], printable(f[1])))
	}
	lines = append(lines, fmt.Sprintf("%-10s %s", "history", sparkline(r.history, min(kept, m.width-12))), "")
	for line := range strings.Lines(m.Explain(r.rule.Text)) {
		lines = append(lines, strings.Split(ansi.Wrap(printable(strings.TrimRight(line, "\n")), m.width, ""), "\n")...)
	}
	return lines
}

// question asks whether the kernel is to measure.
func question(width int) []string {
	return strings.Split(ansi.Wrap("Nanoseconds are those of the kernel's run-time statistics. While they are on, every eBPF program "+
		"of this machine, also those of others, takes about two clock reads longer for each packet. They are off again when you "+
		"press n once more, and when top ends, however it ends.", width, ""), "\n")
}
