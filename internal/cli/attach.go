package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"repacket/internal/journal"
	"repacket/internal/run"
	"repacket/internal/spelling"
)

const replaceHelp = `Put rules in the place of those that are attached, without a gap.

Each packet meets the old rules or the new ones. They are tested first; whatever
fails, the old ones stay. Rules of the same words (and name) count on, -c and
--for begin again. Where nothing is attached it does as attach. Rules that a
process holds in the foreground are its own: with -f it reads its file again
when it gets a SIGHUP.`

// attach attaches rules that stay. With replace they take the place of those that are
// there.
func (a *app) attach(words []string, replace bool) error {
	if a.opt.asksToShow() {
		return usage("a run shows packets: repacket -v RULES; repacket list shows what attached rules have counted",
			"%s ends when the rules are attached, so it shows no packets", a.given)
	}
	if a.opt.why {
		return usage("a run counts why: repacket --why RULES, without then where packets are to stay as they are",
			"%s ends when the rules are attached, so it does not say why they do not act", a.given)
	}
	a.env.IgnoreBrokenPipes()
	a.noteReverts(a.opt.iface)
	opt, prepared, err := a.prepare(words, run.Options{Stay: true, Replace: replace})
	if err == nil {
		err = a.out.err // whoever cannot be told has nothing attached
	}
	if err != nil {
		return err
	}
	done, err := prepared.Attach()
	if err != nil {
		return a.taken(opt, err)
	}
	event, did := "attached", "attached"
	if done.Replaced {
		event, did = "replaced", "replaced; attached"
	}
	a.logger.attached(map[bool]string{false: logAttach, true: logReplace}[done.Replaced], event, done, opt.Program)
	a.out.advise(done.Advice)
	a.out.attached(event, done, opt.Program)
	detach := "repacket detach " + opt.Flags()
	if done.RevertAfter > 0 {
		to := "no rules"
		if done.Replaced {
			did, to = "replaced", "the rules before"
		}
		a.out.status("%s; goes back to %s in %v, unless: repacket confirm %s%s", did, to, done.RevertAfter, opt.Flags(), a.opt.limited())
	} else {
		a.out.status("%s until: %s%s", did, detach, a.opt.limited())
	}
	a.out.untold("the rules are attached", "to detach them: "+detach)
	return nil
}

// untold warns on stderr of what was done and could not be told on stdout, as where
// that is a broken pipe. The exit status is that of what was done.
func (o *output) untold(done, hint string) {
	if o.err == nil {
		return
	}
	text := fmt.Sprintf("warning: %s, but this could not be reported: %v\n", done, o.err)
	if hint != "" {
		text += "  hint: " + hint + "\n"
	}
	o.diagnostic(text)
	o.err = nil
}

// taken adds to an error that other rules are there what can be done where these act no
// more, because a limit of theirs is reached.
func (a *app) taken(opt run.Options, err error) error {
	if status(err) != exitTaken {
		return err
	}
	all, listErr := a.env.Kernel.List(opt.Interface)
	if listErr != nil {
		return err // nothing is known of the limits
	}
	for _, there := range all {
		why := overWords[there.Over]
		if there.Revert != nil && there.Revert.Over && !acting(there) {
			why = "nobody has confirmed them"
		}
		if there.Target != opt.Target || there.PID != 0 || why == "" {
			continue
		}
		hint := "detach them: repacket detach " + opt.Flags()
		if opt.Stay {
			hint = "put yours in their place: repacket replace " + opt.Flags() + " RULES; or " + hint
		}
		return &Failure{Status: exitTaken, Err: fmt.Errorf("%w; %s, so these rules let all packets pass", err, why), Hint: hint}
	}
	return err
}

// acting reports whether some of the rules that were found have not gone back.
func acting(p run.Attached) bool {
	return slices.ContainsFunc(p.Rules, func(c run.RuleCount) bool { return !c.Gone })
}

// overWords say which limit was reached.
var overWords = map[run.Limit]string{run.LimitCount: "-c is reached", run.LimitTime: "--for is over"}

// leaving says in words that it is about packets that leave.
func leaving(direction run.Direction) string {
	if direction == run.Out {
		return ", packets that leave"
	}
	return ""
}

// detachedEvent tells what detach found.
type detachedEvent struct {
	event
	run.Target
	Found bool `json:"found"`
	// Replies is the other direction, where the rules' replies were rewritten; Missing is
	// what of both was not there any more, "rules" or "replies".
	Replies string   `json:"replies,omitempty"`
	Missing run.Part `json:"missing,omitempty"`
	// Stays is the other direction, where it has rules of ours too.
	Stays string `json:"stays,omitempty"`
}

