package cli

import (
	"fmt"

	"repacket/internal/bpf"
	"repacket/internal/bpf/flowtable"
	"repacket/internal/csource"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// compile shows the program that the rules become. It needs no privilege.
func (a *app) compile(words []string) error {
	if a.out.json {
		return usage("without --json it goes to stdout as it is", "a program is not JSON")
	}
	program, err := a.program(words)
	if err != nil {
		return err
	}
	redirect, err := a.redirects(program)
	if err != nil {
		return err
	}
	tc := a.opt.at == run.TC
	oneOfTwo := program.Replies != nil && !a.opt.replies
	switch {
	case a.opt.replies && program.Replies == nil:
		return usage("leave out --replies, or write replies behind the actions of a rule", "no rule has replies")
	case a.opt.replies:
		program, tc = program.Replies, true // they leave, and XDP sees none that do
	}
	if program.Tracks() && a.opt.emit == "object" {
		return usage("--emit c has a map that both can be given, and clang makes an object of it",
			"rules with replies tracked cannot be written as an object: two objects have no table of flows in common")
	}
	text, err := emit(program, a.opt.emit, tc, redirect)
	if err != nil {
		return err
	}
	if oneOfTwo {
		a.out.status("replies have a program of their own, for packets that leave: --replies shows it")
	}
	if a.opt.output != "" {
		if err := a.writeFile(a.opt.output, text); err != nil { // what was there is gone, even if there is no room
			return &Failure{Status: exitFailed, Err: fmt.Errorf("write the program: %w", err)}
		}
		if a.opt.emit == "object" {
			a.out.status("%s", loading(a.opt.output, tc, a.opt.replies))
		}
		return nil
	}
	if a.opt.emit == "object" && a.env.IsTerminal(a.env.Stdout) {
		return usage("-o repacket.o, or > repacket.o", "an object file is not for a terminal")
	}
	_, err = a.out.Write(text)
	return err
}

// loading is the line that attaches an object file without Repacket.
func loading(file string, tc, leaving bool) string {
	if !tc {
		return "to attach it: ip link set dev IFACE xdp obj " + shellWord(file) + " sec xdp"
	}
	direction := "ingress"
	if leaving {
		direction = "egress"
	}
	return "to attach it: tc qdisc add dev IFACE clsact; tc filter add dev IFACE " + direction + " bpf direct-action obj " + shellWord(file) + " sec tc"
}

// redirects are the numbers of the interfaces that rules redirect to. C can be
// written without: it says then what is missing.
func (a *app) redirects(p *rule.Program) (map[string]int, error) {
	numbers := map[string]int{}
	for _, r := range p.Rules {
		if r.Verdict != rule.ToInterface {
			continue
		}
		n, err := a.env.Kernel.Interface(r.Redirect)
		switch {
		case err == nil:
			numbers[r.Redirect] = n
		case a.opt.emit != "c":
			return nil, err
		}
	}
	return numbers, nil
}

// emit is the program as C, as a listing, or as an ELF object, for tc or for
// XDP.
func emit(p *rule.Program, form string, tc bool, redirect map[string]int) ([]byte, error) {
	planned, err := planFor(p, form)
	if err != nil {
		return nil, err
	}
	inC := csource.Options{Interfaces: redirect}
	const ticks = 250 // of the kernel that runs it: here it is a listing
	o := bpf.Options{
		Rules: len(p.Written), Redirect: redirect,
		Flows: flowtable.Table{Flows: run.DefaultFlows, Ticks: ticks, Ordered: true},
	}
	counters := len(p.Written)
	if tc {
		counters += bpf.ReasonCount
		inC.Hook, o.Hook = csource.TC, bpf.TC
	}
	if form == "c" {
		return []byte(csource.Print(p, planned, inC)), nil
	}
	program, err := bpf.Annotate(planned, o)
	if err != nil {
		return nil, err
	}
	if form == "object" {
		return program.ELF(counters)
	}
	rules := make([]string, len(p.Written))
	for i, w := range p.Written {
		rules[i] = w.Text
	}
	return []byte(program.Disassemble(rules)), nil
}

// planFor plans a program for a form. Only our own program has tables, and only
// where its maps are made with it.
func planFor(p *rule.Program, form string) (*plan.Program, error) {
	if form == "asm" {
		return plan.BuildTables(p, field.Ethernet)
	}
	written, err := plan.WrittenOut(p)
	if err != nil {
		return nil, err
	}
	return plan.BuildOneByOne(written, field.Ethernet)
}
