// Package doctor says whether Repacket can work on a machine and its interfaces,
// what is in the way, and the command that mends it.
//
// It gathers facts (Facts) from a System, which tests can fake, and turns them
// into rows by two tables of checks. A check is a name and a function of the
// facts; it asks nobody. That a privilege is missing to see something is a fact too.
package doctor

import (
	"errors"
	"strings"

	"repacket/internal/hook"
	"repacket/internal/spelling"
)

// Level says how well it is.
type Level uint8

// The levels. The zero value is no row at all.
const (
	silent  Level = iota
	OK            // fine
	Note          // works; but there is something to know
	Unknown       // not to be seen from here
	Warning       // some things do not work, or not as they should
	Error         // Repacket cannot run
)

var levelNames = [...]string{silent: "", OK: "ok", Note: "note", Unknown: "unknown", Warning: "warning", Error: "error"}

func (l Level) String() string { return levelNames[l] }

// MarshalText is the level's word, as in JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Row is one finding.
type Row struct {
	Name string `json:"name"`
	// Interface is what the row is about; "" is the machine.
	Interface string `json:"interface,omitempty"`
	// Level is ok, note, unknown, warning or error.
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Command mends it, or changes it where it is a note. It may be "".
	Command string `json:"command,omitempty"`
}

// check is a line of a table of checks.
type check struct {
	name string
	row  func(*Facts) Row
}

// Report examines the machine and one interface, or with "" all of them, each
// in one row. The error is NoInterfaceError of hook.
func Report(s System, iface string) ([]Row, error) {
	if iface == "" {
		return overview(s)
	}
	on, err := s.Interface(iface)
	if err != nil {
		return nil, err
	}
	f := gather(s)
	return append(rows(machine, &f, ""), rows(interfaces, f.of(s, on), on.Name)...), nil
}

// rows are those of the checks that have something to say.
func rows(checks []check, f *Facts, iface string) []Row {
	var all []Row
	for _, c := range checks {
		if r := c.row(f); r.Level != silent {
			r.Name, r.Interface = c.name, iface
			all = append(all, r)
		}
	}
	return all
}

// overview is the rows of the machine, and one for each interface.
func overview(s System) ([]Row, error) {
	all, err := s.Interfaces()
	if err != nil {
		return nil, err
	}
	f := gather(s)
	report := rows(machine, &f, "")
	for _, on := range all {
		report = append(report, f.of(s, on).summary())
	}
	return report, nil
}

// summary is one interface in one row. It is no worse than a warning: there may
// be another interface that can be used.
func (f *Facts) summary() Row {
	row := Row{
		Name: "interface", Interface: f.Iface.Name, Level: OK,
		Text: f.describe() + "; in by " + hookName(f.In) + ", out by " + hookName(f.Out),
	}
	var names []string
	for _, r := range rows(interfaces, f, f.Iface.Name) {
		if r.Level > Note {
			names = append(names, r.Name)
			row.Level = max(row.Level, min(r.Level, Warning))
		}
	}
	if len(names) > 0 {
		row.Text += "; see " + strings.Join(names, ", ")
		row.Command = "repacket doctor -i " + spelling.InShell(f.Iface.Name)
	}
	return row
}

func hookName(c Seen[hook.Choice]) string {
	if c.Err != nil {
		return "nothing"
	}
	return c.Value.Hook.String()
}

// Names are the names of all rows, in the order in which they are told.
func Names() []string {
	var names []string
	for _, table := range [][]check{machine, interfaces} {
		for _, c := range table {
			names = append(names, c.name)
		}
	}
	return names
}

// missing are the capabilities for want of which something was not to be seen;
// ok is false where that is not the reason.
func missing(err error) (names []string, ok bool) {
	var privilege *hook.PrivilegeError
	if !errors.As(err, &privilege) || len(privilege.Missing) == 0 {
		return nil, false
	}
	return privilege.Missing, true
}

// unseen is the row of what is not to be seen.
func (f *Facts) unseen(err error) Row {
	names, ok := missing(err)
	if !ok {
		return Row{Level: Unknown, Text: "cannot be seen: " + err.Error()}
	}
	command := "sudo repacket doctor"
	if f.Iface.Name != "" {
		command += " -i " + spelling.InShell(f.Iface.Name)
	}
	return Row{Level: Unknown, Text: "cannot be seen: " + isMissing(names), Command: command}
}

// isMissing says that capabilities are.
func isMissing(names []string) string {
	verb := " is"
	if len(names) > 1 {
		verb = " are"
	}
	return list(names) + verb + " missing"
}

// list is "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
