package engine

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"repacket/internal/rule"
)

// addresses are a rule with so many rows, each another address.
func addresses(t *testing.T, rows int) *rule.Program {
	t.Helper()
	var file strings.Builder
	file.WriteString("old,new\n")
	for i := range rows {
		fmt.Fprintf(&file, "10.%d.%d.%d,172.16.%d.%d\n", i>>16, i>>8&255, i&255, i>>8&255, i&255)
	}
	p, err := rule.CheckWith("if ip_dest @old then ip_dest @new from moves.csv", rule.Options{Open: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(file.String())), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTablesAreFrozen: tables that are handed to the kernel and those that are
// written in place do what their rows say, and then nobody can write to them.
func TestTablesAreFrozen(t *testing.T) {
	for _, test := range []struct {
		rows  int
		large bool
	}{{20, false}, {80_000, true}} {
		t.Run(fmt.Sprint(test.rows), func(t *testing.T) {
			p := addresses(t, test.rows)
			if _, err := SelfTest(p, LoadOptions{}, 300); err != nil {
				t.Error(err)
			}
			l, err := Load(p, LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if len(l.tables) != 1 {
				t.Fatalf("%d tables", len(l.tables))
			}
			frozen(t, l, test.large)
		})
	}
}

// frozen fails if the only table of a program can be written to.
func frozen(t *testing.T, l *Loaded, large bool) {
	t.Helper()
	table := l.tables[0]
	if is := int(table.ValueSize()) > largeTable; is != large {
		t.Fatalf("the table has %d bytes", table.ValueSize())
	}
	value, err := table.LookupBytes(uint32(0))
	if err != nil || len(value) == 0 {
		t.Fatalf("read the table: %v, %d bytes", err, len(value))
	}
	if err := table.Put(uint32(0), value); !errors.Is(err, unix.EPERM) {
		t.Errorf("write to the table: %v", err)
	}
	if !large {
		return
	}
	if _, err := unix.Mmap(table.FD(), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EPERM) {
		t.Errorf("map the table's memory for writing: %v", err)
	}
}

// TestFewerPackets: of many rules fewer packets are tried, but never none.
func TestFewerPackets(t *testing.T) {
	one, many := checked(t, "if udp then ip_ttl 9"), addresses(t, 100_000)
	if n := atLength(one, 20_000); n != 20_000 {
		t.Errorf("verify tries one rule on %d packets", n)
	}
	if n := atLength(many, 20_000); n != 8_000_000/10_002 {
		t.Errorf("verify tries 100,000 rows on %d packets", n)
	}
	var odd []string
	for v := range 1 << 15 {
		odd = append(odd, strconv.Itoa(2*v+1))
	}
	list := checked(t, "if udp_dest "+strings.Join(odd, ",")+" then ip_ttl 9")
	if n := atLength(list, 20_000); n != 8_000_000/(1+1<<13) {
		t.Errorf("verify tries 32,768 values on %d packets", n)
	}
	lines := checked(t, strings.Repeat("if udp then ip_ttl 9\n", 40_000))
	for p, want := range map[*rule.Program]int{one: 60, lines: 200} {
		if n := atLength(p, 20_000); p == lines && n != 500 {
			t.Errorf("verify tries 40,000 rules on %d packets", n)
		}
		if n := preflight(p); n != want {
			t.Errorf("%d rules are tried on %d packets before they are attached, not %d", len(p.Rules), n, want)
		}
	}
}
