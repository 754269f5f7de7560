package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"repacket/internal/guard"
	"repacket/internal/run"
	"repacket/internal/spelling"
)

// options are the flags as given, before they are checked.
type options struct {
	iface, direction, hook string
	// dir, at, limit and lasts are what direction, hook, count and duration say, once
	// they have been checked; 0 is no limit.
	dir                    run.Direction
	at                     run.Hook
	limit                  uint64
	lasts                  time.Duration
	count, duration, flows string
	// reverts is when rules go back that are not confirmed, as given; back is what it says, or 0.
	reverts string
	back    time.Duration
	// tracked is what flows says, or 0.
	tracked                int
	color                  string
	verbose                level
	once, follow           bool
	quiet, json            bool
	help, version          bool
	attach, detach, dryRun bool
	file, read, write      string
	seed                   string
	random                 uint64 // what seed says
	comment                bool
	emit, output, backend  string
	hex                    bool
	snaplen                string
	snap                   int // what snaplen says
	// show, showRate and showEvery as given, then what they say; 0 is all.
	show, showRate, showEvery          string
	showMost, showPerSecond, showOneOf uint64
	replies                            bool
	why                                bool
	// metrics is where metrics are served, as given, and metricsAt what it says.
	metrics    string
	everywhere bool
	metricsAt  netip.AddrPort
	// protect names ends of connections, which ends are; lockout: to cut them off is meant.
	protect []string
	ends    []guard.End
	lockout bool
}

// Groups of flags, by the commands that take them.
var (
	everyFlags = []string{"quiet", "json", "color", "help"}
	whereFlags = []string{"interface", "direction"}
	ruleFlags  = []string{"file"}
	startFlags = []string{"hook", "count", "for", "flows", "backend"}
	backFlags  = []string{"revert-after"}
	onceFlags  = []string{"once", "follow"}
	showFlags  = []string{"verbose", "hex", "show", "show-rate", "show-every", "snaplen", "why"}
	fileFlags  = []string{"read", "write", "seed", "comment"}
	guardFlags = []string{"protect", "allow-lockout"}
	proofFlags = []string{"backend"}
	emitFlags  = []string{"emit", "output", "hook", "replies"}
)

// newFlags is the one table of flags: each command takes some of them, and
// none means something else elsewhere.
func newFlags(o *options) *pflag.FlagSet {
	f := pflag.NewFlagSet("repacket", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVarP(&o.iface, "interface", "i", "", "work on the packets of `IFACE` (default: that of the default route)")
	f.StringVarP(&o.direction, "direction", "Q", "in", "work on packets of this `DIRECTION`: in or out")
	f.StringVar(&o.hook, "hook", "auto", "attach at `HOOK`: auto, xdp (native), xdp-generic or tc")
	f.StringVarP(&o.file, "file", "f", "", "take the rules from `FILE`, - is stdin")
	f.BoolVar(&o.once, "once", false, "read the file of -f once: the run keeps no privilege to attach rules again, and SIGHUP ends it")
	f.BoolVar(&o.follow, "follow", false, "read the file of -f again whenever it changes; if it is wrong then, the rules before go on")
	f.StringVarP(&o.read, "read", "r", "", "work on the packets of the capture `FILE`, - is stdin")
	f.StringVarP(&o.write, "write", "w", "", "write packets to the capture `FILE`, - is stdout: those of -r, rewritten, or of a run both sides of each")
	f.StringVar(&o.seed, "seed", "", "draw the same random numbers each time, by the number `N`; with -r")
	f.BoolVar(&o.comment, "comment", false, "add the rule to each rewritten packet as a comment; with -r and -w, pcapng only")
	f.StringVarP(&o.count, "count", "c", "", "act on exactly `N` packets, then let all pass; a run ends")
	f.StringVar(&o.duration, "for", "", "act for this `DURATION` (30s, 5m), then let all pass; a run ends")
	f.StringVar(&o.reverts, "revert-after", "", "go back to what was done before after this `DURATION` (60s), unless: repacket confirm")
	f.StringVar(&o.flows, "flows", "", "track `N` flows at most, for rules with replies tracked (default 65536)")
	f.StringArrayVar(&o.protect, "protect", nil, "refuse rules that cut connections with `ADDRESS[:PORT]` off, as those of the ssh session; may be given again")
	f.BoolVar(&o.lockout, "allow-lockout", false, "attach also rules that cut off the ssh session, or what --protect names")
	f.StringVar(&o.backend, "backend", "builtin", "compile by `BACKEND`: builtin, or clang, which must be installed")
	f.StringVar(&o.emit, "emit", "asm", "show the program in this `FORM`: asm, c or object")
	f.StringVarP(&o.output, "output", "o", "", "write to `FILE` and not to stdout")
	f.BoolVar(&o.replies, "replies", false, "show the program for packets of the other direction, which serves replies")
	f.VarPF(&o.verbose, "verbose", "v", "show the packets on which rules act, before → after; -vv all their fields").NoOptDefVal = "true"
	f.BoolVarP(&o.hex, "hex", "x", false, "show the first bytes of the packets too")
	f.StringVarP(&o.snaplen, "snaplen", "s", "", "write the first `N` bytes of each packet to the file of -w (default: all)")
	f.StringVar(&o.show, "show", "", "show `N` packets and no more; more are rewritten")
	f.StringVar(&o.showRate, "show-rate", "", "show `N` packets a second at most (on a terminal: 1000)")
	f.StringVar(&o.showEvery, "show-every", "", "show one of `N` packets")
	f.BoolVar(&o.why, "why", false, "count why rules do not act on packets: which of their tests fails first")
	f.StringVar(&o.metrics, "metrics", "", "serve the counts for Prometheus at `ADDR`: a port of 127.0.0.1, or ADDRESS:PORT")
	f.BoolVar(&o.everywhere, "all-namespaces", false, "show the rules of all network namespaces")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "nothing on stderr but errors")
	f.BoolVarP(&o.json, "json", "j", false, "one JSON object a line on stdout, errors too")
	f.StringVar(&o.color, "color", "auto", "use colour `WHEN`: auto, always or never")
	f.BoolVarP(&o.help, "help", "h", false, "this text")
	f.BoolVarP(&o.version, "version", "V", false, "the version")

	f.BoolVarP(&o.attach, "attach", "a", false, "attach")
	f.BoolVarP(&o.detach, "detach", "d", false, "detach")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "refused")
	for _, name := range []string{"attach", "detach", "dry-run"} {
		f.Lookup(name).Hidden = true
	}
	return f
}

