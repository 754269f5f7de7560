package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// figures is a block of the page: the names of its parts, and what they printed.
var figures = regexp.MustCompile("(?s)<!-- ([a-z,]+): begin [^\n]* -->\n```\n(.*?)```\n<!-- ([a-z,]+): end -->")

// TestPerformancePage: figures stand next to the machine, kernel and date that they
// are from, and both experiments are there, with every hook and size.
func TestPerformancePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"throughput,ping": {
			"iperf3 over", "\nTCP ", "\nUDP", "\nno rules ", "\n--hook auto ", "\n--hook xdp ", "\n--hook xdp-generic ", "\n--hook tc ",
			"\n64 bytes, ", "\n1500 bytes, ", "\nnothing, again ", "\ntcpdump ", "\nrepacket --hook auto ", "\nrepacket --hook xdp ",
		},
		"tables,live": {"\n1 rule ", "\n1,000,000 rows ", "\nrepacket, 1 rule ", "\nnft, 1 rule ", "to nothing", "to nft's"},
		"why":         {"\nmatched  ", "\nanother value ", "\nno such header ", "\n16 rules, ", "with / without"},
		"replies": {
			"\nthe rules ", "\ntheir replies ", "\nno rules ", "\na rule with replies ", "\nrepacket, replies ", "\nnft, redirect (conntrack) ",
			"\nnft, stateless, at ip ", "\nnft, stateless, at netdev ", "to no rules", "repacket to this",
		},
		"show": {"\n-v ", "\n-w ", "\nthe rule ", "\n-v, to a terminal ", "\n-v, to a terminal that reads nothing ", "\n-w, to a file in memory ", "to the rule"},
	}
	header := regexp.MustCompile(`^machine  \S.*, CPUs: \d+.*\nkernel   Linux \d+\.\d+.*, \S+\ndate     20\d\d-\d\d-\d\d \d\d:\d\d UTC\nload     \d+\.\d\d `)
	for _, m := range figures.FindAllStringSubmatch(string(page), -1) {
		parts, text := m[1], m[2]
		if m[3] != parts {
			t.Errorf("%s ends as %s", parts, m[3])
		}
		if !header.MatchString(text) {
			t.Errorf("%s: no machine, kernel, date and load above the figures:\n%.200s", parts, text)
		}
		for _, row := range want[parts] {
			if !strings.Contains(text, row) {
				t.Errorf("%s: %q is missing", parts, row)
			}
		}
		delete(want, parts)
	}
	for parts := range want {
		t.Errorf("docs/performance.md has no output of %s", parts)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "(docs/performance.md)") {
		t.Error("README.md does not lead to docs/performance.md")
	}
}
