package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"repacket/internal/run"
)

// app is one call of the command.
type app struct {
	env   Env
	opt   options
	flags *pflag.FlagSet
	root  *cobra.Command
	takes map[*cobra.Command][]string // the names of the flags
	topic topic                       // what help was asked for, if it is no command's
	out   *output
	// shower shows the packets of a run, or is nil.
	shower *shower
	// given is the name of the command that was given, "" for a run.
	given string
	// by is who calls a command that changes something, or nil; logger writes to the system's log, or
	// is nil.
	by     *run.Origin
	logger *logger
}

// Run carries out the command line of env and returns the exit status.
func Run(env Env) int {
	a := newApp(env)
	err := a.execute()
	if err == nil {
		err = a.out.err
	}
	if err != nil {
		err = a.reported(err)
		a.out.fail(err)
		a.logger.refused(err)
	}
	return status(err)
}

func newApp(env Env) *app {
	a := &app{env: env, takes: map[*cobra.Command][]string{}}
	a.flags = newFlags(&a.opt)
	a.root = a.commands()
	return a
}

// execute sorts the words, sets the flags, and leaves the rest to the command.
func (a *app) execute() error {
	args := a.env.Args
	if len(args) > 0 && isShellCompletion(args[0]) {
		a.out = newOutput(a.env, &a.opt)
		if args[0] == "completion" && len(args) > 1 && !slices.Contains(shells, args[1]) && !strings.HasPrefix(args[1], "-") {
			return usage("repacket completion bash, zsh, fish or powershell", "there are no completions for %s", args[1])
		}
		return a.cobra(args)
	}
	if f := a.foreignLine(args); f != nil {
		a.out = newOutput(a.env, &a.opt)
		return f
	}
	l, err := sortWords(args, a.flags, a.isCommand)
	setErr := a.setFlags(&l)
	a.given = l.command
	a.out = newOutput(a.env, &a.opt)
	for _, e := range []error{err, a.wholeLine(&l), setErr, a.dryRun(&l), a.helpTopic(&l), a.takesFlags(&l)} {
		if e != nil {
			return e
		}
	}
	var command []string
	if l.command != "" {
		command = []string{l.command}
	}
	if a.topic.text != nil {
		a.out.printf("%s", a.topic.text())
		return nil
	}
	if a.opt.help {
		return a.cobra(append([]string{"help"}, command...))
	}
	for _, check := range []func() error{a.checkFile, a.opt.checkValues} {
		if err := check(); err != nil {
			return err
		}
	}
	if a.opt.backend == "clang" && a.env.Elevated {
		return usage("sudo repacket …, or leave out --backend: the built-in compiler needs no other program",
			"--backend clang executes a program, which a process does not do whose privileges are not its caller's own (set-uid, capabilities)")
	}
	return a.carryOut(&l)
}

// carryOut runs the command. Cobra would sort words and flags once more.
func (a *app) carryOut(l *line) error {
	cmd, _, err := a.root.Find([]string{l.command})
	if err != nil {
		return err
	}
	if l.command != "list" {
		a.by = a.origin()
	}
	a.openLog(l.command)
	return cmd.RunE(cmd, l.words)
}

// shells are those that cobra writes completions for.
var shells = []string{"bash", "zsh", "fish", "powershell"}

// isShellCompletion tells the words that belong to cobra alone: the request
// of a shell, and the command that prints a shell's script.
func isShellCompletion(word string) bool {
	return word == "completion" || strings.HasPrefix(word, cobra.ShellCompRequestCmd)
}

// cobra lets cobra sort words and flags by itself, and write helps and scripts.
func (a *app) cobra(args []string) error {
	a.tellFlags()
	a.completions(a.root)
	a.root.SetArgs(args)
	return a.root.Execute()
}

// isCommand knows the commands.
func (a *app) isCommand(word string) bool {
	return word == "help" || slices.ContainsFunc(a.root.Commands(), func(c *cobra.Command) bool {
		return c.Name() == word
	})
}

