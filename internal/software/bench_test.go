package software_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/internal/software"
)

// BenchmarkRun is what a packet takes of 1000 flows: by one rule, and by a million rows.
func BenchmarkRun(b *testing.B) {
	const rows = 1_000_000
	var csv strings.Builder
	csv.WriteString("src,port\n")
	for i := range rows {
		fmt.Fprintf(&csv, "10.%d.%d.%d,%d\n", 1+i>>16, i>>8&255, i&255, 1024+i%60_000)
	}
	frame := func(flow int) []byte {
		f := make([]byte, 114)
		copy(f[12:], "\x08\x00\x45\x00\x00\x64\x00\x01\x00\x00\x40\x11\x66\xce\x0a\x01\x00\x00\x0a\x00\x00\x02\x03\xe8\x01\xbb\x00\x50\x12\x34")
		f[28], f[29] = byte(flow>>8), byte(flow)
		return f
	}
	var frames [1000][]byte
	for i := range frames {
		frames[i] = frame(i)
	}
	for name, text := range map[string]string{
		"one rule":       "if ip_src 10.1.0.0/16 then udp_dest 8080",
		"a million rows": "if ip_src @src then udp_dest @port from rows.csv",
	} {
		b.Run(name, func(b *testing.B) {
			p, err := rule.CheckWith(text, rule.Options{Open: func(string) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(csv.String())), nil
			}})
			if err != nil {
				b.Fatal(err)
			}
			made, err := plan.BuildTables(p, field.Ethernet)
			if err != nil {
				b.Fatal(err)
			}
			r := software.New(made).Runner()
			b.ResetTimer()
			for i := range b.N {
				if f := frames[i%len(frames)]; r.Run(f, len(f)).Rule != 0 {
					b.Fatal("the rule does not act")
				}
			}
		})
	}
}
