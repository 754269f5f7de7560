package faults

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/programs"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(childArgs); args != "" {
		os.Exit(child(strings.Split(args, "\n")))
	}
	os.Exit(m.Run())
}

const ifname = "left"

// rules are what commands attach.
type rules struct {
	text     string
	programs int // one, or two for rules that have replies
}

// The rules that are attached, and those that take their place.
var (
	none       = rules{"", 0}
	oldRules   = rules{"if udp_dest 443 then udp_dest 8080", 1}
	newRules   = rules{"if udp_dest 53 then udp_dest 5353", 1}
	oldReplies = rules{"if udp_dest 443 then udp_dest 8080 replies", 2}
	newReplies = rules{"if udp_dest 53 then udp_dest 5353 replies", 2}
)

// hook is where rules are attached: by its word on the command line, on a kernel that
// is old or not.
type hook struct {
	name, word string
	old        bool
}

var hooks = []hook{{"xdp", "xdp", false}, {"tcx", "tc", false}, {"clsact", "tc", true}}

// command is one of those that the walk goes through.
type command struct {
	verb       string
	before, to rules // what is there before, and what the command attaches
	// judge says what is untrue of an outcome, or "".
	judge func(c command, o *outcome, before, after programs.State) string
}

var commands = []command{
	{"attach", none, oldRules, judgeAttach},
	{"replace", oldRules, newRules, judgeReplace},
	{"list", oldRules, none, judgeList},
	{"detach", oldRules, none, judgeDetach},
	{"run", none, oldRules, judgeRun},
	// The same with replies.
	{"attach", none, oldReplies, judgeAttach},
	{"replace", oldReplies, newReplies, judgeReplace},
	{"replace", oldRules, newReplies, judgeReplace},
	{"replace", oldReplies, newRules, judgeReplace},
	{"list", oldReplies, none, judgeList},
	{"detach", oldReplies, none, judgeDetach},
	{"run", none, oldReplies, judgeRun},
}

// name is the command's verb, and how many programs there are before and are attached.
func (c command) name() string {
	if !c.replies() {
		return c.verb
	}
	return fmt.Sprintf("%s, programs %d to %d", c.verb, c.before.programs, c.to.programs)
}

// replies reports whether the command has to do with rules that have replies.
func (c command) replies() bool { return max(c.before.programs, c.to.programs) > 1 }

// args are the command's words for a hook.
func (c command) args(hook string) []string {
	switch c.verb {
	case "list":
		return []string{"list", "--json"}
	case "detach":
		return []string{"detach", "--json", "-i", ifname}
	case "replace":
		return []string{"replace", "--json", "-i", ifname, c.to.text}
	case "run":
		return []string{"--json", "--hook", hook, "-i", ifname, c.to.text}
	}
	return []string{c.verb, "--json", "--hook", hook, "-i", ifname, c.to.text}
}

func judgeAttach(c command, o *outcome, before, after programs.State) string {
	switch {
	case o.status == 0 && len(after) != c.to.programs:
		return "the status is 0, and the rules are not there"
	case o.status != 0 && len(after) != len(before):
		return "the status says that it failed, and the rules are there"
	}
	return ""
}

func judgeReplace(c command, o *outcome, before, after programs.State) string {
	same := slices.EqualFunc(before, after, func(a, b programs.Program) bool { return a.ID == b.ID })
	kept := slices.ContainsFunc(before, func(a programs.Program) bool {
		return slices.ContainsFunc(after, func(b programs.Program) bool { return a.ID == b.ID })
	})
	switch {
	case o.status == 0 && len(after) != c.to.programs:
		return "there is not one set of rules"
	case o.status == 0 && kept:
		return "the status is 0, and old rules are there"
	case o.status != 0 && !same:
		return "the status says that it failed, and new rules are there"
	}
	return ""
}

func judgeList(_ command, o *outcome, before, after programs.State) string {
	rules, listed := o.told("program")
	switch {
	case !slices.EqualFunc(before, after, func(a, b programs.Program) bool { return a.ID == b.ID }):
		return "list has changed something"
	case o.status == 0 && (!listed || rules.Interface != ifname):
		return "the status is 0, and the rules are not listed"
	}
	return ""
}

func judgeDetach(_ command, o *outcome, _, after programs.State) string {
	detached, told := o.told("detached")
	switch {
	case o.status == 0 && len(after) != 0:
		return "the status is 0, and the rules are there"
	case o.status == 0 && (!told || !detached.Found):
		return "the rules were detached, and detach says that there were none"
	case o.status != 0 && len(after) == 0:
		return "the status says that it failed, and the rules are gone"
	}
	return ""
}

func judgeRun(c command, o *outcome, _, after programs.State) string {
	_, attached := o.told("attached")
	switch {
	case attached && len(o.during) != c.to.programs:
		return "the run says that its rules are attached, and they are not"
	case o.status == 0 && !attached:
		return "the status is 0, and the rules were never attached"
	case slices.ContainsFunc(after, func(p programs.Program) bool { return !p.Inert() }), o.status == 0 && len(after) != 0:
		return "the run is over, and something of it is there"
	}
	return ""
}

// honest says what is wrong with an exit status for an error: a call that failed this
// once makes no kernel too old, no interface unfit and no command wrong.
func honest(status int, errno unix.Errno) string {
	switch {
	case status == 0, status == 1:
	case status == 3 && errno == unix.EPERM:
	case status == 4 && errno == unix.ENOENT: // a file of the kernel is not there
	default:
		return fmt.Sprintf("status %d for %v", status, errno)
	}
	return ""
}

