package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// debianPackage is the Debian package of each tool that a part may need.
var debianPackage = map[string]string{
	"clang":   "clang libbpf-dev",
	"iperf3":  "iperf3",
	"nft":     "nftables",
	"tcpdump": "tcpdump",
}

// checkTools reports what the parts need and the machine does not have, and what
// to do about it. find looks a tool up as exec.LookPath does.
func checkTools(asked []part, find func(string) (string, error)) error {
	var lacking, packages, without []string
	for _, p := range asked {
		var missing []string
		for _, tool := range p.tools {
			if _, err := find(tool); err != nil {
				missing = append(missing, tool)
				packages = append(packages, debianPackage[tool])
			}
		}
		if len(missing) == 0 {
			without = append(without, p.name)
			continue
		}
		lacking = append(lacking, fmt.Sprintf("%s needs %s", p.name, strings.Join(missing, " and ")))
	}
	if len(lacking) == 0 {
		return nil
	}
	slices.Sort(packages)
	text := fmt.Sprintf("not installed: %s\n  hint: apt-get install %s", strings.Join(lacking, ", "), strings.Join(slices.Compact(packages), " "))
	if len(without) > 0 {
		text += fmt.Sprintf("\n  hint: without them: bench -part %s", strings.Join(without, ","))
	}
	return errors.New(text)
}

// checkBinary reports whether the command is there, for the parts that start it.
func checkBinary(o options, asked []part) error {
	if !slices.ContainsFunc(asked, func(p part) bool { return p.command }) {
		return nil
	}
	if _, err := exec.LookPath(o.binary); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("there is no %s\n  hint: make build", o.binary)
		}
		return err
	}
	return nil
}
