package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
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
	name string
	run  func(options) (string, error)
}

func parts() []part {
	return []part{
		{"count", countPart},
		{"time", timePart},
		{"start", startPart},
		{"stream", streamPart},
		{"tables", tablesPart},
		{"live", livePart},
	}
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/repacket", "the command to start")
	flag.StringVar(&o.rule, "rule", "", "count and time this rule only")
	flag.IntVar(&o.rounds, "rounds", 15, "rounds of measuring nanoseconds")
	flag.IntVar(&o.starts, "starts", 25, "how often each command is started")
	flag.Usage = func() {
		_, _ = fmt.Fprintf(flag.CommandLine.Output(), "bench [flags] [part]...\nparts: %s; all of them if none is named\n", partNames())
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := report(os.Stdout, o, flag.Args()); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

// report prints the parts that are asked for, or all of them.
func report(w io.Writer, o options, asked []string) error {
	for _, name := range asked {
		if !slices.ContainsFunc(parts(), func(p part) bool { return p.name == name }) {
			return fmt.Errorf("there is no part %q, only %s", name, partNames())
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("loading programs into the kernel takes root")
	}
	for _, p := range parts() {
		if len(asked) > 0 && !slices.Contains(asked, p.name) {
			continue
		}
		text, err := p.run(o)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
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
