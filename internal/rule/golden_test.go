package rule

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/syntax"
)

var update = flag.Bool("update", false, "write what the code says into the golden files")

// render is what a person is told about a program: the error, or else the
// rules as checked and the warnings.
func render(source string) string {
	p, err := CheckWith(source, Options{Open: sheets})
	if err != nil {
		var d *syntax.Diagnostic
		if !errors.As(err, &d) {
			return "not a diagnostic: " + err.Error()
		}
		return d.Format()
	}
	var b strings.Builder
	for _, r := range p.Rules {
		b.WriteString(r.Print() + "\n")
	}
	for _, w := range p.Warnings {
		b.WriteString(w.Format())
	}
	return b.String()
}

// golden runs do on every program of a file. Lines that begin with "$ " are
// programs, \n in them is a newline; below stands what is expected.
func golden(t *testing.T, file string, do func(string) string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(data), "$ ")
	var out strings.Builder
	out.WriteString(head)
	count := 0
	for block := range strings.SplitSeq(rest, "\n$ ") {
		source, want, _ := strings.Cut(strings.TrimRight(block, "\n")+"\n", "\n")
		got := do(strings.ReplaceAll(source, `\n`, "\n"))
		out.WriteString("$ " + source + "\n" + got + "\n")
		count++
		if diff := cmp.Diff(strings.TrimRight(want, "\n"), strings.TrimRight(got, "\n")); diff != "" && !*update {
			t.Errorf("%s\n(- want, + got)\n%s", source, diff)
		}
	}
	if count < 2 {
		t.Errorf("%s holds %d programs", file, count)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrors(t *testing.T)   { golden(t, "testdata/errors.txt", render) }
func TestRows(t *testing.T)     { golden(t, "testdata/rows.txt", render) }
func TestOperands(t *testing.T) { golden(t, "testdata/operands.txt", render) }
func TestWarnings(t *testing.T) { golden(t, "testdata/warnings.txt", render) }
func TestRules(t *testing.T)    { golden(t, "testdata/rules.txt", render) }

// TestReplies: the inverse of rules, which replies look alike or are not seen, and what is rejected.
func TestReplies(t *testing.T) {
	t.Parallel()
	golden(t, "testdata/replies.txt", func(source string) string {
		p, err := CheckWith(source, Options{Open: sheets})
		if err != nil {
			return render(source)
		}
		var b strings.Builder
		for _, info := range p.Explanation() {
			b.WriteString(info.Replies.text())
		}
		for _, w := range append(p.Warnings, p.RepliesAdvice...) {
			if line := w.Format(); !strings.HasPrefix(line, "note: replies are seen") { // of every program
				b.WriteString(line)
			}
		}
		return b.String()
	})
}

// TestRepliesOpenBehindPass: packets that an earlier rule lets pass are warned of, and no rule behind it is
// said to close that.
func TestRepliesOpenBehindPass(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"if tcp_dest 8080 then pass else if tcp_dest 443 then tcp_dest 8080 replies",
		"if tcp_dest 8080 else if tcp_dest 443 then tcp_dest 8080 replies",
		"if tcp_dest 8080 then ip_ttl 9 else if tcp_dest 443 then tcp_dest 8080 replies else if tcp_dest 8080 then drop",
		"if ip_dest 10.0.0.0/8 else if ip_dest 192.0.2.1 then ip_dest 10.0.0.1 replies",
	} {
		p := mustCheckRows(t, source)
		if w := p.RepliesAdvice[0]; !strings.HasPrefix(w.Msg, "whoever talks to") || w.Hint != "" {
			t.Errorf("%s: %s", source, w.Format())
		}
	}
}

// TestRepliesClosed: the rule that a warning of packets that only look rewritten names is one, and there is
// no such warning with it.
func TestRepliesClosed(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"if tcp_dest 443 then tcp_dest 8080 replies",
		"if dport 443 then dport 8080 ttl 9 replies",
		"if tcp_dest 8000-8099 then tcp_dest +1000 replies",
		"if ip_dest 10.0.0.0/24 then ip_dest 192.168.7.0/24 replies",
		"if tcp_dest 80 and ip_dest 10.0.0.1 or tcp_dest 443 and ip_dest 10.0.0.2 then tcp_dest 8080 replies",
		"if icmp_id 7 then icmp_id 8 replies",
		"if ip_dest @old then ip_dest @new replies from moves.csv",
	} {
		p := mustCheckRows(t, source)
		closing, ok := strings.CutPrefix(p.RepliesAdvice[0].Hint, "to close it: ")
		if !ok {
			t.Fatalf("%s: %s", source, p.RepliesAdvice[0].Format())
		}
		for _, w := range mustCheckRows(t, source+" "+closing).RepliesAdvice {
			if strings.HasPrefix(w.Msg, "whoever") {
				t.Errorf("%s %s: %s", source, closing, w.Msg)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	golden(t, "testdata/explain.txt", func(source string) string {
		p, err := CheckWith(source, Options{Open: sheets})
		if err != nil {
			return err.Error()
		}
		return p.Explain()
	})
}

// TestModelErrors holds the errors that serve as models, letter by letter.
func TestModelErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, want string }{
		{"if tcp_cwr on then udp_check 0xcafe", `error: no packet has both: tcp_cwr is TCP, udp_check is UDP
    if tcp_cwr on then udp_check 0xcafe
                       ^~~~~~~~~
  hint: for TCP: tcp_check 0xcafe (only outer headers are looked at)
`},
		{"if udp_dest 443 udp_dest 8080", `error: nothing can match: udp_dest is asked to be 443 and 8080
    if udp_dest 443 udp_dest 8080
                    ^~~~~~~~~~~~~
  hint: is ` + "`then`" + ` missing?  if udp_dest 443 then udp_dest 8080
`},
		{"if udp_dest then udp_dest 8080", `error: udp_dest needs a value
    if udp_dest then udp_dest 8080
                ^~~~
  hint: an unquoted < or > is taken by the shell (and may have made a file): write lt, le, gt, ge
`},
		{"if all then ip_dscp 0xb8", `error: ip_dscp takes 0 to 63 (6 bits), not 0xb8
    if all then ip_dscp 0xb8
                        ^~~~
  hint: 0xb8 is a whole ToS byte: ip_tos 0xb8, or ip_dscp ef
`},
	} {
		_, err := Check(c.source)
		var d *syntax.Diagnostic
		if !errors.As(err, &d) {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		if diff := cmp.Diff(c.want, d.Format()); diff != "" {
			t.Errorf("%s (- want, + got)\n%s", c.source, diff)
		}
	}
}

func TestModelWarning(t *testing.T) {
	t.Parallel()
	p, err := CheckWith("if udp then ip_ttl 64\nif udp_dest 53 then ip_dscp ef\n", Options{File: "rules.txt"})
	if err != nil || len(p.Warnings) != 1 {
		t.Fatalf("error %v, warnings %v", err, p.Warnings)
	}
	const want = `warning: rules.txt:2:1: never acts: line 1 takes these packets (first match wins)
    if udp_dest 53 then ip_dscp ef
    ^~
  hint: put it before line 1; to do both there: then ip_ttl 64 ip_dscp ef
`
	if diff := cmp.Diff(want, p.Warnings[0].Format()); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
}