// setFlags gives the flags their values, and turns those that stand for a
// command into it.
func (a *app) setFlags(l *line) error {
	var first error
	given := map[string]string{}
	for _, g := range l.flags {
		before, twice := given[g.flag.Name]
		if given[g.flag.Name] = g.value; twice && before != g.value && first == nil && g.flag.Value.Type() != "stringArray" {
			first = usage("leave one of the two out", "%s is given twice: %s and %s", g.typed, before, g.value)
		}
		if err := a.flags.Set(g.flag.Name, g.value); err != nil && first == nil {
			first = usage("", "%s takes true or false, not %q", g.typed, g.value)
		}
	}
	for _, alias := range []struct {
		given   bool
		command string
	}{{a.opt.attach, "attach"}, {a.opt.detach, "detach"}, {a.opt.version, "version"}} {
		switch {
		case !alias.given:
		case l.command == "" || l.command == alias.command:
			l.command = alias.command
		case first == nil:
			first = usage("", "both %s and %s", l.command, alias.command)
		}
	}
	return first
}

// helpTopic reads "help COMMAND" as "COMMAND --help".
func (a *app) helpTopic(l *line) error {
	if l.command != "help" {
		return nil
	}
	a.opt.help, l.command = true, ""
	if len(l.words) == 0 {
		return nil
	}
	word := l.words[0]
	if found, ok := topicByName(word); ok {
		a.topic = found
		return nil
	}
	if !a.isCommand(word) && word != "completion" { // which is cobra's
		if command := a.mistyped([]string{word}); command != nil {
			return command
		}
		return usage("repacket --help lists the commands", "unknown command %q", word)
	}
	l.command = word
	return nil
}

// takesFlags rejects flags that the command has no use for.
func (a *app) takesFlags(l *line) error {
	cmd, _, err := a.root.Find([]string{l.command})
	if err != nil {
		return nil
	}
	for _, g := range l.flags {
		if !g.flag.Hidden && g.flag.Name != "version" && !slices.Contains(a.takes[cmd], g.flag.Name) {
			return a.notTaken(l, g)
		}
	}
	return nil
}

// notTaken is the failure of a flag that a command has no use for.
func (a *app) notTaken(l *line, g givenFlag) error {
	command, help := l.command, "repacket "+l.command+" --help lists its flags"
	if command == "" {
		command, help = "a run", "repacket --help lists its flags"
	}
	var takers []string
	for c, names := range a.takes {
		if slices.Contains(names, g.flag.Name) {
			takers = append(takers, c.Name())
		}
	}
	switch {
	case slices.Contains(fileFlags, g.flag.Name):
		help = "a run works on a file: repacket -r FILE -w FILE RULES"
	case len(takers) == 1:
		help = g.typed + " is for repacket " + takers[0]
	}
	return usage(help, "%s means nothing to %s", g.typed, command)
}

// mistyped takes the first word of rules that are refused for a command, if
// there is one like it.
func (a *app) mistyped(words []string) error {
	if len(words) == 0 {
		return nil
	}
	word := words[0]
	names := []string{"help"}
	for _, c := range a.root.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	for _, t := range topics {
		names = append(names, t.name)
	}
	near := otherNames[strings.ToLower(word)]
	if near == "" {
		near = nearest(strings.ToLower(word), names)
	}
	if _, ok := topicByName(near); ok {
		near = "help " + near
	}
	if near != "" {
		return usage(fmt.Sprintf("did you mean repacket %s?", near), "unknown command %q", word)
	}
	return nil
}

// target is what -i and -Q name; without -i it is the interface of the default route.
func (a *app) target() (run.Target, error) {
	t := run.Target{Interface: a.opt.iface, Direction: a.opt.dir}
	if t.Interface == "" {
		name, err := a.env.Kernel.DefaultInterface()
		if err != nil {
			return t, err
		}
		t.Interface = name
		a.out.status("%s: the interface of the default route (choose with -i)", name)
	}
	return t, nil
}
