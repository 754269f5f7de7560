package rule

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFormat(t *testing.T) {
	long := strings.Repeat("word ", 60)
	for _, c := range []struct {
		name, want string
		d          Diagnostic
	}{
		{
			name: "one line, with a file",
			d:    Diagnostic{File: "rules.txt", Msg: "m", At: Span{3, 6}, Source: "if udp"},
			want: "error: rules.txt:1:4: m\n    if udp\n       ^~~\n",
		},
		{
			name: "several lines",
			d:    Diagnostic{Severity: Note, Msg: "m", At: Span{7, 9}, Hint: "h", Source: "if udp\nif tcp\n"},
			want: "note: 2:1: m\n    if tcp\n    ^~\n  hint: h\n",
		},
		{
			name: "the end of the source",
			d:    Diagnostic{Msg: "m", At: Span{6, 6}, Source: "if udp"},
			want: "error: m\n    if udp\n          ^\n",
		},
		{
			name: "a place that goes on in the next line",
			d:    Diagnostic{Msg: "m", At: Span{3, 13}, Source: "if udp\r\nor tcp"},
			want: "error: 1:4: m\n    if udp\ufffd\n       ^~~~\n",
		},
		{
			name: "tabs, control characters, invalid UTF-8",
			d:    Diagnostic{Msg: "m \x1b[31m", At: Span{8, 11}, Source: "if\tx\x1b[\xff udp"},
			want: "error: m \ufffd[31m\n    if x\ufffd[\ufffd udp\n            ^~~\n",
		},
		{
			name: "a long line, at its start",
			d:    Diagnostic{Msg: "m", At: Span{5, 9}, Source: long},
			want: "error: m\n    " + long[:69] + "...\n         ^~~~\n",
		},
		{
			name: "a long line, in its middle",
			d:    Diagnostic{Msg: "m", At: Span{150, 154}, Source: long},
			want: "error: m\n    ..." + long[126:192] + "...\n    " + strings.Repeat(" ", 27) + "^~~~\n",
		},
		{
			name: "a long line, at its end",
			d:    Diagnostic{Msg: "m", At: Span{295, 299}, Source: long},
			want: "error: m\n    ..." + long[230:299] + "\n    " + strings.Repeat(" ", 68) + "^~~~\n",
		},
		{
			name: "no source",
			d:    Diagnostic{Msg: "m", Hint: "h"},
			want: "error: m\n  hint: h\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.d.Format()); diff != "" {
				t.Errorf("(- want, + got)\n%s", diff)
			}
		})
	}
}

func TestPosition(t *testing.T) {
	d := Diagnostic{Source: "a\né日 x", At: Span{8, 9}}
	if line, column := d.Position(); line != 2 || column != 4 {
		t.Errorf("%d:%d, want 2:4", line, column)
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"udp_dset": "udp_dest", "ipttl": "ip_ttl", "tcp_synn": "tcp_syn", "thenn": "then", "ift": "if",
		"udp_cheksum": "udp_checksum", "xyzzy": "", "": "", strings.Repeat("udp_dest", 9): "",
	} {
		if got := nearest(word, testWords()); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}
