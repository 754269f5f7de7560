package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"repacket/internal/journal"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// Log takes lines for the system's log, and never waits.
type Log interface {
	Write(p journal.Priority, message string, fields ...journal.Field)
}

// systemLog is the log of this machine, or nil.
func systemLog() Log {
	if l := journal.Open(); l != nil {
		return l
	}
	return nil
}

// What is logged, as REPACKET_EVENT calls it.
const (
	logStart   = "start"
	logAttach  = "attach"
	logReplace = "replace"
	logConfirm = "confirm"
	logRevert  = "revert"
	logDetach  = "detach"
	logEnd     = "end"
	logRefuse  = "refuse"
)

// logger is what a command has to say in the system's log; nil says nothing.
type logger struct {
	log Log
	by  *run.Origin // with names
	// refuses: the command changes something, so its failure is a refusal, unless began is true:
	// then it is the end of a run.
	refuses, began bool
	target         run.Target
}

// openLog connects to the system's log for a command that changes something, or that shows what
// has changed. That is done first: later a run has no right to open anything.
func (a *app) openLog(command string) {
	changes := slices.Contains([]string{"", "attach", "replace", "confirm", "detach"}, command) && a.opt.read == ""
	if a.env.Log == nil || !changes && command != "list" {
		return
	}
	log := a.env.Log()
	if log == nil {
		return
	}
	a.logger = &logger{log: log, refuses: changes, target: run.Target{Interface: a.opt.iface, Direction: a.opt.dir}}
	if a.by != nil {
		a.logger.by = a.named(a.by)
	}
}

// write writes a line about rules on a target.
func (l *logger) write(p journal.Priority, event string, t run.Target, text string, more ...journal.Field) {
	if l == nil {
		return
	}
	fields := append([]journal.Field{
		{Name: "REPACKET_EVENT", Value: event},
		{Name: "INTERFACE", Value: t.Interface},
		{Name: "REPACKET_DIRECTION", Value: t.Direction.String()},
	}, more...)
	if l.by != nil {
		text += "; by " + who(l.by)
		fields = append(fields,
			journal.Field{Name: "REPACKET_COMMAND", Value: l.by.Command},
			journal.Field{Name: "REPACKET_SUDO_UID", Value: decimal(l.by.SudoUID)},
			journal.Field{Name: "REPACKET_LOGIN_UID", Value: decimal(l.by.LoginUID)},
		)
	}
	where := t.Interface
	if where == "" {
		where = "no interface"
	}
	l.log.Write(p, fmt.Sprintf("%s%s: %s", where, leaving(t.Direction), text), fields...)
}

func decimal(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// attached tells of rules that act from now on.
func (l *logger) attached(event, did string, to run.Attachment, p *rule.Program) {
	if l == nil {
		return
	}
	var words []string
	for _, r := range ruleTexts(p) {
		words = append(words, ruleWords(r))
	}
	did += " at " + to.Hook.String()
	if to.RevertAfter > 0 {
		did += fmt.Sprintf(", to go back in %v unless confirmed", to.RevertAfter)
	}
	l.write(journal.Notice, event, to.Target, did+": "+shortened(words),
		journal.Field{Name: "REPACKET_HOOK", Value: to.Hook.String()},
		journal.Field{Name: "REPACKET_RULES", Value: strings.Join(words, "\n")})
}

// messageRules is how many bytes of rules a message has; the field has more.
const messageRules = 512

// shortened are rules as part of a message.
func shortened(words []string) string {
	text := strings.Join(words, "; ")
	if len(text) <= messageRules {
		return text
	}
	return strings.ToValidUTF8(text[:messageRules], "") + fmt.Sprintf("… (%d rules)", len(words))
}

// refused tells that nothing was changed, and why.
func (l *logger) refused(err error) {
	if l == nil || !l.refuses || l.began {
		return
	}
	l.refusal(l.target, err)
}

func (l *logger) refusal(t run.Target, err error) {
	message, _, _ := strings.Cut(err.Error(), "\n")
	l.write(journal.Warning, logRefuse, t, "refused: "+message, journal.Field{Name: "REPACKET_STATUS", Value: strconv.Itoa(status(err))})
}

// ended tells how a run has ended.
func (l *logger) ended(t run.Target, why string, counts run.Counts, err error) {
	if l == nil {
		return
	}
	var matched uint64
	for _, c := range counts.Rules {
		matched += c.Matched
	}
	p, text := journal.Notice, fmt.Sprintf("run ended (%s), %d pkts matched", why, matched)
	if err != nil {
		p = journal.Warning
		text += ": " + err.Error()
	}
	l.write(p, logEnd, t, text, journal.Field{Name: "REPACKET_STATUS", Value: strconv.Itoa(status(err))})
}

// reverted tells that rules went back which nobody had confirmed.
func (l *logger) reverted(t run.Target, at time.Time) {
	if l != nil {
		l.write(journal.Warning, logRevert, t, "nobody confirmed the rules: since "+at.Format(time.DateTime)+" those before act again")
	}
}

// noteReverts tells of rules on an interface, or with "" on any, that went back by themselves, with no
// process there to tell.
func (a *app) noteReverts(iface string) {
	if a.logger == nil {
		return
	}
	all, err := a.env.Kernel.List(iface)
	if err != nil {
		return // what is in the way will be told by what the command does next
	}
	a.tellReverts(all)
}

// tellReverts tells of those of rules that went back of which nobody has told. Of a run its process
// does.
func (a *app) tellReverts(all []run.Attached) {
	if a.logger == nil {
		return
	}
	for _, p := range all {
		if p.Revert != nil && p.Revert.Over && p.PID == 0 && a.env.Kernel.FirstTold(p.Target) {
			a.logger.reverted(p.Target, p.Revert.At)
		}
	}
}