// detach detaches our rules from an interface. Where there are none it says so
// and all is well.
func (a *app) detach() error {
	target, err := a.target()
	if err != nil {
		return err
	}
	a.env.IgnoreBrokenPipes()
	a.noteReverts(target.Interface)
	done, err := a.env.Kernel.Detach(target)
	if err != nil {
		return err
	}
	if done.Found {
		a.logger.write(journal.Notice, logDetach, done.Target, "detached"+withReplies(done))
	}
	if done.Unsure != nil {
		a.out.advise([]run.Advice{{Message: fmt.Sprintf("%s could not be inspected again: %v", done.Interface, done.Unsure), Hint: "repacket list shows what is attached"}})
	}
	if a.out.json {
		e := detachedEvent{event: a.out.event("detached"), Target: done.Target, Found: done.Found, Missing: done.Missing}
		if done.Replies {
			e.Replies = done.Direction.Other().String()
		}
		if done.Other != nil {
			e.Stays = done.Other.Direction.String()
		}
		a.out.object(e)
		if done.Found {
			a.out.untold("the rules are detached", "")
		}
		return nil
	}
	did := "nothing of Repacket is attached"
	if done.Found {
		did = "detached"
	}
	a.out.status("%s: %s%s%s", done.Interface, did, leaving(done.Direction), withReplies(done))
	if done.Other != nil {
		a.out.stays(done.Other)
	}
	return nil
}

// withReplies says what of rules and their replies was detached, or "" where they have none.
func withReplies(d run.Detached) string {
	switch {
	case d.Replies:
		return ", with their replies"
	case d.Missing == run.RulesPart:
		return ": only what rewrites replies was there, without its rules"
	case d.Missing == run.RepliesPart:
		return ": only the rules were there, without what rewrites their replies"
	}
	return ""
}

// stays tells that rules of the other direction are still there.
func (o *output) stays(other *run.Attached) {
	which := "come in"
	if other.Direction == run.Out {
		which = "leave"
	}
	until := "until: repacket detach -i " + spelling.InShell(other.Interface) + " -Q " + other.Direction.String()
	if other.PID != 0 {
		until = "while their process runs: repacket list"
	}
	o.status("%s: rules on packets that %s go on %s", other.Interface, which, until)
}

// listEvent is one program of ours as JSON.
type listEvent struct {
	event
	run.Attached
}

// list shows the programs of ours on all interfaces, or on that of -i, and in
// both directions, or in that of -Q.
func (a *app) list() error {
	all, err := a.env.Kernel.List(a.opt.iface)
	if err != nil {
		return err
	}
	if a.flags.Changed("direction") {
		all = slices.DeleteFunc(all, func(p run.Attached) bool {
			return p.Direction != a.opt.dir && (p.Replies == nil || p.Replies.Direction != a.opt.dir)
		})
	}
	a.tellReverts(all)
	a.nameOrigins(all)
	a.out.advise(slices.Concat(several(all), incomplete(all)))
	switch {
	case a.out.json:
		for _, p := range all {
			a.out.object(listEvent{a.out.event("program"), p})
		}
	case len(all) == 0:
		a.out.status("nothing of Repacket is attached")
	default:
		a.out.printf("%s\n", strings.Map(visible, strings.Join(listLines(all, a.opt.verbose > 0), "\n")))
	}
	return nil
}

// several warns of more than one set of rules for one target.
func several(all []run.Attached) []run.Advice {
	var warnings []run.Advice
	hooks := map[run.Target][]string{}
	for _, p := range all {
		hooks[p.Target] = append(hooks[p.Target], p.Hook.String())
	}
	for _, p := range all {
		if there := hooks[p.Target]; len(there) > 1 {
			warnings = append(warnings, run.Advice{
				Message: fmt.Sprintf("%s has %d sets of rules (%s%s) where there should be one: an attach was interrupted", p.Interface, len(there), strings.Join(there, ", "), leaving(p.Direction)),
				Hint:    "to detach them: repacket detach " + p.Flags(),
			})
			delete(hooks, p.Target)
		}
	}
	return warnings
}

