package plan

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// details are plans worked out by hand, each for one thing that the planner
// knows. Weights: a byte at an even offset counts 256 in the sum, one at an
// odd offset 1.
var details = []struct{ what, text, want string }{
	{"windows of both sizes", "if udp_src 5 udp_dest 6 udp_len 9", `
udp: rule 0 if (udp[0:4]=50006 and udp[4:6]=9)
`},
	{"single values stand where the first of them stood, first", "if udp_dest 5 udp_src 10-20 ip_ttl 7", `
udp: rule 0 if (ip[8:9]=7 and udp[2:4]=5 and udp[0:2]=a-14)
`},
	{"single values stand where the first of them stood, second", "if udp_src 10-20 udp_dest 5 ip_id 1-2 ip_ttl 7", `
udp: rule 0 if (udp[0:2]=a-14 and ip[8:9]=7 and udp[2:4]=5 and ip[4:6]=1-2)
`},
	{"a header that is there has a version, a length and no offset", "if tcp ip_ver 4 ip_hl ge 5 ip_hl le 15 ip_offset 0 ip_protocol 6", `
tcp: rule 0
`},
	{"the shortest header is not known", "if tcp ip_hl ge 6", `
tcp: rule 0 if ip[0:1]&f=6-f
`},
	{"the protocol's old value is known", "if udp then ip_protocol 6", `
udp: rule 0 sum ip_check+65524 sum udp_check+65524 set ip[9:10]=6
`},
	{"none of two", "if udp_dest ne 53,80", `
udp: rule 0 if udp[2:4]!=35,50
`},
	{"all but one end", "if udp_dest ge 1", `
udp: rule 0 if udp[2:4]!=0
`},
	{"all but two values at one end", "if udp_dest ge 2", `
udp: rule 0 if udp[2:4]=2-ffff
`},
	{"all but both ends", "if udp_dest 1-65534", `
udp: rule 0 if udp[2:4]=1-fffe
`},
	{"two of four", "if ip_ecn 0,2", `
ip: rule 0 if ip[1:2]&3=0,2
`},
	{"two parts of a byte are one term", "if all then ip_dscp 46 ip_ecn 1", `
ip: rule 0 sum ip_check+185-1*ip[1:2] set ip[1:2]=b9
`},
	{"parts of two bytes are two terms", "if icmp then ip_hl 6 ip_flag_df on", `
icmp: rule 0 sum ip_check+17920-256*ip[0:1]&f-256*ip[6:7]&40 set ip[0:1]&f=6 set ip[6:7]&40=40
`},
	{"an old value that counts twice", "if udp_len 8 then udp_len 9", `
udp: rule 0 if udp[4:6]=8 sum udp_check+2 set udp[4:6]=9
`},
	{"a checksum that is set, one that is adjusted", "if udp then ip_check 1 udp_dest 9", `
udp: rule 0 sum udp_check+9-1*udp[2:4] set ip[10:12]=1 set udp[2:4]=9
`},
	{"a checksum alone makes a header count", "if all then udp_check 5", `
udp: rule 0 set udp[6:8]=5
`},
	{"Ethernet is always there", "if eth", `
every packet alike
eth: rule 0
`},
	{"two names of the same bits that agree", "if ip_flags 2 ip_flag_df on", `
ip: rule 0 if ip[6:7]&e0=40
`},
	{"two names of the same bits that do not", "if (ip_flags 2 or tcp) ip_flag_df off", `
tcp: rule 0 if ip[6:7]&40=0
`},
	{"half of an or that cannot be", "if ip_flags 2 ip_flag_df off or ip_ttl 3", `
ip: rule 0 if ip[8:9]=3
`},
	{"values of a field in an or", "if ip_ttl 5 or ip_ttl 7 or ip_tos 3 or ip_ttl 9", `
ip: rule 0 if (ip[8:9]=5,7,9 or ip[1:2]=3)
`},
	{"an or that comes to every value", "if udp_dest 5 or udp_dest ne 5 or ip_ttl 3", `
ip: rule 0 if ip[8:9]=3
udp: rule 0
`},
	{"an or that holds for a class", "if udp or ip_ttl 3", `
ip: rule 0 if ip[8:9]=3
udp: rule 0
`},
	{"ranges of a field in an and", "if udp_dest 5-10 udp_dest 8-20 ip_ttl 3", `
udp: rule 0 if (udp[2:4]=8-a and ip[8:9]=3)
`},
	{"not or is and not, and merges", "if not (ip_ttl 5 or ip_tos 3) ip_id 9 not (ip_ttl 7 or ip_id 8)", `
ip: rule 0 if (ip[8:9]!=5,7 and ip[1:2]!=3 and ip[4:6]=9)
`},
	{"not and is or not, holds without the header, and merges", "if not (ip_ttl 0-5 ip_tos 0-3) or ip_id 9 or not (ip_ttl 3-9 ip_id 8-10)", `
eth: rule 0
ip: rule 0 if (ip[8:9]!=3-5 or ip[1:2]=4-ff or ip[4:6]!=8,a)
`},
	{"what is known reaches into an or", "if tcp_syn on (tcp_syn on or tcp_ack on)", `
tcp: rule 0 if tcp[13:14]&2=2
`},
	{"what is known closes half of an or", "if ip_ttl 5 (ip_ttl 6 or ip_id 1-2)", `
ip: rule 0 if (ip[8:9]=5 and ip[4:6]=1-2)
`},
	{"half of an or merges with what stands next to it", "if ip_ttl ge 5 (udp_dest 1 ip_ttl le 9 or tcp_dest 2)", `
tcp: rule 0 if (ip[8:9]=5-ff and tcp[2:4]=2)
udp: rule 0 if (ip[8:9]=5-9 and udp[2:4]=1)
`},
	{"one test of an or merges with what stands next to it", "if ip_ttl ge 5 (ip_ttl le 9 or tcp_dest 2-3)", `
ip: rule 0 if ip[8:9]=5-9
tcp: rule 0 if (ip[8:9]=5-ff and (ip[8:9]=0-9 or tcp[2:4]=2-3))
`},
	{"what an earlier rule took", "if ip_ttl 5-9 else if ip_ttl 7-12 else if ip_ttl 10-12", `
ip: rule 0 if ip[8:9]=5-9
ip: rule 1 if ip[8:9]=7-c
`},
}

