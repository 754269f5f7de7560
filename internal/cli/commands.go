package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

// commands is the tree of commands. Each takes its flags from the one table.
func (a *app) commands() *cobra.Command {
	root := a.command("repacket [flags] RULES", "Rewrite header fields of live packets", a.run, whereFlags, startFlags, backFlags, guardFlags, showFlags, metricsFlags, fileFlags, ruleFlags, onceFlags, []string{"version"})
	root.Long = rootHelp + showTopics()
	replace := a.command("replace [flags] RULES", "Put rules in the place of those that are attached, without a gap",
		func(words []string) error { return a.attach(words, true) }, whereFlags, startFlags, backFlags, guardFlags, showFlags, ruleFlags)
	replace.Long = replaceHelp
	confirm := a.command("confirm [flags]", "Let rules stay that would go back (--revert-after)", wordless("confirm", a.confirm), whereFlags)
	confirm.Long = confirmHelp
	top := a.command("top [flags]", "Watch what rules do, the busiest first", wordless("top", a.top), topFlags)
	top.Long = topHelp
	exporter := a.command("exporter [flags]", "Serve the counts of all rules for Prometheus", wordless("exporter", a.exporter), metricsFlags)
	exporter.Long = exporterHelp
	root.AddCommand(
		a.command("attach [flags] RULES", "Attach rules to an interface, where they stay after the command has ended",
			func(words []string) error { return a.attach(words, false) }, whereFlags, startFlags, backFlags, guardFlags, showFlags, ruleFlags),
		replace,
		confirm,
		a.command("detach [flags]", "Detach the rules from an interface", wordless("detach", a.detach), whereFlags),
		a.command("list [flags]", "Show the rules that are on interfaces", wordless("list", a.list), whereFlags, []string{"verbose"}),
		top,
		exporter,
		a.command("check [flags] RULES", "Say whether rules are valid and what they do; needs no privilege", a.check, whereFlags, startFlags, backFlags, guardFlags, showFlags, fileFlags, ruleFlags),
		a.command("verify [flags] RULES", "Test in the kernel that the program does what the rules say", a.verify, proofFlags, ruleFlags),
		a.command("compile [flags] RULES", "Show the program that the rules become", a.compile, emitFlags, ruleFlags),
		a.command("fields [NAME]", "List the header fields, or tell all about one", a.fields),
		a.command("doctor [flags]", "Say whether Repacket can work here, and what mends it where not; needs no privilege", wordless("doctor", a.doctor), ifaceFlags),
		a.command("version", "Show the version", wordless("version", a.version)),
	)
	if a.env.Demo != nil {
		root.AddCommand(a.command("demo", "Watch a rule rewrite real packets, in throw-away network namespaces", wordless("demo", a.demo)))
	}
	return root
}

// command makes a command: words and errors are left to this package, and its groups of
// flags noted.
func (a *app) command(use, short string, do func(words []string) error, groups ...[]string) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, RunE: func(_ *cobra.Command, words []string) error { return do(words) }, Args: cobra.ArbitraryArgs,
		SilenceErrors: true, SilenceUsage: true, DisableFlagsInUseLine: true,
	}
	c.Example = examples[c.Name()]
	c.SetOut(a.env.Stdout)
	c.SetErr(a.env.Stderr)
	a.takes[c] = slices.Concat(append(groups, everyFlags)...)
	return c
}

// wordless is a command that takes no words.
func wordless(command string, do func() error) func([]string) error {
	return func(words []string) error {
		if len(words) == 1 && slices.Contains([]string{"doctor", "list", "detach", "confirm"}, command) {
			return usage("", "%s takes no %q", command, words[0]).leadTo(commandLine(command, words[0], false, "", ""))
		}
		if len(words) > 0 {
			return usage("repacket "+command+" --help", "%s takes no %q", command, words[0])
		}
		return do()
	}
}

// ownFlags are flags that a command takes in a way of its own: what its help
// says of them, which then names no default.
var ownFlags = map[string]map[string]string{
	"list":     {"interface": "show `IFACE` alone", "direction": "show this `DIRECTION` alone: in or out"},
	"doctor":   {"interface": "look at `IFACE` alone"},
	"top":      {"interface": "show `IFACE` alone"},
	"exporter": {"metrics": "serve at `ADDR`: a port of 127.0.0.1, or ADDRESS:PORT (default 127.0.0.1:10473)"},
	"compile":  {"hook": "make the program for `HOOK`: tc; all others are XDP"},
}

// tellFlags tells cobra of the flags that each command takes from the table.
func (a *app) tellFlags() {
	for c, names := range a.takes {
		c.Flags().SortFlags = false
		for _, name := range names {
			flag := a.flags.Lookup(name)
			if usage, other := ownFlags[c.Name()][name]; other {
				own := *flag // the value is shared
				own.Usage, own.DefValue = usage, ""
				flag = &own
			}
			c.Flags().AddFlag(flag)
		}
	}
}
