package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	binary string
	rule   string
	rounds int
	starts int
}

// part is one of the tables.
type part struct {
	name    string
	run     func(options) (string, error)
	tools   []string // of others, that it needs
	command bool     // it starts the command
}

func parts() []part {
	return []part{
		{"count", countPart, []string{"clang"}, false},
		{"time", timePart, []string{"clang"}, false},
		{"start", startPart, []string{"clang", "nft"}, true},
		{"tables", tablesPart, nil, false},
		{"why", whyPart, nil, false},
		{"live", livePart, []string{"nft"}, true},
		{"replies", repliesPart, []string{"nft", "iperf3"}, true},
		{"throughput", throughputPart, []string{"iperf3"}, true},
		{"show", showPart, nil, true},
		{"ping", pingPart, []string{"tcpdump"}, true},
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == senderWord {
		exit(senderMain(os.Stdout, os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == serverWord {
		exit(serverMain(os.Args[2:]))
	}
	o := options{}
	asked := ""
	flag.StringVar(&asked, "part", "", "the `parts` to run, with commas between them; all of them if none is named")
	flag.StringVar(&o.binary, "binary", "bin/repacket", "the command to start")
	flag.StringVar(&o.rule, "rule", "", "count and time this rule only")
	flag.IntVar(&o.rounds, "rounds", 15, "rounds of measuring; ping does up to 16 times as many")
	flag.IntVar(&o.starts, "starts", 25, "how often each command is started")
	flag.Usage = func() {
		_, _ = fmt.Fprintf(flag.CommandLine.Output(), "bench [flags]\nparts: %s\n", partNames())
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		exit(fmt.Errorf("%q is no flag\n  hint: bench -part %s", flag.Arg(0), strings.Join(flag.Args(), ",")))
	}
	exit(report(os.Stdout, o, asked))
}

// exit ends the process, with the error if there is one.
func exit(err error) {
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// report prints the parts that are asked for, or all of them.
func report(w io.Writer, o options, asked string) error {
	list, err := askedParts(asked)
	if err != nil {
		return err
	}
	if o.rounds < 1 || o.starts < 1 {
		return errors.New("-rounds and -starts are at least 1")
	}
	if os.Geteuid() != 0 {
		return errors.New("loading programs into the kernel takes root")
	}
	if err := errors.Join(checkTools(list, exec.LookPath), checkBinary(o, list)); err != nil {
		return err
	}
	text, err := machine(time.Now())
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(w, text); err != nil {
		return err
	}
	for _, p := range list {
		text, err := p.run(o)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if _, err := fmt.Fprintf(w, "\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

// askedParts are the parts whose names stand in the list, in their own order; all for
// an empty one.
func askedParts(asked string) (list []part, err error) {
	if asked == "" {
		return parts(), nil
	}
	names := strings.Split(asked, ",")
	for _, p := range parts() {
		if i := slices.Index(names, p.name); i >= 0 {
			list, names = append(list, p), slices.Delete(names, i, i+1)
		}
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("there is no part %q, only %s", names[0], partNames())
	}
	return list, nil
}

func partNames() string { return names(parts(), func(p part) string { return p.name }) }

// prepare gives the rules that are asked for, and a compiler to be closed.
func prepare(o options) ([]*benchRule, *compiler, error) {
	rules, err := benchRules()
	if err != nil {
		return nil, nil, err
	}
	if o.rule != "" {
		all := rules
		rules = slices.DeleteFunc(slices.Clone(all), func(r *benchRule) bool { return r.name != o.rule })
		if len(rules) == 0 {
			return nil, nil, fmt.Errorf("there is no rule %q, only %s", o.rule, names(all, func(r *benchRule) string { return r.name }))
		}
	}
	cc, err := newCompiler()
	return rules, cc, err
}

// names lists the names of things.
func names[T any](list []T, name func(T) string) string {
	var out []string
	for _, x := range list {
		out = append(out, name(x))
	}
	return strings.Join(out, ", ")
}
