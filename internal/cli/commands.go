package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

// commands is the tree of commands. Each takes its flags from the one table.
func (a *app) commands() *cobra.Command {
	root := a.command(&cobra.Command{
		Use:   "repacket [flags] RULES",
		Short: "Rewrite header fields of live packets",
		Long:  rootHelp + showTopics(),
		RunE:  func(_ *cobra.Command, words []string) error { return a.run(words) },
	}, whereFlags, startFlags, ruleFlags, []string{"version"})
	root.AddCommand(
		a.command(&cobra.Command{
			Use:   "attach [flags] RULES",
			Short: "Give rules to an interface, where they stay after the command has ended",
			RunE:  func(_ *cobra.Command, words []string) error { return a.attach(words, false) },
		}, whereFlags, startFlags, ruleFlags),
		a.replaceCommand(),
		a.command(&cobra.Command{
			Use:   "detach [flags]",
			Short: "Take the rules off an interface",
			RunE:  func(_ *cobra.Command, words []string) error { return a.detach(words) },
		}, whereFlags),
		a.command(&cobra.Command{
			Use:   "list [flags]",
			Short: "Show the rules that are on interfaces",
			RunE:  func(_ *cobra.Command, words []string) error { return a.list(words) },
		}, whereFlags),
		a.command(&cobra.Command{
			Use:   "check [flags] RULES",
			Short: "Say whether rules are valid and what they do; needs no privilege",
			RunE:  func(_ *cobra.Command, words []string) error { return a.check(words) },
		}, whereFlags, startFlags, ruleFlags),
		a.command(&cobra.Command{
			Use:   "verify [flags] RULES",
			Short: "Prove in the kernel that the program does what the rules say",
			RunE:  func(_ *cobra.Command, words []string) error { return a.verify(words) },
		}, proofFlags, ruleFlags),
		a.command(&cobra.Command{
			Use:   "compile [flags] RULES",
			Short: "Show the program that the rules become",
			RunE:  func(_ *cobra.Command, words []string) error { return a.compile(words) },
		}, emitFlags, ruleFlags),
		a.command(&cobra.Command{
			Use:   "fields [NAME]",
			Short: "List the header fields, or tell all about one",
			RunE:  func(_ *cobra.Command, words []string) error { return a.fields(words) },
		}),
		a.doctorCommand(),
		a.command(&cobra.Command{
			Use:   "version",
			Short: "Show the version",
			RunE:  func(_ *cobra.Command, words []string) error { return a.version(words) },
		}),
	)
	if a.env.Demo != nil {
		root.AddCommand(a.command(&cobra.Command{
			Use:   "demo",
			Short: "Watch a rule rewrite real packets, in throw-away network namespaces",
			RunE:  func(_ *cobra.Command, words []string) error { return a.demo(words) },
		}))
	}
	return root
}

// command completes a command: words and errors are left to this package, and
// its groups of flags noted.
func (a *app) command(c *cobra.Command, groups ...[]string) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.Example = examples[c.Name()]
	c.SilenceErrors, c.SilenceUsage = true, true
	c.DisableFlagsInUseLine = true
	c.SetOut(a.env.Stdout)
	c.SetErr(a.env.Stderr)
	a.takes[c] = slices.Concat(append(groups, everyFlags)...)
	return c
}

// ownFlags are flags that a command takes in a way of its own: what its help
// says of them, which then names no default.
var ownFlags = map[string]map[string]string{
	"list":    {"interface": "show `IFACE` alone", "direction": "show this `DIRECTION` alone: in or out"},
	"doctor":  {"interface": "look at `IFACE` alone"},
	"compile": {"hook": "make the program for `HOOK`: tc; all others are XDP"},
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

// noWords refuses words behind a command that takes none.
func noWords(command string, words []string) error {
	if len(words) > 0 {
		return usage("repacket "+command+" --help", "%s takes no %q", command, words[0])
	}
	return nil
}
