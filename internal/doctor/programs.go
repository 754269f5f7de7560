package doctor

import (
	"fmt"
	"strings"

	"repacket/internal/hook"
	"repacket/internal/run"
	"repacket/internal/spelling"
)

// programsOn says what is on the hooks for a direction.
func (f *Facts) programsOn(dir run.Direction) Row {
	seen := f.Programs[dir]
	row := Row{Level: OK, Text: "none"}
	var words []string
	for _, a := range seen.Value {
		words = append(words, f.program(a))
		if level, command := f.inTheWay(a); level > row.Level {
			row.Level, row.Command = level, command
		}
	}
	if len(words) > 0 {
		row.Text = strings.Join(words, "; ")
	}
	switch {
	case seen.Err == nil:
	case len(words) == 0:
		return f.unseen(seen.Err)
	default:
		row.Text += "; not all can be seen"
		if names, ok := missing(seen.Err); ok {
			row.Text += ": " + isMissing(names)
		}
		if row.Level < Unknown {
			row.Level, row.Command = Unknown, f.unseen(seen.Err).Command
		}
	}
	return row
}

// program names a program: hook, number, name, and whose it is.
func (f *Facts) program(a hook.Program) string {
	where := a.Way.String()
	if a.Way == hook.ByXDP {
		where = a.Hook.String()
	}
	text := fmt.Sprintf("%s program %d", where, a.ProgramID)
	ours := ", ours"
	if a.Meta.RepliesOf != "" {
		ours = ", ours, for the replies of rules for the other direction"
	}
	switch {
	case a.Ours && a.Meta.Foreground && a.Elsewhere():
		return fmt.Sprintf("%s%s, until process %d of another PID namespace ends", text, ours, a.Meta.PID)
	case a.Ours && a.Meta.Foreground:
		return fmt.Sprintf("%s%s, until process %d ends", text, ours, a.Meta.PID)
	case a.Ours:
		return text + ours + ", until detach"
	case a.Tool != hook.UnknownTool:
		return fmt.Sprintf("%s (%s, of %s)", text, a.ProgramName, a.Tool)
	case a.ProgramName != "":
		return fmt.Sprintf("%s (%s)", text, a.ProgramName)
	}
	return text
}

// inTheWay tells what a program that is there keeps from being attached, and the
// command against it. Programs at tc have room for others.
func (f *Facts) inTheWay(a hook.Program) (Level, string) {
	target := run.Target{Interface: f.Iface.Name, Direction: a.Direction}
	if a.Meta.RepliesOf != "" { // it goes with its rules
		target.Direction = a.Direction.Other()
	}
	switch {
	case a.Ours && a.Meta.Foreground && a.Elsewhere():
		return Note, ""
	case a.Ours && a.Meta.Foreground:
		return Note, fmt.Sprintf("kill %d", a.Meta.PID)
	case a.Ours:
		return Note, "repacket detach " + target.Flags()
	case a.Way == hook.ByXDP && f.native():
		return Warning, fmt.Sprintf("repacket -i %s --hook tc RULES", spelling.InShell(f.Iface.Name))
	case a.Way == hook.ByXDP:
		return Note, fmt.Sprintf("bpftool prog show id %d", a.ProgramID)
	}
	return OK, ""
}
