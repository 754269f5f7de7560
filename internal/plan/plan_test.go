package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// dump shows a plan a line a step, so that a test can hold it to one that was
// worked out by hand.
func dump(p *Program) string {
	var b strings.Builder
	if p.Alike {
		b.WriteString("every packet alike\n")
	}
	for _, c := range append([]Chain{p.NoIP, p.IP}, p.L4...) {
		for _, s := range c.Steps {
			fmt.Fprintf(&b, "%s: rule %d", c.Proto, s.Rule)
			if s.Cond != nil {
				fmt.Fprintf(&b, " if %s", condText(s.Cond))
			}
			for _, sum := range s.Sums {
				fmt.Fprintf(&b, " sum %s%s", sum.Check.Name, sumText(sum))
			}
			for _, w := range s.Writes {
				fmt.Fprintf(&b, " set %s=%x", windowText(w.Window), w.Value)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// windowText is header, first byte, size and, unless it is whole, the mask.
func windowText(w Window) string {
	s := fmt.Sprintf("%s[%d:%d]", w.Header, w.Off, w.Off+w.Size)
	if !w.Full() {
		s += fmt.Sprintf("&%x", w.Mask)
	}
	return s
}

func sumText(s Sum) string {
	text := map[SumOp]string{Fix: "=fix", Bad: "=bad"}[s.Op]
	if s.Const != 0 {
		text += fmt.Sprintf("+%d", s.Const)
	}
	for _, t := range s.Terms {
		text += fmt.Sprintf("-%d*%s", t.Factor, windowText(t.Window))
	}
	return text
}

func condText(c Cond) string {
	switch c := c.(type) {
	case And:
		return "(" + joinConds([]Cond(c), " and ") + ")"
	case Or:
		return "(" + joinConds([]Cond(c), " or ") + ")"
	case Test:
		return testText(c)
	}
	return fmt.Sprintf("%T", c)
}

func joinConds(list []Cond, with string) string {
	var parts []string
	for _, c := range list {
		parts = append(parts, condText(c))
	}
	return strings.Join(parts, with)
}

func testText(t Test) string {
	var ranges []string
	for _, r := range t.In {
		s := fmt.Sprintf("%x", r.Lo.Lo)
		if r.Lo != r.Hi {
			s += fmt.Sprintf("-%x", r.Hi.Lo)
		}
		ranges = append(ranges, s)
	}
	sign := "="
	if t.Not {
		sign = "!="
	}
	return windowText(t.Window) + sign + strings.Join(ranges, ",")
}

// The numbers behind "sum" are differences of 16-bit words in network order
// modulo 65535: 8080-443 = 7637; 64 in the upper byte of a word is 0x4000 =
// 16384; and so on.
var plans = []struct{ text, want string }{
	{"if udp_dest 443 then udp_dest 8080", `
udp: rule 0 if udp[2:4]=1bb sum udp_check+7637 set udp[2:4]=1f90
`},
	{"if all then ip_ttl 64", `
ip: rule 0 sum ip_check+16384-256*ip[8:9] set ip[8:9]=40
`},
	{"if ip_ttl 63 then ip_ttl 64", `
ip: rule 0 if ip[8:9]=3f sum ip_check+256 set ip[8:9]=40
`},
	{"if tcp_ack on tcp_psh on tcp_syn off then tcp_dest 80", `
tcp: rule 0 if tcp[13:14]&1a=18 sum tcp_check+80-1*tcp[2:4] set tcp[2:4]=50
`},
	{"if udp_src 5 udp_dest 6 then udp_dest 6", `
udp: rule 0 if udp[0:4]=50006
`},
	{"if ip_dscp 0 then ip_dscp 46 ip_ecn 1", `
ip: rule 0 if ip[1:2]&fc=0 sum ip_check+185-1*ip[1:2]&3 set ip[1:2]=b9
`},
	{"if all then ip_src 10.0.0.1", `
ip: rule 0 sum ip_check+2561-1*ip[12:16] set ip[12:16]=a000001
tcp: rule 0 sum ip_check+2561-1*ip[12:16] sum tcp_check+2561-1*ip[12:16] set ip[12:16]=a000001
udp: rule 0 sum ip_check+2561-1*ip[12:16] sum udp_check+2561-1*ip[12:16] set ip[12:16]=a000001
`},
	{"if not tcp then ip_ttl 1", `
ip: rule 0 sum ip_check+256-256*ip[8:9] set ip[8:9]=1
`},
	{"if udp then udp_len 9", `
udp: rule 0 sum udp_check+18-1*udp[4:6]-1*udp[4:6] set udp[4:6]=9
`},
	{"if tcp then ip_hl 5", `
tcp: rule 0 sum ip_check+1280-256*ip[0:1]&f sum tcp_check+65515--4*ip[0:1]&f set ip[0:1]&f=5
`},
	{"if udp then udp_check fix", `
udp: rule 0 if plan.WholeDatagram sum udp_check=fix
`},
	{"if ip_ttl lt 5 or ip_ttl 7 then ip_check 0xdead", `
ip: rule 0 if ip[8:9]=0-4,7 set ip[10:12]=dead
`},
	{"if udp_dest 3 or ip_tos 5 ip_dscp 9 or ip_tos 6 ip_dscp 9 then ip_ttl 9", `
udp: rule 0 if udp[2:4]=3 sum ip_check+2304-256*ip[8:9] set ip[8:9]=9
`},
	{"if udp_dest ne 53", `
udp: rule 0 if udp[2:4]!=35
`},
	{"if ip_protocol udp udp_dest 53 ip_ver 4", `
udp: rule 0 if udp[2:4]=35
`},
	{"if udp_dest 53 else if udp_dest 50-60", `
udp: rule 0 if udp[2:4]=35
udp: rule 1 if udp[2:4]=32-3c
`},
	{"if udp else if udp_dest 53 else if ip", `
ip: rule 2
udp: rule 0
`},
	{"if all", `
every packet alike
eth: rule 0
ip: rule 0
`},
}

func TestPlans(t *testing.T) {
	for _, test := range plans {
		p, err := rule.Check(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if d := cmp.Diff(strings.TrimPrefix(test.want, "\n"), dump(Build(p))); d != "" {
			t.Errorf("%s\n%s", test.text, d)
		}
	}
}

// TestNoKnownOutcomes: a test that cannot fail, or cannot hold, takes the
// kernel quadratic time to remove.
func TestNoKnownOutcomes(t *testing.T) {
	for text, steps := range map[string]int{
		"if ip_ttl ge 0 then ip_ttl 5":                     1,
		"if udp_dest 5 or udp_dest ne 5 then udp_dest 9":   1,
		"if udp_dest 5 else if udp_dest ne 5 else if udp":  2,
		"if tcp_syn on (tcp_syn on or tcp_ack on)":         1,
		"if udp_dest 5-9 else if udp_dest 6 then ip_ttl 4": 1,
	} {
		p, err := rule.Check(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		built := Build(p)
		last := built.IP
		if len(built.L4) > 0 {
			last = built.L4[0]
		}
		if len(last.Steps) != steps {
			t.Errorf("%s: %d steps, want %d:\n%s", text, len(last.Steps), steps, dump(built))
		}
	}
}

// TestWindowsHoldFields: every field is read by a load of its bits and no
// others, inside the fixed part of its header.
func TestWindowsHoldFields(t *testing.T) {
	for _, f := range field.Fields() {
		w := window(f)
		if w.Off+w.Size > f.Proto.Header().Fixed || w.Off%w.Size != 0 {
			t.Errorf("%s: %s is not an aligned load of the header", f.Name, windowText(w))
		}
		lowest := 8*(w.Off+w.Size) - f.Bit - f.Width
		if want := uint32(f.Max().Lo << lowest); w.Mask != want {
			t.Errorf("%s: mask %x, want %x", f.Name, w.Mask, want)
		}
	}
}