// incomplete warns of rules that have replies and of which one half is attached.
func incomplete(all []run.Attached) []run.Advice {
	var warnings []run.Advice
	for _, p := range all {
		what := map[run.Part]string{
			run.RulesPart:   "rewrites replies of rules that are not attached",
			run.RepliesPart: "has rules whose replies are not rewritten",
		}[p.Missing]
		if what == "" {
			continue
		}
		warnings = append(warnings, run.Advice{
			Message: fmt.Sprintf("%s %s: an attach or a detach was interrupted", p.Interface, what),
			Hint:    "to detach what is there: repacket detach " + p.Flags(),
		})
	}
	return warnings
}

// until says what ends the rules, and what is left of their limits.
func until(p run.Attached) string {
	text := "detach"
	if p.PID != 0 {
		elsewhere := ""
		if p.PIDElsewhere {
			elsewhere = " of another PID namespace"
		}
		text = fmt.Sprintf("process %d%s ends", p.PID, elsewhere)
	}
	if over := overWords[p.Over]; over != "" {
		text += " (" + over + ")"
	}
	var left []string
	if p.PacketsLeft > 0 {
		left = append(left, fmt.Sprintf("%d more pkts", p.PacketsLeft))
	}
	if p.SecondsLeft > 0 {
		left = append(left, time.Duration(p.SecondsLeft*float64(time.Second)).Round(time.Second).String()+" more")
	}
	if left != nil {
		text += " (" + strings.Join(left, ", ") + ")"
	}
	switch v := p.Revert; {
	case v == nil:
	case v.Over:
		text += " (went back at " + v.At.Format(time.DateTime) + ")"
	default:
		text += " (goes back in " + time.Duration(v.SecondsLeft*float64(time.Second)).Round(time.Second).String() + " unless confirmed)"
	}
	return text
}

// beforeLines are the rules that act again unless others are confirmed.
func beforeLines(v *run.Revert) (lines []string) {
	for _, r := range v.Before {
		lines = append(lines, "before: "+ruleWords(r))
	}
	if lines == nil {
		lines = []string{"before: no rules"}
	}
	return lines
}

// ruleWords is a rule with its name.
func ruleWords(r run.RuleText) string {
	if r.Name == "" {
		return r.Text
	}
	return r.Name + ": " + r.Text
}

// listLines is a table with a line for each rule.
func listLines(all []run.Attached, verbose bool) []string {
	replies := slices.ContainsFunc(all, func(p run.Attached) bool { return p.Replies != nil })
	rows := [][]string{{"INTERFACE", "DIRECTION", "HOOK", "UNTIL", "PKTS", "BYTES", "RULES"}}
	if replies {
		rows[0] = slices.Insert(rows[0], 6, "REPLIES")
	}
	for _, p := range all {
		where := []string{p.Interface, directions(p), hooks(p), until(p)}
		row := func(packets, bytes, answered, text string) {
			cells := []string{packets, bytes, answered, text}
			if !replies {
				cells = []string{packets, bytes, text}
			}
			rows = append(rows, slices.Concat(where, cells))
			where = []string{"", "", "", ""}
		}
		if !acting(p) {
			row("", "", "", "no rules: all packets pass")
		}
		for _, r := range p.Rules {
			text, answered := ruleWords(r.RuleText), ""
			if r.Gone {
				text = "not confirmed: " + text
			}
			if r.HasReplies {
				answered = strconv.FormatUint(r.Replies, 10)
			}
			row(strconv.FormatUint(r.Matched, 10), strconv.FormatUint(r.MatchedBytes, 10), answered, text)
		}
		if v := p.Revert; v != nil && !v.Over {
			for _, line := range beforeLines(v) {
				row("", "", "", line)
			}
		}
		for _, s := range p.Skipped {
			row(strconv.FormatUint(s.Packets, 10), "", "", "skipped: "+s.Why)
		}
		if p.Flows != nil {
			row("", "", "", "flows: "+flowsText(*p.Flows))
		}
		if verbose {
			for _, line := range originLines(p) {
				row("", "", "", line)
			}
		}
	}
	if replies {
		return columns(rows, 4, 5, 6)
	}
	return columns(rows, 4, 5)
}

// directions are the direction of rules and that of their replies.
func directions(p run.Attached) string {
	if p.Replies == nil {
		return p.Direction.String()
	}
	return fmt.Sprintf("%s, replies %s", p.Direction, p.Replies.Direction)
}

// hooks are the hook of rules and that of their replies.
func hooks(p run.Attached) string {
	switch {
	case p.Replies == nil:
		return p.Hook.String()
	case p.Missing == run.RulesPart:
		return "none, " + p.Replies.Hook.String()
	}
	return fmt.Sprintf("%s, %s", p.Hook, p.Replies.Hook)
}
