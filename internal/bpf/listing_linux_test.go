package bpf_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/test/rulegen"
)

var update = flag.Bool("update", false, "write what the code says into the golden files")

// listing disassembles the program of a rule.
func listing(t *testing.T, p *rule.Program, o bpf.Options) string {
	t.Helper()
	a, err := bpf.Annotate(plan.Build(p, field.Ethernet), o)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, w := range p.Written {
		words = append(words, w.Text)
	}
	return a.Disassemble(words)
}

// TestListing holds the listings to what stands in testdata.
func TestListing(t *testing.T) {
	for name, text := range map[string]string{
		"port":  "if udp_dest 443 then udp_dest 8080",
		"rules": "if tcp_syn on tcp_ack off ip_src 10.0.0.0/8 then ip_dscp af31 ip_ecn 0 tcp_window 0; if not tcp or ip_ttl 1,5-9 then ip_ttl 64",
		"fix":   "if icmp_type echo-request then icmp_check fix ip_check bad ip_ttl 5",
	} {
		got := listing(t, checked(t, text), bpf.Options{})
		path := filepath.Join("testdata", name+".asm")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s (-want +got, write it with -update):\n%s", path, d)
		}
	}
}

// TestNotation compares the listing with what the kernel's verifier prints of
// the same program, instruction by instruction.
func TestNotation(t *testing.T) {
	texts := []string{
		"if udp then udp_check fix ip_ttl 9",
		"if tcp_dest 1-5,9,20-30,100-200 then tcp_seq 0xffffffff ip_src 10.0.0.1 tcp_res 5; if not ip; if ip_flag_df on then ip_hl 6 ip_check bad",
	}
	r := rand.New(rand.NewPCG(1, 5))
	for len(texts) < 40 {
		if text := rulegen.Program(r); valid(text) {
			texts = append(texts, text)
		}
	}
	words := ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}
	bound := bpf.Options{Limit: 5, Tickets: newMap(t, words).FD(), Timed: true, Deadline: newMap(t, words).FD()}
	compared := 0
	for i, text := range texts {
		p, o := checked(t, text), bpf.Options{}
		if i%4 == 0 {
			o = bound
		}
		ours := instructions(listing(t, p, o))
		for at, said := range verifierSays(t, p, o) {
			if ours[at] != said {
				t.Errorf("%s\n%d: we say %q, the kernel %q", text, at, ours[at], said)
			}
			compared++
		}
	}
	if compared < 1000 {
		t.Errorf("only %d instructions have been compared", compared)
	}
}

func valid(text string) bool {
	_, err := rule.Check(text)
	return err == nil
}

var (
	listed   = regexp.MustCompile(`(?m)^ *(\d+): (.*?) *(?:;.*)?$`)
	verified = regexp.MustCompile(`(?m)^(\d+): \([0-9a-f]{2}\) (.*?) *(?:;.*)?$`)
	relative = regexp.MustCompile(`goto pc([+-]\d+)`)
	address  = regexp.MustCompile(`^r\d = 0x`)
	called   = regexp.MustCompile(`#\d+$`)
)

// instructions are the instructions of a listing by offset.
func instructions(text string) map[int]string {
	out := map[int]string{}
	for _, m := range listed.FindAllStringSubmatch(text, -1) {
		at, _ := strconv.Atoi(m[1])
		out[at] = m[2]
	}
	return out
}

// verifierSays are the instructions that the verifier printed while it walked
// the program, by offset; jumps lead to offsets, as in our listing. Addresses
// are left out: there the kernel prints what it put in.
func verifierSays(t *testing.T, p *rule.Program, o bpf.Options) map[int]string {
	t.Helper()
	o.Counters = newMap(t, countersOf(p)).FD()
	ins, err := bpf.Compile(plan.Build(p, field.Ethernet), o)
	if err != nil {
		t.Fatal(err)
	}
	spec := &ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: ins, License: "Dual MIT/GPL"}
	prog, err := ebpf.NewProgramWithOptions(spec, ebpf.ProgramOptions{LogLevel: ebpf.LogLevelInstruction})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	out := map[int]string{}
	for _, m := range verified.FindAllStringSubmatch(prog.VerifierLog, -1) {
		at, _ := strconv.Atoi(m[1])
		text := relative.ReplaceAllStringFunc(m[2], func(s string) string {
			n, _ := strconv.Atoi(strings.TrimPrefix(strings.TrimPrefix(s, "goto pc"), "+"))
			return fmt.Sprintf("goto %d", at+1+n)
		})
		if address.MatchString(m[2]) {
			continue
		}
		out[at] = called.ReplaceAllString(text, "")
	}
	return out
}
