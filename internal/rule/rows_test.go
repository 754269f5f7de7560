package rule

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// files are those that the tests take rows from.
var files = fstest.MapFS{
	"moves.csv": text("old,new,who\n10.0.0.1,10.1.0.1,ann\n10.0.0.2,10.1.0.2,\"bob, the builder\"\n"),
	// A byte order mark, CRLF, quotes, blanks, comments and empty lines.
	"excel.csv":  text("\ufeff\"old\", new\r\n# nobody uses these\r\n\"10.0.0.1\",  10.1.0.1 \r\n\r\n 10.0.0.2 ,\"10.1.0.2\"\r\n  \r\n"),
	"nets.csv":   text("from,to,mark\n10.0.0.0/8,192.168.0.0/16,af11\n172.16.0.5,192.168.9.9,ef\n10.3.0.0-10.4.0.9,0.0.0.0/0,0x2e\n"),
	"halves.csv": text("half\n10.0.0.0/9\n10.128.0.0/9\n10.0.0.0/8\n"),
	"tabs.csv":   text("half\tto\n10.0.0.0/9\t1.2.3.4\n"),
	"commas.csv": text("ports\n\"80,443\"\n"),
	"ports.csv":  text("p,q,n,flag,mac,six\n80,8080,1,on,02:00:00:00:00:01,2001:db8::1\n443-445,ssh,10,off,02-00-00-00-00-02,2001:db8::/32\n"),

	"bad.csv":       text("old,new\n10.0.0.1,10.1.0.1\n10.0.0.2,10.1.0.256\n"),
	"late.csv":      text("old,new\n" + strings.Repeat("10.0.0.1,10.1.0.1\n", 69_998) + "10.0.0.1,aa\n"),
	"short.csv":     text("old,new\n10.0.0.1\n"),
	"long.csv":      text("old,new\n10.0.0.1,10.0.0.2,10.0.0.3\n"),
	"empty.csv":     text(""),
	"names.csv":     text("old,new\n# that is all\n"),
	"gaps.csv":      text("old,new\n10.0.0.1,\n"),
	"first.csv":     text("old,new\n,10.0.0.1\n"),
	"twice.csv":     text("old,new,old\n10.0.0.1,10.0.0.2,10.0.0.3\n"),
	"same.csv":      text("old,new\n10.0.0.1,10.1.0.1\n10.0.0.2,10.1.0.2\n10.0.0.1,10.1.0.1\n"),
	"again.csv":     text("old,new\n10.0.0.1,10.1.0.1\n10.0.0.2,10.1.0.2\n10.0.0.1,10.1.0.9\n10.0.0.2,10.1.0.2\n10.0.0.1,10.1.0.1\n"),
	"unclosed.csv":  text("old,new\n10.0.0.1,\"10.1.0.1\n10.0.0.2,10.1.0.2\n"),
	"bare.csv":      text("old,new\n10.0.0.1,10.1\"0.1\n"),
	"semicolon.csv": text("old;new\n10.0.0.1;10.1.0.1\n"),
	"binary.csv":    text("\x7fELF\x02\x01\x01\x00,new\n"),
	"folder/a.csv":  text("old\n1\n"),
}

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func sheets(name string) (io.ReadCloser, error) { return files.Open(name) }

func mustCheckRows(t *testing.T, source string) *Program {
	t.Helper()
	p, err := CheckWith(source, Options{Open: sheets})
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return p
}

// TestRow: the rule of each row says what somebody would write for it by hand.
func TestRow(t *testing.T) {
	t.Parallel()
	for source, want := range map[string][]string{
		"if ip_dest @old then ip_dest @new from moves.csv": {
			"if ip_dest 10.0.0.1 then ip_dest 10.1.0.1", "if ip_dest 10.0.0.2 then ip_dest 10.1.0.2",
		},
		"if ip_dest @old then ip_dest @new from excel.csv": {
			"if ip_dest 10.0.0.1 then ip_dest 10.1.0.1", "if ip_dest 10.0.0.2 then ip_dest 10.1.0.2",
		},
		"if ip_src @from then ip_src @to ip_dscp @mark from nets.csv": {
			"if ip_src 10.0.0.0/8 then ip_src 192.168.0.0/16, ip_dscp af11",
			"if ip_src 172.16.0.5 then ip_src 192.168.9.9, ip_dscp ef",
			"if ip_src 10.3.0.0-10.4.0.9 then ip_src 0.0.0.0/0, ip_dscp ef",
		},
		"if udp_dest ne 53,@p tcp_syn on or udp_src 9,@p then ip_ttl +@n from ports.csv": {
			"if (udp_dest ne 53,80 and tcp_syn on) or udp_src 9,80 then ip_ttl +1",
			"if (udp_dest ne 53,443-445 and tcp_syn on) or udp_src 9,443-445 then ip_ttl +10",
		},
		"if ip_ttl lt @n ip_id ge @n then ip_id -@n from ports.csv": {
			"if ip_ttl 0 and ip_id ge 1 then ip_id -1",
			"if ip_ttl le 9 and ip_id ge 10 then ip_id -10",
		},
		"if tcp_syn @flag eth_src @mac ip6_dest @six then tcp_dest @q tcp_window atmost @n eth_dest @mac ip6_src @six from ports.csv": {
			"if tcp_syn on and eth_src 02:00:00:00:00:01 and ip6_dest 2001:db8::1 then " +
				"tcp_dest 8080, tcp_window atmost 1, eth_dest 02:00:00:00:00:01, ip6_src 2001:db8::1",
			"if tcp_syn off and eth_src 02:00:00:00:00:02 and ip6_dest 2001:db8::/32 then " +
				"tcp_dest 22, tcp_window atmost 10, eth_dest 02:00:00:00:00:02, ip6_src 2001:db8::/32",
		},
	} {
		r := mustCheckRows(t, source).Rules[0]
		var got []string
		for i := range r.Rows.Len {
			got = append(got, r.Row(i).Print())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (- want, + got)\n%s", source, diff)
		}
	}
}

