package cli

import (
	"slices"
	"strings"

	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/top"
)

const topHelp = `Watch what rules do: packets and bytes a second, the busiest rule first.

Enter shows all about a rule, / filters as you type, s sorts by something else,
p pauses, q quits. n has the kernel measure how long programs run, which costs
every eBPF program of the machine, so it asks first. It needs a terminal of 80
columns and 24 lines.`

// topFlags are for what shows rules of one interface, or of all namespaces.
var topFlags = []string{"interface", "all-namespaces"}

// top shows a table that is refreshed.
func (a *app) top() error {
	if a.opt.json || !a.env.IsTerminal(a.env.Stdout) || !a.env.IsTerminal(a.env.Stderr) || a.env.Getenv("TERM") == "dumb" {
		return usage("repacket list --json has the counts for programs; repacket exporter serves them for Prometheus",
			"top is for people at a terminal that can be drawn on")
	}
	if columns, lines := a.env.Width(a.env.Stdout), a.env.Height(a.env.Stdout); columns > 0 && (columns < top.Columns || lines < top.Lines) {
		return usage("make it larger, or: repacket list", "%s", top.TooSmall(columns, lines))
	}
	k := a.env.Kernel
	list := func() ([]run.Attached, error) { return k.List(a.opt.iface) }
	if a.opt.everywhere {
		list = func() ([]run.Attached, error) {
			all, err := k.ListEverywhere()
			return slices.DeleteFunc(all, func(p run.Attached) bool {
				return a.opt.iface != "" && p.Interface != a.opt.iface
			}), err
		}
	}
	if _, err := list(); err != nil { // told where it can be read
		return err
	}
	return top.Run(top.Config{
		List: list, Everywhere: a.opt.everywhere, TimePrograms: k.TimePrograms, RunTime: k.RunTime, Explain: explainer(),
		In: a.env.Stdin, Out: a.env.Stdout,
	})
}

// explainer says what a rule does, and what its replies would be. It remembers what it said last.
func explainer() func(string) string {
	var of, says string
	return func(text string) string {
		if text != of {
			of, says = text, explainRule(text)
		}
		return says
	}
}

func explainRule(text string) string {
	p, err := rule.Check(text)
	if err != nil {
		return text + "\n  not explained: only a part of its text is kept, or it reads a file"
	}
	says := p.Explain()
	if p.Replies != nil {
		return says
	}
	inverse := "none"
	if p, err := rule.Check(text + " replies"); err == nil {
		if r := p.Explanation()[0].Replies; r != nil && len(r.Complete) > 0 {
			inverse = strings.Join(r.Complete, "; ")
		}
	}
	return says + "  inverse, which is not attached: " + inverse + "\n"
}
