package reference_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"repacket/internal/reference"
	"repacket/internal/rule"
)

func checkRows(t testing.TB, source, csv string) *rule.Program {
	t.Helper()
	p, err := rule.CheckWith(source, rule.Options{Open: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(csv)), nil
	}})
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return p
}

// TestRows: of the rows the first that matches acts; by hand, on a UDP packet
// from 192.0.2.1, port 1000, to 198.51.100.77, port 443, with TTL 61.
func TestRows(t *testing.T) {
	t.Parallel()
	frame := udpPacket().build(t)
	for _, c := range []struct{ source, csv, field, want string }{
		{"if ip_dest @a then ip_dest @b", "a,b\n1.2.3.4,9.9.9.9\n198.51.100.77,10.0.0.1\n198.51.100.77,10.0.0.2", "ip_dest", "0a000001"},
		{"if ip_dest @a then ip_dest @b", "a,b\n1.2.3.4,9.9.9.9\n198.51.100.78,10.0.0.1", "", ""},
		{"if ip_dest @a then ip_dest @b", "a,b\n198.51.0.0/16,10.9.0.0/16\n198.51.100.77,10.0.0.1", "ip_dest", "0a09644d"},
		{"if ip_dest @a then ip_dest @b", "a,b\n198.51.0.0/20,10.9.0.0/16\n198.51.100.77,10.0.0.1", "ip_dest", "0a000001"},
		{"if udp_dest 9,@a then udp_dest @b", "a,b\n400-442,1\n443-500,2\n443,3", "udp_dest", "0002"},
		{"if udp_dest ne 9,@a then udp_dest @b", "a,b\n443,1\n400-500,2\n444,3", "udp_dest", "0003"},
		{"if udp_dest ne 443,@a then udp_dest @b", "a,b\n80,1\n81,2", "", ""},
		{"if tcp_dest ne @a then tcp_dest @b", "a,b\n80,1", "", ""},
		{"if not tcp_dest @a then udp_dest @b", "a,b\n443,1", "udp_dest", "0001"},
		{"if ip_ttl lt @a then ip_ttl @a", "a\n61\n62\n63", "ip_ttl", "3e"},
		{"if ip_ttl ge @a then ip_ttl atleast @b", "a,b\n62,1\n61,50\n60,200", "ip_ttl", "3d"},
		{"if ip_ttl ge @a then ip_ttl atmost @b", "a,b\n62,1\n61,50\n60,200", "ip_ttl", "32"},
		{"if udp_src @a then ip_ttl +@b", "a,b\n1001,1\n1000,5", "ip_ttl", "42"},
		{"if udp_src @a then ip_ttl -@b", "a,b\n1001,1\n1000,70", "ip_ttl", "00"},
		{"if udp_dest @a or udp_src @b then dport @c", "a,b,c\n1,999,1\n2,1000,2\n443,3,3", "udp_dest", "0002"},
		{"if udp_dest @a udp_src @b then dport @c", "a,b,c\n443,999,1\n442,1000,2\n443,1000,3", "udp_dest", "0003"},
	} {
		got := reference.Run(checkRows(t, c.source+" from a.csv; if all", c.csv), frame)
		if c.want == "" {
			if !got.DryRun || got.Index != 1 {
				t.Errorf("%s of %q: rule %d acts", c.source, c.csv, got.Index)
			}
			continue
		}
		if hex := fmt.Sprintf("%x", bytesIn(got.Frame, c.field)); hex != c.want || got.Index != 0 {
			t.Errorf("%s of %q: %s is %s, want %s", c.source, c.csv, c.field, hex, c.want)
		}
	}
}

// TestRowsOfLengths: which bytes a sum is over may differ from row to row, and
// so may whether they are all there; RFC 791 has ip_hl in the low half of the
// first byte.
func TestRowsOfLengths(t *testing.T) {
	t.Parallel()
	frame := udpPacket().build(t)
	// The frame has 14 + 20 + 8 + 23 bytes: 15 words do not lie in the datagram, 6 do.
	p := checkRows(t, "if udp then ip_hl @n ip_check fix from a.csv", "n\n15\n6\n5")
	if got := reference.Run(p, frame); got.Index != 0 || got.Frame[14] != 0x46 {
		t.Errorf("rule %d, first byte %#x", got.Index, got.Frame[14])
	}
}

func BenchmarkRows(b *testing.B) {
	var csv strings.Builder
	csv.WriteString("a,b\n")
	for i := range 10_000 {
		fmt.Fprintf(&csv, "10.0.%d.%d,1.2.3.4\n", i>>8, i&255)
	}
	p := checkRows(b, "if ip_dest @a udp then ip_dest @b from a.csv", csv.String())
	frame := (&packet{ip: udpPacket().ip, udp: udpPacket().udp}).build(b)
	for b.Loop() {
		reference.Run(p, frame)
	}
}
