package plan

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// TestWhatBecomesATable: 200 rules of a shape, the number N of each in the place of %d
// and that of its range in that of %r, are looked up or not. Those that ask the same
// of packets are no rows: the first takes all that the others could. Planning leaves the
// rules as they were.
func TestWhatBecomesATable(t *testing.T) {
	t.Parallel()
	for shape, tables := range map[string]int{
		"if udp_dest %d then ip_ttl 7":                      1,
		"if udp_dest %r then ip_ttl 7":                      1,
		"if udp_dest %r ip_dscp 5 then ip_ttl 7":            1,
		"if udp_dest %r ip_tot_len ge 99 then ip_ttl 7":     0, // two ranges
		"if udp_dest %d ip_ttl 9 then ip_id %d":             1,
		"if udp_dest %d udp_src %d then ip_id 7":            1,
		"if udp_dest %r udp_src %d then ip_id 7":            0, // a range and a value that differ
		"if udp_dest 53 then ip_id %d":                      0,
		"if udp_dest 53 or udp_src 9 then ip_id %d":         0,
		"if not udp_dest %r then ip_ttl 7":                  0,
		"if ip_src 10.0.0.0/9 udp_dest %d then ip_dscp 3":   1,
		"if ip_dest 10.1.%d.0/24 then ip_dest 10.2.%d.0/24": 0, // rows can, rules cannot yet
	} {
		var b strings.Builder
		for n := range 200 {
			text := strings.ReplaceAll(shape, "%d", fmt.Sprint(n+10))
			b.WriteString(strings.ReplaceAll(text, "%r", fmt.Sprintf("%d-%d", 100*n+1, 100*n+77)) + "\n")
		}
		p, err := rule.Check(b.String())
		if err != nil {
			t.Fatal(err)
		}
		out, err := BuildTables(p, field.Ethernet)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Tables) != tables {
			t.Errorf("%s: %d tables, want %d", shape, len(out.Tables), tables)
		}
		if again, err := rule.Check(b.String()); err != nil || !reflect.DeepEqual(p.Rules, again.Rules) {
			t.Errorf("%s: the rules have changed, %v", shape, err)
		}
	}
}

// TestWrittenOutRejects: rows are written out up to MaxWritten, next to rules without.
func TestWrittenOutRejects(t *testing.T) {
	t.Parallel()
	for rows, want := range map[int]string{
		MaxWritten:     "",
		MaxWritten + 1: "10,001 rows have to be tested one by one, and no program holds as many",
	} {
		p, err := rule.CheckWith("if tcp then ip_ttl 5 else if udp_dest @d then ip_ttl 6 from x.csv",
			rule.Options{Open: func(string) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader("d\n" + strings.Repeat("1-5\n", rows))), nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := WrittenOut(p)
		switch {
		case err != nil && err.Error() != want, err == nil && want != "":
			t.Errorf("%d rows: %v, want %q", rows, err, want)
		case err == nil && len(out.Rules) != rows+1:
			t.Errorf("%d rows: %d rules", rows, len(out.Rules))
		}
	}
}

// TestLongRowsAreRejected: rows that are written out may not be long either, for each
// way of planning them. Else those of 64 KiB and a rule of 64 KiB take gigabytes.
func TestLongRowsAreRejected(t *testing.T) {
	t.Parallel()
	var cases []string
	for i := range 100 {
		cases = append(cases, fmt.Sprintf("udp_dest @d and ip_id %d", i))
	}
	p, err := rule.CheckWith("if "+strings.Join(cases, " or ")+" then ip_ttl 6 from x.csv",
		rule.Options{Open: func(string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("d\n" + strings.Repeat("7\n8\n", 2_000))), nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	var long *TooLargeError
	if _, err := WrittenOut(p); !errors.As(err, &long) {
		t.Errorf("written out: %v", err)
	}
	if _, err := BuildTables(p, field.Ethernet); !errors.As(err, &long) {
		t.Errorf("in tables: %v", err)
	}
}