// TestRowsAreFlat: cells are read once however often they stand in a rule, and
// copies of the rule share them.
func TestRowsAreFlat(t *testing.T) {
	t.Parallel()
	p := mustCheckRows(t, "if ip_src @old or ip_dest @old then sport 5 ip_dest @new from moves.csv")
	if len(p.Rules) != 2 || p.Rules[0].Rows != p.Rules[1].Rows {
		t.Fatalf("%d rules", len(p.Rules))
	}
	one, two := field.V(0x0a000001), field.V(0x0a000002)
	want := &Rows{File: "moves.csv", Len: 2, Cells: []Cells{
		{Column: "old", Lo: []field.Value{one, two}},
		{Column: "new", Lo: []field.Value{field.V(0x0a010001), field.V(0x0a010002)}},
	}}
	if diff := cmp.Diff(want, p.Rules[0].Rows); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
}

// endless is a file that begins with some text and goes on with another one
// for ever.
type endless struct{ begin, more string }

func (e *endless) Read(p []byte) (int, error) {
	if e.begin == "" {
		e.begin = strings.Repeat(e.more, 4096)
	}
	n := copy(p, e.begin)
	e.begin = e.begin[n:]
	return n, nil
}

func (*endless) Close() error { return nil }

// TestLargeFiles: what has no end is rejected.
func TestLargeFiles(t *testing.T) {
	t.Parallel()
	for _, file := range []endless{{"old\n", "a"}, {"old\n\"", "a\n"}, {"old\n", "\n"}, {"", "#a\n"}, {"", "a"}, {"", "a,"}, {"", "\x00"}} {
		open := func(string) (io.ReadCloser, error) { return &endless{file.begin, file.more}, nil }
		_, err := CheckWith("if ip_src @old from a.csv", Options{Open: open})
		if err == nil || !strings.Contains(err.Error(), "the row is longer than 4 MiB") {
			t.Errorf("%q, %q...: %v", file.begin, file.more, err)
		}
	}
	r := newRowReader(&endless{"old\n", "a\n"})
	r.limit = 1 << 20
	for {
		_, line, err := r.next()
		if err == nil {
			continue
		}
		if !errors.Is(err, errLongFile) || line != 0 {
			t.Errorf("row %d: %v", line, err)
		}
		break
	}
}

// TestManyRows: there is an end to the rows of all files together.
func TestManyRows(t *testing.T) {
	t.Parallel()
	rules, _, _ := syntax.Parse("if ip_src @old from moves.csv")
	for _, before := range []int{maxRows - 2, maxRows - 1} {
		c := newChecker("if ip_src @old from moves.csv", 0, sheets)
		c.rows = before
		c.read(rules[0])
		if (c.err != nil) != (before > maxRows-2) || c.err != nil && c.err.Msg != "moves.csv: more than 16,000,000 rows are too many" {
			t.Errorf("%d rows before: %v", before, c.err)
		}
	}
}

// TestManyRowsAgain: there is an end to the rows of files that rules read again, by any
// name of theirs. It is farther away where these are long.
func TestManyRowsAgain(t *testing.T) {
	t.Parallel()
	file := "old\n" + strings.Repeat("7-9\n", 1000)
	open := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(file)), nil }
	again := "if udp_dest @old then ip_ttl 9 from "
	text := again + "a.csv\n" + strings.Repeat(again+"b/../a.csv\n", leastAgain/1000)
	if _, err := CheckWith(text, Options{Open: open}); err != nil {
		t.Error(err)
	}
	_, err := CheckWith(text+again+"./a.csv", Options{Open: open})
	if err == nil || err.Error() != "./a.csv: more than 1,000,000 rows of files that rules before have read are too many" {
		t.Error(err)
	}
	c := newChecker("if ip_src @old from moves.csv", 0, sheets)
	rules, _, _ := syntax.Parse("if ip_src @old from moves.csv")
	c.filesRead["moves.csv"], c.rowsAgain, c.rows = true, leastAgain, leastAgain+leastAgain/8
	if c.read(rules[0]); c.err != nil {
		t.Error(c.err)
	}
}

// TestManyColumns: there is an end to the columns of a rule.
func TestManyColumns(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range maxColumns + 1 {
		fmt.Fprintf(&b, "@c%d,", i)
	}
	_, err := CheckWith("if ip_src "+b.String()+"1.2.3.4 from moves.csv", Options{Open: sheets})
	if err == nil || err.Error() != "moves.csv: more than 1,000 columns are too many" {
		t.Error(err)
	}
}
