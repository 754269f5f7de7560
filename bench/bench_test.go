package main

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// newTestCompiler is a compiler, or skips: clang is needed for the comparison
// only, never for the command.
func newTestCompiler(t *testing.T) *compiler {
	t.Helper()
	cc, err := newCompiler()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("clang is not installed, and the hand-written C needs it")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cc.close)
	return cc
}

// TestInstructions: hand-written C that means the same, and is proved to, does
// not do it in fewer instructions, for any of the packets.
func TestInstructions(t *testing.T) {
	needs.Kernel(t)
	cc := newTestCompiler(t)
	for _, r := range checkedRules(t) {
		for name, what := range map[string]counting{"one buffer": countFirst, "several buffers": countAll} {
			t.Run(r.name+"/"+name, func(t *testing.T) {
				rows, err := count(r, cc, what)
				if err != nil {
					t.Fatal(err)
				}
				for _, row := range rows {
					if row.more() > 0 {
						t.Errorf("%s: %d instructions, C for %s %v", row.packet, row.n[0], strings.Join(cpus, " and "), row.n[1:])
					}
				}
			})
		}
	}
}

func checkedRules(t *testing.T) []*benchRule {
	t.Helper()
	rules, err := benchRules()
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// TestAgreeFindsDifferences: a program that means something else is found out.
func TestAgreeFindsDifferences(t *testing.T) {
	needs.Kernel(t)
	rules := checkedRules(t)
	r, other := rules[0], rules[1]
	for name, load := range map[string]func() (*program, error){
		"another rule's program": func() (*program, error) { return ours(other, countAll) },
		"a program that does not count": func() (*program, error) {
			p, err := ours(r, countNothing)
			if err == nil {
				counters, err := newCounters()
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { counters.Close() })
				p.counters = counterOf(counters)
			}
			return p, err
		},
	} {
		p, err := load()
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		if err := agree(r, p); err == nil {
			t.Errorf("%s passes for %q", name, r.text)
		}
	}
}

// TestPackets: the packets are what their names say, and their IPv4 checksums
// are right, in the eyes of an outside decoder.
func TestPackets(t *testing.T) {
	for _, r := range checkedRules(t) {
		for _, p := range r.packets {
			got := gopacket.NewPacket(p.frame, layers.LayerTypeEthernet, gopacket.Default)
			if (got.TransportLayer() == nil) != (p.name == "ARP") {
				t.Errorf("%s: %s: %v", r.name, p.name, got)
			}
			ip, _ := got.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			if (ip == nil) != (p.name == "ARP") {
				t.Errorf("%s: %s: IPv4 header %v", r.name, p.name, ip)
			}
			if ip != nil && headerSum(ip.Contents) != 0xffff {
				t.Errorf("%s: %s: the IPv4 checksum is wrong", r.name, p.name)
			}
			tags := 0
			for _, l := range got.Layers() {
				if l.LayerType() == layers.LayerTypeDot1Q {
					tags++
				}
			}
			if want := slices.Index([]string{"", "one tag", "two tags"}, p.name); tags != max(0, want) {
				t.Errorf("%s: %s: %d tags", r.name, p.name, tags)
			}
			if options := ip != nil && len(ip.Options) > 0; options != (p.name == "options") {
				t.Errorf("%s: %s: options %v", r.name, p.name, options)
			}
		}
	}
}

// headerSum is the one's complement sum of 16-bit words (RFC 1071): 0xffff
// over a header whose checksum is right.
func headerSum(b []byte) uint32 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

// TestTracer: a process that attaches nothing is told from one that does.
func TestTracer(t *testing.T) {
	needs.Kernel(t)
	trace, err := newTracer()
	if err != nil {
		t.Fatal(err)
	}
	defer trace.close()
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	cmd := testnet.Command(ns, "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if d, err := trace.longest(cmd.Process.Pid); err == nil {
		t.Errorf("sleep is said to have attached something for %v", d)
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("sleep ended by itself")
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.v); got != c.want {
			t.Errorf("median of %v: got %v, want %v", c.v, got, c.want)
		}
	}
	if got := milliseconds(1500 * time.Microsecond); got != 1.5 {
		t.Errorf("got %v ms, want 1.5", got)
	}
}