func TestDetails(t *testing.T) {
	t.Parallel()
	for _, test := range details {
		if d := gocmp.Diff(strings.TrimPrefix(test.want, "\n"), dump(planned(t, test.text))); d != "" {
			t.Errorf("%s: %s\n%s", test.what, test.text, d)
		}
	}
}

func planned(t *testing.T, text string) *Program {
	t.Helper()
	p, err := rule.Check(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return Build(p, field.Ethernet)
}

// TestFieldsAreNamed: those who print a plan know which fields each load and
// each store is for.
func TestFieldsAreNamed(t *testing.T) {
	t.Parallel()
	p := planned(t, "if udp_src 5 udp_dest 6 udp_len 9 ip_id 1-9 then ip_dscp 46 ip_ttl 64 ip_ecn 1 udp_src 7 udp_dest 8")
	if len(p.Chains()[0].Steps) != 1 {
		t.Fatal(dump(p))
	}
	step := p.Chains()[0].Steps[0]
	var tests, writes []string
	for _, c := range step.Cond.(And) {
		tests = append(tests, names(c.(Test).Fields))
	}
	for _, w := range step.Writes {
		writes = append(writes, names(w.Fields))
	}
	if d := gocmp.Diff([]string{"udp_src udp_dest", "udp_len", "ip_id"}, tests); d != "" {
		t.Error("tests:", d)
	}
	if d := gocmp.Diff([]string{"ip_dscp ip_ecn", "ip_ttl", "udp_src udp_dest"}, writes); d != "" {
		t.Error("writes:", d)
	}
}

func names(fields []*field.Field) string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Name)
	}
	return strings.Join(out, " ")
}

// TestChanges: those who do the arithmetic themselves learn of each field that
// a checksum covers and that changes, and of none that stays.
func TestChanges(t *testing.T) {
	t.Parallel()
	p := planned(t, "if udp_src 5 then udp_src 5 udp_len 9 ip_src 10.0.0.1 ip_ttl 3")
	step := p.Chains()[0].Steps[0]
	got := map[string][]string{}
	for _, s := range step.Sums {
		for _, c := range s.Changes {
			got[s.Check.Name] = append(got[s.Check.Name], c.Field.Name+"="+c.Value.String())
		}
	}
	want := map[string][]string{
		"ip_check":  {"ip_src=167772161", "ip_ttl=3"},
		"udp_check": {"udp_len=9", "udp_len=9", "ip_src=167772161"}, // its own header and the pseudo-header
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, s := range step.Sums {
		if s.ZeroIsNone != (s.Check.Name == "udp_check") {
			t.Errorf("%s: zero means none: %v", s.Check.Name, s.ZeroIsNone)
		}
	}
}

// TestHeaderThatGrows: a header checksum waits for all stores only where the
// rule gives the header another length and something follows it.
func TestHeaderThatGrows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text  string
		words int
		last  bool
	}{
		{"if icmp then ip_ttl 9 ip_hl 8 ip_check fix", 8, true},
		{"if icmp then ip_check bad ip_ttl 9", 0, false},
		{"if not icmp not tcp not udp then ip_hl 5 ip_check fix", 5, false},
	} {
		p := planned(t, test.text)
		var steps []Step
		for _, c := range p.Chains() {
			if steps = c.Steps; len(steps) > 0 {
				break
			}
		}
		if len(steps) != 1 || len(steps[0].Sums) == 0 {
			t.Errorf("%s:\n%s", test.text, dump(p))
			continue
		}
		if w, ok := steps[0].Cond.(WholeHeader); !ok || w.Words != test.words {
			t.Errorf("%s: asks for %#v, want a header of %d words", test.text, steps[0].Cond, test.words)
		}
		if s := steps[0].Sums[0]; s.Check.Name != "ip_check" || s.Last != test.last {
			t.Errorf("%s: %s waits: %v, want %v", test.text, s.Check.Name, s.Last, test.last)
		}
	}
}

// TestKnownOfClasses: what headers a packet has says something of its fields, by
// hand; a value that it cannot have is not tested for.
func TestKnownOfClasses(t *testing.T) {
	t.Parallel()
	udp := Class{Link: field.Ethernet, Tags: 1, L3: field.IP, L4: field.UDP}
	tcp := Class{L3: field.IP6, L4: field.TCP, Way: Routed, MSS: true}
	for _, c := range []struct {
		class   Class
		name    string
		in, out uint64
	}{
		{udp, "eth_type", 0x88a8, 0x800},
		{udp, "vlan_type", 0x800, 0x8100},
		{udp, "ip_protocol", 17, 6},
		{udp, "ip_tot_len", 28, 27},
		{udp, "ip_offset", 0, 1},
		{tcp, "ip6_next", 43, 6},
		{tcp, "ip6_len", 24, 23},
		{tcp, "tcp_hlen", 6, 5},
	} {
		known := c.class.facts()[c.name]
		if !known.Contains(field.V(c.in)) || known.Contains(field.V(c.out)) {
			t.Errorf("%s of %+v: %v, want %d and not %d", c.name, c.class, known, c.in, c.out)
		}
	}
}
