package main

import (
	"fmt"
	"slices"
)

// cpus are the instruction sets that clang is asked for: its default, and the
// one with 32-bit arithmetic that the kernel has had since Linux 5.1.
var cpus = []string{"generic", "v3"}

// contestants are the programs of one rule that do the same: ours, and C by
// cpus.
type contestants []*program

func (c contestants) close() {
	for _, p := range c {
		p.close()
	}
}

// load loads the programs of a rule and proves that they mean the same.
func load(r *benchRule, cc *compiler, what counting) (_ contestants, err error) {
	var out contestants
	defer func() {
		if err != nil {
			out.close()
		}
	}()
	names := []string{"ours"}
	p, err := ours(r, what)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.text, err)
	}
	out = append(out, p)
	for _, cpu := range cpus {
		p, err := cc.load(r, cpu, what)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.text, err)
		}
		out, names = append(out, p), append(names, "C for "+cpu)
	}
	for i, p := range out {
		if err := agree(r, p); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", r.text, names[i], err)
		}
	}
	return out, nil
}

// counts are the instructions executed for one packet, by program.
type counts struct {
	packet string
	n      []int // ours, then C by cpus
}

// more is by how many instructions ours is behind the best C, or 0.
func (c counts) more() int { return max(0, c.n[0]-slices.Min(c.n[1:])) }

// count counts for every packet of a rule.
func count(r *benchRule, cc *compiler, what counting) ([]counts, error) {
	programs, err := load(r, cc, what)
	if err != nil {
		return nil, err
	}
	defer programs.close()
	var out []counts
	for _, p := range r.packets {
		row := counts{packet: p.name}
		for _, prog := range programs {
			n, err := executed(prog, p.frame)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.text, err)
			}
			row.n = append(row.n, n)
		}
		out = append(out, row)
	}
	return out, nil
}

// countPart shows the instructions executed for every rule and packet.
func countPart(o options) (string, error) {
	rules, cc, err := prepare(o)
	if err != nil {
		return "", err
	}
	defer cc.close()
	t := table{words: 2}
	t.add("", "", "one buffer:", "C for", "C for", "several:", "C for", "C for")
	t.add("rule", "packet", "ours", cpus[0], cpus[1], "ours", cpus[0], cpus[1])
	legend := table{words: 2}
	for _, r := range rules {
		one, err := count(r, cc, countFirst)
		if err != nil {
			return "", err
		}
		several, err := count(r, cc, countAll)
		if err != nil {
			return "", err
		}
		title := r.name
		for i := range one {
			cells := []any{title, one[i].packet}
			for _, n := range slices.Concat(one[i].n, several[i].n) {
				cells = append(cells, n)
			}
			t.add(append(cells, behind(one[i], several[i]))...)
			title = ""
		}
		legend.add(r.name, r.text)
	}
	return fmt.Sprintf("Instructions executed for one packet. Proved before they are counted: each program makes the same\n"+
		"bytes and counters of %d random packets as the reference, in the kernel and in the machine that counts.\n\n%s\n%s",
		frames, &t, &legend), nil
}

// behind marks a row in which C executes less.
func behind(rows ...counts) string {
	for _, row := range rows {
		if row.more() > 0 {
			return fmt.Sprintf("ours: %d more", row.more())
		}
	}
	return ""
}
