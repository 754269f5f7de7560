package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"repacket/internal/spelling"
)

const replaceHelp = `Put rules in the place of those that are attached, without a gap.

Each packet meets the old rules or the new ones. They are proved first; whatever
fails, the old ones stay. Rules of the same words (and name) count on, -c and
--for begin again. Where nothing is attached it does as attach. Rules that a
process holds in the foreground are its own: with -f it reads its file again
when it gets a SIGHUP.`

func (a *app) replaceCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use:   "replace [flags] RULES",
		Short: "Put rules in the place of those that are attached, without a gap",
		Long:  replaceHelp,
		RunE:  func(_ *cobra.Command, words []string) error { return a.attach(words, true) },
	}, whereFlags, startFlags, ruleFlags)
}

// attach gives rules to an interface. With replace they take the place of those
// that are there.
func (a *app) attach(words []string, replace bool) error {
	a.env.IgnoreBrokenPipes()
	job, site, err := a.job(words, Job{Stay: true, Replace: replace})
	if err == nil {
		err = a.out.err // whoever cannot be told has nothing attached
	}
	if err != nil {
		return err
	}
	done, err := site.Attach()
	if err != nil {
		return a.taken(job, err)
	}
	a.out.advise(done.Late)
	event, did := "attached", "attached"
	if done.Replaced {
		event, did = "replaced", "replaced; attached"
	}
	a.attached(event, job, done.Hook, done.Note)
	detach := "repacket detach -i " + spelling.InShell(job.Interface) + directionFlag(job.Direction)
	a.out.status("%s until: %s%s", did, detach, a.opt.limited())
	a.untold("the rules are attached", "to take them off: "+detach)
	return nil
}

// untold warns on stderr of what was done and could not be told on stdout, as where
// that is a broken pipe. The exit status is that of what was done.
func (a *app) untold(done, hint string) {
	if a.out.err == nil {
		return
	}
	text := fmt.Sprintf("warning: %s, but that could not be told: %v\n", done, a.out.err)
	if hint != "" {
		text += "  hint: " + hint + "\n"
	}
	a.out.diagnostic(text)
	a.out.err = nil
}

// taken adds to an error that other rules are there what can be done where these act no
// more, because a limit of theirs is reached.
func (a *app) taken(job Job, err error) error {
	var failure *Failure
	if !errors.As(err, &failure) || failure.Status != exitTaken {
		return err
	}
	all, listErr := a.env.Kernel.List()
	if listErr != nil {
		return err // what cannot be seen is not told
	}
	for _, there := range all {
		if there.Interface != job.Interface || there.Direction != job.Direction || there.PID != 0 || there.Over == "" {
			continue
		}
		where := "-i " + spelling.InShell(job.Interface) + directionFlag(job.Direction)
		hint := "take them off: repacket detach " + where
		if job.Stay {
			hint = "put yours in their place: repacket replace " + where + " RULES; or " + hint
		}
		return &Failure{exitTaken, fmt.Errorf("%w; %s, so these rules let all packets pass", err, overWords[there.Over]), hint}
	}
	return err
}

// overWords say which limit was reached.
var overWords = map[string]string{"count": "-c is reached", "time": "--for is over"}

// directionFlag is the flag that names a direction, or "" for the default.
func directionFlag(direction string) string {
	if direction == "out" {
		return " -Q out"
	}
	return ""
}

// leaving says in words that it is about packets that leave.
func leaving(direction string) string {
	if direction == "out" {
		return ", packets that leave"
	}
	return ""
}

// detachedEvent tells what detach found.
type detachedEvent struct {
	event
	Interface string `json:"interface"`
	Direction string `json:"direction"`
	Found     bool   `json:"found"`
	// Stays is the other direction, where it has rules of ours too.
	Stays string `json:"stays,omitempty"`
}

// detach takes our rules off an interface. Where there are none it says so
// and all is well.
func (a *app) detach(words []string) error {
	if err := noWords("detach", words); err != nil {
		return err
	}
	iface, err := a.where()
	if err != nil {
		return err
	}
	a.env.IgnoreBrokenPipes()
	done, err := a.env.Kernel.Detach(iface, a.opt.direction)
	if err != nil {
		return err
	}
	event := detachedEvent{a.out.event("detached"), iface, a.opt.direction, done.Found, ""}
	other, err := a.otherDirection(iface)
	if other != nil {
		event.Stays = other.Direction
	}
	if unsure := cmp.Or(done.Unsure, err); unsure != nil {
		a.out.advise([]Advice{{Message: fmt.Sprintf("%s could not be inspected once more: %v", iface, unsure), Hint: "repacket list shows what is attached"}})
	}
	if a.out.json {
		a.out.object(event)
		if done.Found {
			a.untold("the rules are detached", "")
		}
		return nil
	}
	did := "nothing of Repacket is attached"
	if done.Found {
		did = "detached"
	}
	a.out.status("%s: %s%s", iface, did, leaving(a.opt.direction))
	if other != nil {
		a.stays(other)
	}
	return nil
}

