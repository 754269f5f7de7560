package cli

import (
	"io"
	"strings"
	"testing"
)

// TestTopRefused: what top cannot do is said before the terminal is touched. test/terminal has what
// it does.
func TestTopRefused(t *testing.T) {
	t.Parallel()
	const people = "top is for people at a terminal that can be drawn on\n  hint: repacket list --json has the counts"
	for _, tt := range []struct {
		args           string
		tty            bool
		term           string
		columns, lines int
		err            error
		status         int
		want           string
	}{
		{"top", false, "", 0, 0, nil, exitUsage, people},
		{"top", true, "dumb", 100, 40, nil, exitUsage, people},
		{"top --all-namespaces", true, "", 20, 40, nil, exitUsage, "the terminal has 20 columns and 40 lines, and top needs 80 and 24\n  hint: make it larger, or: repacket list"},
		{"top", true, "", 80, 23, nil, exitUsage, "the terminal has 80 columns and 23 lines, and top needs 80 and 24"},
		{"top", true, "", 80, 24, &Failure{Status: exitPrivilege, Err: errFake}, exitPrivilege, "the kernel is gone"},
		{"top -i eth7", true, "", 80, 24, nil, exitUsage, "there is no interface eth7"},
		{"top eth1", true, "", 80, 24, nil, exitUsage, `top takes no "eth1"`},
		{"list --all-namespaces", true, "", 80, 24, nil, exitUsage, "--all-namespaces means nothing to list\n  hint: --all-namespaces is for repacket top"},
	} {
		f := newFake(t, strings.Fields(tt.args)...)
		f.tty, f.vars["TERM"], f.kernel.err = tt.tty, tt.term, tt.err
		f.Width, f.Height = func(io.Writer) int { return tt.columns }, func(io.Writer) int { return tt.lines }
		status, stdout, stderr := f.run()
		if status != tt.status || stdout != "" || !strings.Contains(strings.NewReplacer("\x1b[1;31m", "", "\x1b[36m", "", "\x1b[0m", "").Replace(stderr), tt.want) {
			t.Errorf("%+v: %d, %q, %q", tt, status, stdout, stderr)
		}
	}
	_, stdout, _ := newFake(t, "top", "--json").run()
	if !strings.Contains(stdout, "top is for people") {
		t.Error(stdout)
	}
}

// TestExplainRule: the page of a rule has its inverse, where it has one.
func TestExplainRule(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"if tcp_dest 443 then tcp_dest 8080":               "\n  inverse, which is not attached: if tcp_src 8080 then tcp_src 443\n",
		"if tcp_dest 443 then tcp_dest 8080 replies":       "\n  replies: if tcp_src 8080 then tcp_src 443\n",
		"if udp then drop":                                 "\n  inverse, which is not attached: none\n",
		"if udp_dest 5… (cut)":                             "\n  not explained: only a part of its text is kept, or it reads a file",
		"if ip_dest @old then ip_dest @new from moves.csv": "\n  not explained: ",
	} {
		if got := explainRule(text); !strings.Contains(got, want) {
			t.Errorf("%s: %s", text, got)
		}
	}
}
