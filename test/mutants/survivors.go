package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// survivorsFile lists the faults that no test notices, and why: its place in
// the module.
const survivorsFile = "test/mutants/survivors.txt"

// sameThing begins the reason of a fault that is none: whatever arrives, the
// program does the same, only perhaps more slowly. Such faults do not count.
const sameThing = "same:"

func readSurvivors(root string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(root, survivorsFile))
	if err != nil {
		return nil, err
	}
	return parseSurvivors(string(text))
}

// parseSurvivors reads the list: blocks with an empty line between them, each
// a fault as it prints itself in three lines, then the reason. Lines that
// begin with # are remarks.
func parseSurvivors(text string) (map[string]string, error) {
	out := map[string]string{}
	for _, block := range strings.Split(text, "\n\n") {
		var lines []string
		for _, l := range strings.Split(strings.Trim(block, "\n"), "\n") {
			if l != "" && !strings.HasPrefix(l, "#") {
				lines = append(lines, l)
			}
		}
		if len(lines) == 0 {
			continue
		}
		if len(lines) < 4 || !strings.HasPrefix(lines[1], "- ") || !strings.HasPrefix(lines[2], "+ ") {
			return nil, fmt.Errorf("%s: not a place, a line with -, a line with + and a reason:\n%s", survivorsFile, block)
		}
		fault := strings.Join(lines[:3], "\n")
		if _, twice := out[fault]; twice {
			return nil, fmt.Errorf("%s: listed twice:\n%s", survivorsFile, fault)
		}
		out[fault] = strings.Join(lines[3:], " ")
	}
	return out, nil
}