// otherDirection finds rules of ours on an interface in the direction that was not
// asked for, or nil.
func (a *app) otherDirection(iface string) (*Attached, error) {
	all, err := a.env.Kernel.List()
	for _, other := range all {
		if other.Interface == iface && other.Direction != a.opt.direction {
			return &other, err
		}
	}
	return nil, err
}

// stays tells that rules of the other direction are still there.
func (a *app) stays(other *Attached) {
	which := "come in"
	if other.Direction == "out" {
		which = "leave"
	}
	if other.PID != 0 {
		a.out.status("%s: rules on packets that %s go on while their process runs: repacket list", other.Interface, which)
		return
	}
	a.out.status("%s: rules on packets that %s go on until: repacket detach -i %s -Q %s", other.Interface, which, spelling.InShell(other.Interface), other.Direction)
}

// listEvent is one program of ours as JSON.
type listEvent struct {
	event
	Attached
}

// list shows the programs of ours on all interfaces, or on that of -i, and in
// both directions, or in that of -Q.
func (a *app) list(words []string) error {
	if err := noWords("list", words); err != nil {
		return err
	}
	all, err := a.env.Kernel.List()
	if err != nil {
		return err
	}
	if a.opt.iface != "" {
		name, err := a.where()
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(p Attached) bool { return p.Interface != name })
	}
	if a.flags.Changed("direction") {
		all = slices.DeleteFunc(all, func(p Attached) bool { return p.Direction != a.opt.direction })
	}
	a.out.advise(several(all))
	switch {
	case a.out.json:
		for _, p := range all {
			a.out.object(listEvent{a.out.event("program"), p})
		}
	case len(all) == 0:
		a.out.status("nothing of Repacket is attached")
	default:
		a.out.printf("%s\n", strings.Map(visible, strings.Join(listLines(all), "\n")))
	}
	return nil
}

// several warns of more than one set of rules for one direction of an interface.
func several(all []Attached) []Advice {
	var warnings []Advice
	for i, p := range all {
		same := func(o Attached) bool { return o.Interface == p.Interface && o.Direction == p.Direction }
		if slices.IndexFunc(all, same) != i {
			continue // told
		}
		var hooks []string
		for _, o := range all {
			if same(o) {
				hooks = append(hooks, o.Hook)
			}
		}
		if len(hooks) > 1 {
			warnings = append(warnings, Advice{
				Message: fmt.Sprintf("%s has %d sets of rules (%s%s) where there should be one: an attach was interrupted", p.Interface, len(hooks), strings.Join(hooks, ", "), leaving(p.Direction)),
				Hint:    "to take them off: repacket detach -i " + spelling.InShell(p.Interface) + directionFlag(p.Direction),
			})
		}
	}
	return warnings
}

// left says what is left of limits.
func (p Attached) left() string {
	var parts []string
	if p.PacketsLeft > 0 {
		parts = append(parts, fmt.Sprintf("%d more pkts", p.PacketsLeft))
	}
	if p.SecondsLeft > 0 {
		left := time.Duration(p.SecondsLeft * float64(time.Second))
		parts = append(parts, left.Round(time.Second).String()+" more")
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// listLines is a table with a line for each rule.
func listLines(all []Attached) []string {
	rows := [][]string{{"INTERFACE", "DIRECTION", "HOOK", "UNTIL", "PKTS", "BYTES", "RULES"}}
	for _, p := range all {
		where := []string{p.Interface, p.Direction, p.Hook, "detach"}
		if p.PID != 0 {
			where[3] = fmt.Sprintf("process %d ends", p.PID)
			if p.PIDElsewhere {
				where[3] = fmt.Sprintf("process %d of another PID namespace ends", p.PID)
			}
		}
		if over := overWords[p.Over]; over != "" {
			where[3] += " (" + over + ")"
		}
		where[3] += p.left()
		for _, r := range p.Rules {
			text := r.Text
			if r.Name != "" {
				text = r.Name + ": " + text
			}
			rows = append(rows, slices.Concat(where, []string{
				strconv.FormatUint(r.Matched, 10), strconv.FormatUint(r.MatchedBytes, 10), text,
			}))
			where = []string{"", "", "", ""}
		}
		for _, left := range p.LeftAlone {
			rows = append(rows, slices.Concat(where, []string{
				strconv.FormatUint(left.Packets, 10), "", "left alone: " + left.Why,
			}))
		}
	}
	return columns(rows, 4, 5)
}
