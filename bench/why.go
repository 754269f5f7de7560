package main

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/hook"
	"repacket/internal/rule"
)

// whyCase is rules and a packet, for which --why is compared with the same rules without.
type whyCase struct {
	name, text string
	frame      []byte
}

// sixteenRules are as many as --why looks at, of two tests each; none takes the packet.
func sixteenRules() string {
	var list []string
	for i := range 16 {
		list = append(list, fmt.Sprintf("if ip_ttl ge %d udp_dest %d then ip_dscp ef", 2+i, 6000+i))
	}
	return strings.Join(list, " else ")
}

func whyCases() []whyCase {
	const one = "if udp_src 1000 then udp_dest 5202"
	udp, other := lookedForFrame(), frame(udpPorts(1001, 443))
	return []whyCase{
		{"matched", one, udp},
		{"another value", one, other},
		{"no such header", one, frame(syn())},
		{"16 rules, none matched", sixteenRules(), udp},
	}
}

// whyPart shows what it costs to count why rules do not act.
func whyPart(o options) (string, error) {
	t := table{words: 2}
	t.add("packet", "hook", "nothing", "without", "with --why", "more, ns", "with / without", "lowest", "highest")
	for _, c := range whyCases() {
		p, err := rule.Check(c.text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", c.name, err)
		}
		for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
			if err := addWhy(&t, p, c, h, o.rounds); err != nil {
				return "", fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return fmt.Sprintf("Nanoseconds for one packet with and without --why: BPF_PROG_TEST_RUN, slope as above, %d rounds in turn.\n"+
		"The first three have one rule, udp_src 1000; of a packet that it does not take the test and the value are counted.\n\n%s",
		o.rounds, &t), nil
}

// addWhy adds the row of a case at a hook.
func addWhy(t *table, p *rule.Program, c whyCase, h bpf.Hook, rounds int) error {
	load := func(why bool) func() (*program, error) {
		return func() (*program, error) {
			l, err := engine.Load(p, engine.LoadOptions{Hook: h, Why: why})
			if err != nil {
				return nil, err
			}
			return &program{prog: l.Program, close: func() { _ = l.Close() }}, nil
		}
	}
	idle := nothing
	name := "xdp"
	if h == bpf.TC {
		idle, name = nothingAtTC, "tc"
	}
	entrants := []*entrant{{name: "nothing", load: idle}, {name: "without", load: load(false)}, {name: "with", load: load(true)}}
	if err := measure(entrants, c.frame, rounds); err != nil {
		return err
	}
	without, with := entrants[1].ns, entrants[2].ns
	all := spreadOf(paired(with, without, func(a, b float64) float64 { return a / b }))
	row := []any{c.name, name, median(entrants[0].ns), median(without), median(with), over(with, without)}
	t.add(append(row, fmt.Sprintf("%.2f", all[0]), fmt.Sprintf("%.2f", all[1]), fmt.Sprintf("%.2f", all[2]))...)
	return nil
}

// nothingAtTC is a program for tc that does nothing.
func nothingAtTC() (*program, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: hook.ProgramName, Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm32(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	return &program{prog: prog, close: func() { _ = prog.Close() }}, nil
}
