package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"repacket/internal/doctor"
)

// ifaceFlags are for commands that look at packets of no direction.
var ifaceFlags = []string{"interface"}

func (a *app) doctorCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use:   "doctor [flags]",
		Short: "Say whether Repacket can work here, and what mends it where not; needs no privilege",
		RunE:  func(_ *cobra.Command, words []string) error { return a.doctor(words) },
	}, ifaceFlags)
}

// findingEvent is a finding as JSON.
type findingEvent struct {
	event
	doctor.Row
}

// doctor says whether Repacket can work here, and what mends it where not.
func (a *app) doctor(words []string) error {
	if err := noWords("doctor", words); err != nil {
		return err
	}
	all, err := a.env.Kernel.Doctor(a.opt.iface)
	if err != nil {
		return err
	}
	if a.out.json {
		for _, f := range all {
			a.out.object(findingEvent{a.out.event("finding"), f})
		}
	} else {
		a.findings(all)
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

// findings prints one finding a line, and below it its command, unless it has been
// told already.
func (a *app) findings(all []doctor.Row) {
	rows := make([][]string, len(all))
	for i, f := range all {
		if f.Interface != "" && a.opt.iface == "" { // one row of each interface
			f.Text = f.Interface + ": " + f.Text
		}
		rows[i] = []string{f.Level.String(), f.Name, strings.Map(visible, f.Text)}
	}
	told := map[string]bool{"": true}
	for i, line := range columns(rows) {
		level, rest, _ := strings.Cut(line, " ")
		if color, ok := colors[level]; ok && a.out.colorOut {
			level = color + level + "\x1b[0m"
		}
		a.out.printf("%s %s\n", level, rest)
		if command := all[i].Command; !told[command] {
			told[command] = true
			a.out.printf("%*s$ %s\n", len(line)-len(rows[i][2]), "", strings.Map(visible, command))
		}
	}
}