// totals are what the walk has found.
var totals struct{ faults, invisible, untrue atomic.Int64 }

// TestSingleFaults lets each system call of each command fail with each of the errors
// that it can meet, one in a run. It is an even sample of them for each command at
// each hook, or as many as REPACKET_FAULTS says: a number, or all.
func TestSingleFaults(t *testing.T) {
	needs.Kernel(t)
	t.Run("walk", func(t *testing.T) {
		for _, at := range hooks {
			for _, c := range commands {
				t.Run(at.name+" "+c.name(), func(t *testing.T) {
					t.Parallel()
					walk(t, c, at)
				})
			}
		}
	})
	var names []string
	for _, c := range commands {
		if !slices.Contains(names, c.verb) {
			names = append(names, c.verb)
		}
	}
	t.Logf("figure: %d single faults over %s: %d invisible, %d untrue",
		totals.faults.Load(), strings.Join(names, ", "), totals.invisible.Load(), totals.untrue.Load())
}

// sampled is how many faults of a command at a hook are tried where not all are.
func sampled(t *testing.T, c command) int {
	text := os.Getenv("REPACKET_FAULTS")
	switch text {
	case "":
		if needs.Few() {
			return 15
		}
		if c.replies() { // there are so many of these commands
			return 100
		}
		return 300
	case "all":
		return math.MaxInt
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("REPACKET_FAULTS: %v", err)
	}
	return n
}

// walk goes through the calls of a command at a hook.
func walk(t *testing.T, c command, at hook) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pair.Close(); err != nil {
			t.Error(err)
		}
	})
	w := walker{t, pair.A, c, at}
	none := w.try(fault{})
	if none.status != 0 {
		t.Fatalf("without a fault the status is %d:\n%s", none.status, none.output)
	}
	var all []fault
	for i, call := range none.calls {
		for way := range call.errnos {
			all = append(all, fault{i + 1, way})
		}
	}
	n := min(sampled(t, c), len(all))
	for i := range n {
		w.try(all[i*len(all)/n])
	}
	t.Logf("%d of %d faults at %d calls", n, len(all), len(none.calls))
}

type walker struct {
	t  *testing.T
	ns *lab.Namespace
	c  command
	at hook
}

// try executes the command with a fault and judges what has become of it.
func (w walker) try(f fault) *outcome {
	w.t.Helper()
	before, err := w.prepare()
	if err != nil {
		w.t.Fatalf("prepare: %v", err)
	}
	o, err := execute(w.ns, w.c.args(w.at.word), w.at, w.c.verb == "run", f)
	if err != nil {
		w.t.Fatalf("%v:\n%s", err, o.output)
	}
	var after programs.State
	if err := w.ns.Do(func() (err error) { after, err = programs.Look(ifname); return err }); err != nil {
		w.t.Fatal(err)
	}
	if f.number > len(o.calls) || f.number == 0 {
		return o // this time there were fewer calls
	}
	totals.faults.Add(1)
	errno := f.errno(o.calls[f.number-1])
	tell := func(what string) {
		w.t.Helper()
		w.t.Errorf("%s: call %d, %s, %v: %s\nstatus %d\nbefore %v\nafter  %v\n%s",
			w.c.name(), f.number, o.calls[f.number-1].what, errno, what, o.status, before, after, o.output)
	}
	for _, p := range slices.Concat(after, o.during) {
		stub := p.Inert() && w.c.verb == "run"
		if !p.Visible() && !stub {
			totals.invisible.Add(1)
			tell("a program that nobody sees")
			break
		}
	}
	var left string
	if err := w.ns.Do(func() (err error) { left, err = w.leftQdisc(o, after); return err }); err != nil {
		w.t.Fatal(err)
	}
	for _, untrue := range []string{w.c.judge(w.c, o, before, after), honest(o.status, errno), left} {
		if untrue != "" {
			totals.untrue.Add(1)
			tell(untrue)
		}
	}
	return o
}

// leftQdisc says that an empty qdisc is left, or "".
func (w walker) leftQdisc(o *outcome, after programs.State) (string, error) {
	there, err := programs.Qdisc(ifname)
	if err != nil || !there || len(after) > 0 {
		return "", err
	}
	return fmt.Sprintf("a qdisc is left, which was not there before (status %d)", o.status), nil
}

// prepare makes the interface what the command begins with.
func (w walker) prepare() (s programs.State, err error) {
	err = w.ns.Do(func() (err error) {
		s, err = programs.Look(ifname)
		if err != nil {
			return err
		}
		if err := programs.RemoveQdisc(ifname, len(s)); err != nil {
			return err
		}
		if len(s) == w.c.before.programs && !slices.ContainsFunc(s, func(p programs.Program) bool { return !p.Visible() || p.Inert() }) {
			return nil
		}
		if err := programs.Clear(ifname); err != nil {
			return err
		}
		s, err = programs.Look(ifname)
		return err
	})
	if err != nil || len(s) == w.c.before.programs {
		return s, err
	}
	attach := command{verb: "attach", to: w.c.before}
	o, err := execute(w.ns, attach.args(w.at.word), w.at, false, fault{})
	if err != nil {
		return nil, err
	}
	if o.status != 0 {
		return nil, errors.New(o.output)
	}
	err = w.ns.Do(func() (err error) { s, err = programs.Look(ifname); return err })
	return s, err
}
