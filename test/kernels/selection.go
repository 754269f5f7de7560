package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// leftOut is a test that needs a kernel but does not run on the others.
type leftOut struct {
	kernel string // as in 6.1; empty: all
	pkg    string // as in internal/hook
	test   string // empty: all of the package; behind a slash, a pattern of subtests
	reason string
}

func (l leftOut) String() string {
	name := strings.TrimSuffix(l.pkg+"."+l.test, ".")
	if l.kernel != "" {
		name += " on " + l.kernel
	}
	return name
}

// Why tests of GSO packets do not run on the lowest kernel: they send and see
// UDP's too, or more than 64 KiB. TCP's over the same ways are tested there.
const (
	superPackets = "raw sockets and tun know UDP's GSO packets since 6.2"
	bigPackets   = "BIG TCP over IPv4 came with 6.3"
)

// leaveOut is what does not run, each with the reason. An entry that names
// nothing that is there is an error.
var leaveOut = []leftOut{
	{"", "bench", "", "it counts instructions and takes times, which is for the machine that it runs on"},
	{"", "test/upgrade", "", "it builds an older version from the history of the repository"},
	{"", "test/chaos", "", "its random moments are those of a machine at full speed; test/faults walks through the same commands on every kernel"},
	{"", "test/lockout", "", "it needs a server of ssh; what the rules of a session meet is not the kernel's"},
	{"", "test/terminal", "", "tmux is not in the machine; a terminal is the same on every kernel"},
	{"", "internal/bpf", "TestEveryWord", "a million packets take a minute; the arithmetic is the same on every kernel"},
	{"", "internal/bpf", "TestNotation", "a verifier's log of 40 programs takes long; its words are those of one kernel"},
	{"", "internal/cli", "TestSavedForWireshark", "tshark, capinfos and tcpdump are not in the machine; what they read is the same on every kernel"},
	{"", "internal/cli", "TestUnit", "systemd is not in the machine; what it reads is the same on every kernel"},
	{"", "internal/cli", "TestManPagesLint", "mandoc is not in the machine; what it reads is the same on every kernel"},
	{"", "internal/cli", "TestManPageSaysWhatHelpSays", "mandoc is not in the machine; what it reads is the same on every kernel"},
	{"", "internal/csource", "TestLoopsClose", "it stands in for a kernel that refuses such loops; the others load them"},
	{"6.1", "test/testnet", "TestSuperPacketsStayWhole", superPackets},
	{"6.1", "test/testnet", "TestSuperPacketsAreCut", superPackets},
	{"6.1", "test/testnet", "TestSkbs", superPackets},
	{"6.1", "test/testnet", "TestTunOffloads", superPackets},
	{"6.1", "test/testnet", "TestRouterStreams", superPackets},
	{"6.1", "test/testnet", "TestBigTCP", bigPackets},
	{"6.1", "test/live", "TestEveryFieldOfSuperPackets", superPackets},
	{"6.1", "test/live", "TestSuperPacketsAndLimit", superPackets},
	{"6.1", "test/live", "TestStreams/^GSO_packets_all_the_way$/UDP_true$", superPackets},
	{"6.1", "test/live", "TestBigTCP/192.0.2.2:", bigPackets},
}

// packageArgs are what only one package's tests understand.
var packageArgs = map[string][]string{
	"internal/csource": {"-programs=4"},
}

// kernelImports are what tests that need a kernel depend on, one or the other.
// So a new package runs here without being written down anywhere.
var kernelImports = []string{"github.com/cilium/ebpf", "repacket/internal/lab"}

// kernelPackages lists the packages whose tests need a kernel.
func kernelPackages(ctx context.Context, root string) ([]string, error) {
	const format = `{{if .ForTest}}{{else}}{{.ImportPath}} {{join .Deps " "}}{{end}}`
	out, err := output(ctx, "go", "list", "-C", root, "-test", "-f", format, "./...")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		pkg, isTest := strings.CutSuffix(words[0], ".test")
		needs := func(i string) bool { return slices.Contains(words, i) }
		if isTest && slices.ContainsFunc(kernelImports, needs) {
			_, dir, _ := strings.Cut(pkg, "/") // the module's name has no slash
			found = append(found, dir)
		}
	}
	return found, nil
}

// selection is what runs and what does not.
type selection struct {
	packages []string // paths in the module, as in internal/hook
	leftOut  []leftOut
}

// choose takes what is asked for of all packages; if nothing is, all but what
// is to be left out.
func choose(all []string, leave []leftOut, o options) (selection, error) {
	for _, l := range leave {
		if !slices.Contains(all, l.pkg) {
			return selection{}, fmt.Errorf("%s is left out, but %s is no package with tests that need a kernel", l, l.pkg)
		}
	}
	var s selection
	if o.packages != "" {
		s.packages = strings.Split(o.packages, ",")
	} else {
		whole := func(p string) bool {
			return slices.ContainsFunc(leave, func(l leftOut) bool { return l.pkg == p && l.test == "" })
		}
		s.packages = slices.DeleteFunc(slices.Clone(all), whole)
	}
	for _, p := range s.packages {
		if !slices.Contains(all, p) {
			return selection{}, fmt.Errorf("%s is no package with tests that need a kernel: %s", p, strings.Join(all, " "))
		}
	}
	if len(s.packages) == 0 {
		return selection{}, errors.New("no package has tests that need a kernel")
	}
	if o.run == "" { // what is asked for by name runs
		s.leftOut = slices.DeleteFunc(slices.Clone(leave), func(l leftOut) bool {
			return o.packages != "" && (l.test == "" || !slices.Contains(s.packages, l.pkg))
		})
	}
	return s, nil
}

// skip is a pattern of a package's tests that are left out on a kernel, or "".
func (s selection) skip(pkg, kernel string) string {
	var names []string
	for _, l := range s.leftOut {
		if l.pkg == pkg && (l.kernel == "" || l.kernel == kernel) {
			test, subtests, _ := strings.Cut(l.test, "/")
			names = append(names, strings.TrimSuffix("^"+test+"$/"+subtests, "/"))
		}
	}
	return strings.Join(names, "|")
}

// exist looks for the tests that are left out, so that none is forgotten here
// once it has another name.
func (s selection) exist(root string) error {
	for _, l := range s.leftOut {
		files, err := filepath.Glob(filepath.Join(root, l.pkg, "*_test.go"))
		if err != nil {
			return err
		}
		found := l.test == ""
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			test, _, _ := strings.Cut(l.test, "/")
			found = found || strings.Contains(string(text), "func "+test+"(")
		}
		if !found {
			return fmt.Errorf("%s is left out, but there is no such test", l)
		}
	}
	return nil
}
