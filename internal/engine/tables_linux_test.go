package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTablesAreFrozen: nobody can write to a table that a program uses.
func TestTablesAreFrozen(t *testing.T) {
	var rules strings.Builder
	for i := range 20 {
		fmt.Fprintf(&rules, "if ip_dest 192.0.2.%d then ip_ttl %d\n", i, i)
	}
	l, err := Load(checked(t, rules.String()), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if len(l.tables) != 1 {
		t.Fatalf("%d tables", len(l.tables))
	}
	table := l.tables[0]
	value, err := table.LookupBytes(uint32(0))
	if err != nil || len(value) == 0 {
		t.Fatalf("read the table: %v, %d bytes", err, len(value))
	}
	if err := table.Put(uint32(0), value); !errors.Is(err, unix.EPERM) {
		t.Errorf("write to the table: %v", err)
	}
}
