package csource

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/operand"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

var update = flag.Bool("update", false, "write what the code says into the golden files")

func checked(t *testing.T, text string) *rule.Program {
	t.Helper()
	p, err := rule.Check(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

// golden are rules that between them show what programs look like.
var golden = map[string]string{
	"look":     "if all",
	"port":     "if udp_dest 443 then udp_dest 8080",
	"remark":   "voice: if ip_src 10.20.0.0/16 tcp_syn on tcp_ack off then ip_dscp af31 tcp_window 0",
	"lists":    "if udp_dest 53,443,5000-5100,8080,9000-9999 or tcp_dest ne 22 ip_ttl ge 64 then ip_dest 10.0.0.1",
	"repair":   "if udp then udp_check fix ip_ttl 3 else if ip_ttl 1 then ip_check bad",
	"option":   "if tcp_syn on then tcp_mss 1360",
	"verdicts": "if vlan_id 100 udp_dest 7 then swap eth swap udp reflect; if arp_spa 10.0.0.0/8 then drop; if eth_dest 02:00:00:00:00:01 then redirect eth1",
	"repair6":  "if ip6_src 2001:db8::/32 udp then udp_check fix, ip6_dest 2001:db8::1",
	"shift":    "if tcp_dest 8000-8099 then tcp_dest +1000",
	"ceiling":  "if all then ip_ttl atmost 60",
	"random":   "if udp_dest 5201 then ip_src random 10.0.0.0/8",
	"hash":     "if udp then udp_src hash 49152-65535 ip6_flow hash; if all then ip_src hash 10.0.0.0/8",
	"chance":   "if ecn ect0,ect1 chance 5% then ecn ce",
	"copies":   "if udp then udp_src udp_dest udp_dest udp_src",
	"random6":  "if udp chance 1/3 then ip6_src random 2001:db8::/40, eth_src random, udp_check udp_check; if tcp then ip6_dest +1 ip6_src 2001:db8:1::/48, eth_dest atmost 02:ff:ff:ff:ff:ff",
	"classes":  "ping: if icmp_type echo-request then icmp_code 1; if tcp_rst on or ip_flag_df on then ip_flag_df off ip_id 0; if not ip",
}

// goldenAtTC are rules for the hook tc.
var goldenAtTC = map[string]string{
	"tc":      "if ip_dest 192.0.2.1 udp_dest 443 then ip_dest 10.0.0.1 udp_dest 8080; if ip6_hlim 1 then drop",
	"tcops":   "if udp_dest 5201 then ip_src random 10.0.0.0/8; if tcp then tcp_check tcp_check tcp_window -1 vlan_id +1",
	"tctags":  "if vlan_id 100 ip6 then vlan_id 200, ip6_hlim 3, ip6_len 0 reflect",
	"tcvalue": "if udp_dest 53 then udp_check 5, ip_ttl 9; if tcp_mss ge 9 vlan_id 5 then tcp_check 7, tcp_mss 8, vlan_id 6",
	"tcfix":   "if ip udp_dest 53 then udp_check fix, ip_ttl 9; if tcp then tcp_check bad ip_check bad ip_src 10.0.0.1",
}

// TestPrint holds the programs to what stands in testdata, where people have
// read them.
func TestPrint(t *testing.T) {
	for name, text := range golden {
		p := checked(t, text)
		got := Print(p, plan.Build(p, field.Ethernet), Options{Fragments: name != "look", Interfaces: map[string]int{"eth1": 3}})
		holds(t, name, got)
	}
	for name, text := range goldenAtTC {
		p := checked(t, text)
		holds(t, name, Print(p, plan.Build(p, field.Ethernet), Options{Hook: TC, Interfaces: map[string]int{"eth1": 3}}))
	}
	p := checked(t, "if ip chance 1/8 then ip_id random")
	holds(t, "handed", Print(p, plan.Build(p, field.Ethernet), Options{HandedDraws: true}))
}

// holds holds a program to a file in testdata.
func holds(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".c")
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
	object(t, got)
}

// everyField is a program that tests each field of a header for one value, for
// a range and for a list, and sets it.
func everyField(proto field.Protocol) (lines []string) {
	for _, f := range field.Fields() {
		if f.Proto != proto {
			continue
		}
		top := f.Max().Lo
		if f.Width > 64 {
			top = 1<<63 - 1
		}
		lines = append(lines,
			fmt.Sprintf("if %s %s %s then %s %s", guard(f, 1), f.Name, value(f, top), f.Name, value(f, 0)),
			fmt.Sprintf("if %s %s %s then %s %s", guard(f, 2), f.Name, value(f, 0), f.Name, value(f, top)))
		if f.Width < 3 {
			continue
		}
		lines = append(lines,
			fmt.Sprintf("if %s %s %s-%s then %s %s", guard(f, 3), f.Name, value(f, 1), value(f, top/2), f.Name, value(f, top/2)),
			fmt.Sprintf("if %s %s %s,%s,%s-%s,%s then %s %s", guard(f, 4), f.Name,
				value(f, 0), value(f, 2), value(f, 4), value(f, 5), value(f, 7), f.Name, value(f, top/3)))
	}
	return lines
}

// guard is a test that keeps the rules of a field apart.
func guard(f *field.Field, n int) string {
	switch f.Proto {
	case field.Eth:
		return fmt.Sprintf("not vlan eth_src 02:00:00:00:00:%02x", n)
	case field.VLAN, field.CVLAN:
		return fmt.Sprintf("eth_dest 02:00:00:00:00:%02x", n)
	case field.ARP:
		return fmt.Sprintf("arp_op %d", n)
	case field.IP6, field.ICMP6:
		return fmt.Sprintf("ip6_flow %d", n)
	}
	return fmt.Sprintf("ip_tos %d", n)
}

func value(f *field.Field, v uint64) string {
	switch f.Kind {
	case field.Address4:
		return fmt.Sprintf("%d.%d.%d.%d", byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	case field.MAC:
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	case field.Address6:
		return fmt.Sprintf("2001:db8:%x::%x:%x:%x", v>>48, v>>32&0xffff, v>>16&0xffff, v&0xffff)
	}
	return fmt.Sprint(v)
}

// TestEveryField compiles all fields of the table without a warning, in one
// translation a header, and compares the programs with the reference.
func TestEveryField(t *testing.T) {
	for _, proto := range field.Protocols() {
		var kept []string
		lines := everyField(proto)
		for _, line := range lines { // a field and its guard can contradict each other
			if _, err := rule.Check(line); err == nil {
				kept = append(kept, line)
			}
		}
		if len(kept) < len(lines)*2/3 {
			t.Fatalf("%s: only %d of %d rules are valid", proto, len(kept), len(lines))
		}
		p := checked(t, strings.Join(kept, "\n"))
		source := Print(p, plan.Build(p, field.Ethernet), Options{})
		for _, f := range field.Fields() {
			if f.Proto != proto {
				continue
			}
			for _, piece := range pieces(f) {
				if place := variable(proto) + "->" + memberOf(piece).name; !strings.Contains(source, place) {
					t.Errorf("%s is not looked at: no %s", f.Name, place)
				}
			}
		}
		compare(t, field.Ethernet, p, rand.New(rand.NewPCG(1, 7)), 800)
	}
}

// everyOperand is a program that gives each field of a header to each operand, in
// a rule of its own. Chance spreads packets over the rules.
func everyOperand(proto field.Protocol) (lines []string) {
	for _, f := range field.Fields() {
		if f.Proto != proto {
			continue
		}
		middle := field.Ones(min(f.Width, 63)).Lo / 3
		operands := []string{f.Name}
		prefixes := []string{}
		if len(value(f, 0)) > 6 { // an address
			for _, length := range []int{7, 17, f.Width - 3} {
				prefixes = append(prefixes, fmt.Sprintf("%s/%d", value(f, 0), length))
			}
		}
		for _, o := range operand.For(f.Kind) {
			switch o.Argument {
			case operand.Amount:
				operands = append(operands, o.Print("1"), o.Print(fmt.Sprintf("0x%x", middle)))
			case operand.Value:
				operands = append(operands, o.Print(value(f, middle)))
			case operand.Choice:
				operands = append(operands, o.Print(""), o.Print(value(f, middle/5)+"-"+value(f, middle/5+min(middle, 1<<32-1))))
				for _, p := range prefixes {
					operands = append(operands, o.Print(p))
				}
			}
		}
		operands = append(operands, prefixes...)
		for _, g := range field.Fields() {
			if g.Proto == proto && g != f {
				operands = append(operands, g.Name)
			}
		}
		for _, o := range operands {
			line := fmt.Sprintf("if chance 2%% %s then %s %s", proto, f.Name, o)
			if proto == field.MSS {
				line = fmt.Sprintf("if chance 2%% then %s %s", f.Name, o)
			}
			if _, err := rule.Check(line); err == nil { // not all are for all kinds of fields
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// TestEveryOperand compiles all operands of all fields, and compares the
// programs with the reference, at both hooks.
func TestEveryOperand(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	acted, rules := 0, 0
	for _, proto := range field.Protocols() {
		lines := everyOperand(proto)
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		rules += len(lines)
		for part := range slices.Chunk(lines, 60) {
			p := checked(t, strings.Join(part, "\n"))
			acted += compare(t, field.Ethernet, p, r, 1200)
			acted += compareAt(t, Options{Hook: TC}, field.Ethernet, p, r, 600)
		}
	}
	t.Logf("a rule acted on %d packets", acted)
	if rules < 500 || acted < 5*rules {
		t.Errorf("%d rules acted on %d packets only", rules, acted)
	}
}

// TestDraws: a program that is handed no random numbers draws them itself.
func TestDraws(t *testing.T) {
	p := checked(t, "if chance 50% then eth_src random 02:00:00:00:00:00/8 else if all then eth_dest random")
	frame := make([]byte, 60)
	for _, o := range []Options{{}, {Hook: TC}} {
		l := load(t, field.Ethernet, p, o)
		defer l.close()
		if l.draws != nil {
			t.Errorf("there is a map %s", DrawsMap)
		}
		seen := map[string]bool{}
		for range 200 {
			_, out := l.run(t, frame, nil)
			if src := out[6:12]; src[0] != 0 && src[0] != 2 {
				t.Fatalf("%x is not in the prefix", src)
			}
			seen[string(out)] = true
		}
		taken := l.counters(t)
		if len(seen) != 200 || taken[0].Packets == 0 || taken[1].Packets == 0 {
			t.Errorf("%d different frames, counted %v", len(seen), taken)
		}
	}
}

// TestManyRules: the kernel takes programs of many rules.
func TestManyRules(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "if udp_dest %d ip_src 10.0.%d.0/24 then udp_dest %d, udp_check fix\n", i, i, i+1)
	}
	compare(t, field.Ethernet, checked(t, b.String()), rand.New(rand.NewPCG(1, 8)), 500)
}

// TestNeverTrue: alternatives that no packet of a class can meet are no
// trouble to clang.
func TestNeverTrue(t *testing.T) {
	w := &writer{params: map[param]bool{}}
	for text, c := range map[string]plan.Cond{"0": plan.Or{}, "1": plan.And{}} {
		if got := w.cond(c).line(); got != text {
			t.Errorf("%T: %q, want %q", c, got, text)
		}
	}
}

// TestNames: a loader of the C finds what hook finds on an interface.
func TestNames(t *testing.T) {
	if ProgramName != hook.ProgramName || CountersMap != hook.CountersMapName {
		t.Errorf("%s, %s in C; %s, %s in the kernel", ProgramName, CountersMap, hook.ProgramName, hook.CountersMapName)
	}
}

// TestComment: no words of a rule end a comment, or begin one in it.
func TestComment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := comment(crop(rapid.StringMatching(`([ -~]|\*/|/\*|\\|\n|\?\?/|é)*`).Draw(t, "text")))
		inside := strings.TrimSuffix(strings.TrimPrefix(text, "/*"), "*/")
		if len(inside) != len(text)-4 || strings.Contains(inside, "*/") || strings.Contains(inside, "/*") || strings.Contains(inside, `\`) {
			t.Fatalf("%q", text)
		}
		for _, line := range strings.Split(text, "\n") {
			if width(line) > columns && strings.Contains(strings.TrimLeft(line, " *"), " ") {
				t.Fatalf("a line is too long: %q", line)
			}
		}
	})
}
