package bpf_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/test/quotes"
)

// TestQuotesOfReplies holds both programs of rules with replies against the reference.
func TestQuotesOfReplies(t *testing.T) {
	for _, text := range quotes.Answered {
		p := checked(t, text)
		for _, of := range []*rule.Program{p, p.Replies} {
			for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
				proves(t, of, engine.LoadOptions{Hook: h}, 1000)
			}
		}
	}
}

// TestQuotes holds programs over what ICMP errors quote against the reference.
func TestQuotes(t *testing.T) {
	for _, test := range quotes.Cases {
		t.Run(test.Name, func(t *testing.T) {
			p := test.Program()
			for _, link := range []field.Link{field.Ethernet, field.RawIP} {
				for _, o := range []engine.LoadOptions{{}, {Fragments: true}, {Limit: 1, Timed: true}, {Hook: bpf.TC}, {Hook: bpf.TC, Limit: 1, Timed: true}} {
					o.Link = link
					proves(t, p, o, 1000)
				}
			}
		})
	}
}

// movedRows are files of rows that replace addresses.
var movedRows = map[string]string{
	"hosts.csv":     "old,new\n" + rowsOf(20, "10.0.%d.7,172.16.0.%[1]d\n"),
	"prefixes.csv":  "old,new\n" + rowsOf(20, "10.%d.0.0/16,172.%[1]d.0.0/16\n"),
	"prefixes6.csv": "old,new\n" + rowsOf(20, "2001:db8:%d::/48,fd00:0:%[1]d::/48\n"),
}

func rowsOf(n int, format string) (rows string) {
	for i := range n {
		rows += fmt.Sprintf(format, i)
	}
	return rows
}

// TestQuotesOfRows: where replies have rows, those for the errors are looked up too; of rows that move
// a prefix both addresses of an error have to be in that of one row.
func TestQuotesOfRows(t *testing.T) {
	open := func(name string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(movedRows[name])), nil }
	for _, text := range []string{
		"if ip_dest @old then ip_dest @new replies from hosts.csv",
		"if ip_src @old then ip_src @new replies from prefixes.csv",
		"if ip_dest @old udp_dest 53 then ip_dest @new udp_dest 5353 replies from prefixes.csv",
		"if ip6_dest @old then ip6_dest @new replies from prefixes6.csv",
	} {
		p, err := rule.CheckWith(text, rule.Options{Open: open})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, of := range []*rule.Program{p, p.Replies} {
			if built, err := plan.BuildTables(of, field.Ethernet); err != nil || len(built.OneByOne) > 0 {
				t.Errorf("%s: rows are tested one by one, %v", text, err)
			}
			for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
				proves(t, of, engine.LoadOptions{Hook: h}, 2000)
			}
		}
	}
}