// limited says for how long an attached program acts, if there is a limit.
func (o *options) limited() string {
	switch {
	case o.count != "" && o.duration != "":
		return " (acts on " + o.count + " packets within " + o.duration + ", then lets all pass)"
	case o.count != "":
		return " (acts on " + o.count + " packets, then lets all pass)"
	case o.duration != "":
		return " (acts for " + o.duration + ", then lets all pass)"
	}
	return ""
}

// checkValues rejects what no command can do, whatever else was asked.
func (o *options) checkValues() error {
	for _, choice := range []struct{ flag, value, words string }{
		{"--color", o.color, "auto, always or never"},
		{"--backend", o.backend, "builtin or clang"},
		{"--emit", o.emit, "asm, c or object"},
	} {
		if !slices.Contains(strings.FieldsFunc(choice.words, isSeparator), choice.value) {
			return usage(choice.flag+" "+choice.words, "%s does not know %q", choice.flag, choice.value)
		}
	}
	if err := o.checkWhere(); err != nil {
		return err
	}
	if err := o.checkLimits(); err != nil {
		return err
	}
	if err := o.checkProtect(); err != nil {
		return err
	}
	if err := o.checkMetrics(); err != nil {
		return err
	}
	return o.checkShow()
}

// isSeparator reports what is between the words of a list; "or" is no value.
func isSeparator(r rune) bool { return r == ' ' || r == ',' }

// checkWhere rejects the interfaces, directions and hooks that are not one
// that Repacket can attach to.
func (o *options) checkWhere() error {
	if o.iface == "any" {
		return usage("one run for each interface: repacket -i eth0 RULES & repacket -i eth1 RULES",
			"-i any: rules are attached to one interface at a time")
	}
	if o.direction == "inout" {
		return usage("one run for each direction: repacket -Q in RULES & repacket -Q out RULES", "-Q inout: rules are attached to one direction at a time")
	}
	var ok bool
	if o.dir, ok = run.ParseDirection(o.direction); !ok {
		return usage("-Q in or -Q out", "-Q takes in or out, not %q", o.direction)
	}
	if o.at, ok = run.ParseHook(o.hook); !ok {
		return usage("--hook auto, xdp, xdp-generic or tc", "--hook does not know %q", o.hook)
	}
	return nil
}

// checkLimits reads -c, --for and --flows.
func (o *options) checkLimits() (err error) {
	if o.count != "" {
		if o.limit, err = strconv.ParseUint(o.count, 10, 64); err != nil || o.limit == 0 {
			return usage("-c 10", "-c takes a number of packets from 1 up, not %q", o.count)
		}
	}
	if o.lasts, err = parseDuration("--for", o.duration); err != nil {
		return err
	}
	if o.back, err = parseDuration("--revert-after", o.reverts); err != nil {
		return err
	}
	if o.flows != "" {
		if o.tracked, err = strconv.Atoi(o.flows); err != nil || o.tracked < 1 || o.tracked > run.MaxFlows {
			return usage("--flows 65536", "--flows takes a number of flows from 1 to %s, not %q", spelling.Thousands(run.MaxFlows), o.flows)
		}
	}
	if o.backend == "clang" && (o.limit > 0 || o.lasts > 0) {
		return usage("the built-in compiler keeps both: leave out --backend", "-c and --for do not work with --backend clang")
	}
	if o.backend == "clang" && o.back > 0 {
		return usage("the built-in compiler puts both sets of rules in one program: leave out --backend", "--revert-after does not work with --backend clang")
	}
	return nil
}

// parseDuration reads the duration of a flag; "" is 0.
func parseDuration(flag, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, usage(durationHint(flag, text), "%s takes a duration such as 30s, 5m or 24h, not %q", flag, text)
	case d <= 0:
		return 0, usage("", "%s takes a duration above 0, not %q", flag, text)
	}
	return d, nil
}

// durationHint guesses the unit that was left out.
func durationHint(flag, text string) string {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil && n > 0 {
		return "for seconds: " + flag + " " + text + "s"
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return fmt.Sprintf("in hours: %s %dh", flag, 24*n)
		}
	}
	return "the units are ms, s, m and h, up to 2000000h"
}
