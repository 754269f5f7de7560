package cli

import (
	"errors"
	"strings"

	"repacket/internal/doctor"
)

// ifaceFlags are for commands about both directions.
var ifaceFlags = []string{"interface"}

// findingEvent is a finding as JSON.
type findingEvent struct {
	event
	doctor.Row
}

// doctor says whether Repacket can work here, and what mends it where not.
func (a *app) doctor() error {
	all, err := a.env.Kernel.Doctor(a.opt.iface)
	if err != nil {
		return err
	}
	if a.out.json {
		for _, f := range all {
			a.out.object(findingEvent{a.out.event("finding"), f})
		}
	} else {
		a.out.findings(all, a.opt.iface == "")
	}
	var broken []string
	for _, f := range all {
		if f.Level == doctor.Error {
			broken = append(broken, f.Name)
		}
	}
	if len(broken) > 0 {
		return &Failure{
			Status: exitUnsupported, Err: errors.New("something keeps Repacket from running: " + strings.Join(broken, ", ")),
			Hint: "docs/doctor.md tells what each row means",
		}
	}
	return nil
}

// findings prints one finding a line, with its interface where there are several, and
// below it its command, unless it has been told already.
func (o *output) findings(all []doctor.Row, several bool) {
	rows := make([][]string, len(all))
	for i, f := range all {
		if several && f.Interface != "" { // one row of each interface
			f.Text = f.Interface + ": " + f.Text
		}
		rows[i] = []string{f.Level.String(), f.Name, strings.Map(visible, f.Text)}
	}
	told := map[string]bool{"": true}
	for i, line := range columns(rows) {
		level, rest, _ := strings.Cut(line, " ")
		if color, ok := colors[level]; ok && o.colorOut {
			level = color + level + "\x1b[0m"
		}
		o.printf("%s %s\n", level, rest)
		if command := all[i].Command; !told[command] {
			told[command] = true
			o.printf("%*s$ %s\n", len(line)-len(rows[i][2]), "", strings.Map(visible, command))
		}
	}
}
