package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// dump shows a plan a line a step, so that a test can hold it to one that was
// worked out by hand. A chain is named after the first class that it is for.
func dump(p *Program) string {
	var b strings.Builder
	if p.Blind() {
		b.WriteString("every packet alike\n")
	}
	for _, c := range inOrder(p) {
		for _, s := range c.Steps {
			fmt.Fprintf(&b, "%s: rule %d", className(c.Class), s.Rule)
			if s.Cond != nil {
				fmt.Fprintf(&b, " if %s", condText(s.Cond))
			}
			for _, sum := range s.Sums {
				fmt.Fprintf(&b, " sum %s%s", sum.Check.Name, sumText(sum))
			}
			for _, e := range s.Exchanges {
				fmt.Fprintf(&b, " swap %s %s", windowText(e.A), windowText(e.B))
			}
			for _, w := range s.Writes {
				fmt.Fprintf(&b, " set %s=%x", windowText(w.Window), w.Value)
			}
			if s.Verdict != rule.Pass {
				fmt.Fprintf(&b, " %s", s.Verdict)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// inOrder lists every chain once, outer headers first.
func inOrder(p *Program) []*Chain {
	out := p.Chains()
	slices.SortStableFunc(out, func(a, b *Chain) int {
		return cmp(a.Class.Tags, b.Class.Tags, int(a.Class.L3), int(b.Class.L3), int(a.Class.L4), int(b.Class.L4))
	})
	return out
}

// cmp compares pairs, the first that differs deciding.
func cmp(pairs ...int) int {
	for i := 0; i < len(pairs); i += 2 {
		if d := pairs[i] - pairs[i+1]; d != 0 {
			return d
		}
	}
	return 0
}

func className(c Class) string {
	name := strings.Repeat("vlan+", c.Tags)
	switch {
	case c.L3 == field.IP6 && c.L4 != field.None:
		name += "ip6+" + c.L4.String()
	case c.Innermost() == field.None:
		name += "none"
	default:
		name += c.Innermost().String()
	}
	name += [...]string{Direct: "", Extended: "/extended", Routed: "/routed", Homed: "/homed", HomedRouted: "/homed routed"}[c.Way]
	if c.MSS {
		name += map[bool]string{false: "/even", true: "/odd"}[c.Odd]
	}
	return name
}

// windowText is header, first byte, size and, unless it is whole, the mask.
func windowText(w Window) string {
	name := w.Header.Header().Name
	if w.Header == field.MSS {
		name = "mss"
	}
	s := fmt.Sprintf("%s[%d:%d]", name, w.Off, w.Off+w.Size)
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
	return fmt.Sprint(c)
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
ip: rule 0 sum ip_check+2561-1*ip[12:16] sum other_check+2561-1*ip[12:16] set ip[12:16]=a000001
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
udp: rule 0 if whole udp datagram over ip sum udp_check=fix
ip6+udp: rule 0 if whole udp datagram over ip6 sum udp_check=fix
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
	{"if udp_dest 5 then drop", `
udp: rule 0 if udp[2:4]=5 drop
`},
	{"if tcp then swap tcp", `
tcp: rule 0 swap tcp[0:2] tcp[2:4]
`},
	{"if arp then swap eth reflect", `
arp: rule 0 swap eth[6:10] eth[0:4] swap eth[10:12] eth[4:6] reflect
vlan+arp: rule 0 swap eth[6:10] eth[0:4] swap eth[10:12] eth[4:6] reflect
vlan+vlan+arp: rule 0 swap eth[6:10] eth[0:4] swap eth[10:12] eth[4:6] reflect
`},
	{"if vlan_id 5 then vlan_id 6 eth_dest 02:00:00:00:00:01", `
vlan+eth: rule 0 if vlan[0:2]&fff=5 set eth[0:4]=2000000 set eth[4:6]=1 set vlan[0:2]&fff=6
vlan+vlan+eth: rule 0 if vlan[0:2]&fff=5 set eth[0:4]=2000000 set eth[4:6]=1 set vlan[0:2]&fff=6
`},
	{"if eth_type 0x88b5 or vlan_type 0x88b5", `
eth: rule 0 if eth[12:14]=88b5
vlan+eth: rule 0 if vlan[2:4]=88b5
`},
	{"if arp_op 1 arp_tpa 10.0.0.1 then arp_sha 02:00:00:00:00:01", `
arp: rule 0 if (arp[6:8]=1 and arp[24:28]=a000001) set arp[8:12]=2000000 set arp[12:14]=1
`},
	{"if arp_spa 10.0.0.0/8 or arp_tpa 10.1.2.0/24", `
arp: rule 0 if (arp[14:16]=a00-aff or arp[24:28]=a010200-a0102ff)
`},
	{"if ip6_src 2001:db8::/32 then ip6_hlim 64", `
ip6: rule 0 if ip6[8:12]=20010db8 set ip6[7:8]=40
`},
	{"if ip6_dest 2001:db8::1-2001:db8::5", `
ip6: rule 0 if (ip6[24:28]=20010db8 and (ip6[28:32]=0 and (ip6[32:36]=0 and ip6[36:40]=1-5)))
`},
	{"if ip6_dest ne 2001:db8::1,2001:db8::2", `
ip6: rule 0 if (ip6[24:28]!=20010db8 or (ip6[28:32]!=0 or (ip6[32:36]!=0 or ip6[36:40]!=1-2)))
`},
	{"if icmp6 then ip6_src ::1", `
ip6+icmp6: rule 0 sum icmp6_check+1-1*ip6[8:12]-1*ip6[12:16]-1*ip6[16:20]-1*ip6[20:24] set ip6[8:12]=0 set ip6[12:16]=0 set ip6[16:20]=0 set ip6[20:24]=1
ip6+icmp6/homed: rule 0 set ip6[8:12]=0 set ip6[12:16]=0 set ip6[16:20]=0 set ip6[20:24]=1
`},
	{"if icmp6 then ip6_dest ::1", `
ip6+icmp6: rule 0 sum icmp6_check+1-1*ip6[24:28]-1*ip6[28:32]-1*ip6[32:36]-1*ip6[36:40] set ip6[24:28]=0 set ip6[28:32]=0 set ip6[32:36]=0 set ip6[36:40]=1
ip6+icmp6/routed: rule 0 set ip6[24:28]=0 set ip6[28:32]=0 set ip6[32:36]=0 set ip6[36:40]=1
`},
	{"if icmp6 then ip6_next 59", `
ip6+icmp6: rule 0 sum icmp6_check+1 set ip6[6:7]=3b
ip6+icmp6/extended: rule 0 set ip6[6:7]=3b
`},
	{"if icmp6 then swap ip6", `
ip6+icmp6: rule 0 swap ip6[8:12] ip6[24:28] swap ip6[12:16] ip6[28:32] swap ip6[16:20] ip6[32:36] swap ip6[20:24] ip6[36:40]
ip6+icmp6/routed: rule 0 sum icmp6_check--1*ip6[24:28]--1*ip6[28:32]--1*ip6[32:36]--1*ip6[36:40]-1*ip6[8:12]-1*ip6[12:16]-1*ip6[16:20]-1*ip6[20:24] swap ip6[8:12] ip6[24:28] swap ip6[12:16] ip6[28:32] swap ip6[16:20] ip6[32:36] swap ip6[20:24] ip6[36:40]
ip6+icmp6/homed: rule 0 sum icmp6_check--1*ip6[8:12]--1*ip6[12:16]--1*ip6[16:20]--1*ip6[20:24]-1*ip6[24:28]-1*ip6[28:32]-1*ip6[32:36]-1*ip6[36:40] swap ip6[8:12] ip6[24:28] swap ip6[12:16] ip6[28:32] swap ip6[16:20] ip6[32:36] swap ip6[20:24] ip6[36:40]
`},
	{"if all then tcp_mss 1360", `
tcp/even: rule 0 sum tcp_check+1360-1*mss[2:4] set mss[2:4]=550
tcp/odd: rule 0 sum tcp_check+20485-256*mss[2:4] set mss[2:4]=550
`},
	{"if all", `
every packet alike
eth: rule 0
`},
}

func TestPlans(t *testing.T) {
	t.Parallel()
	for _, test := range plans {
		p, err := rule.Check(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if d := gocmp.Diff(strings.TrimPrefix(test.want, "\n"), dump(Build(p, field.Ethernet))); d != "" {
			t.Errorf("%s\n%s", test.text, d)
		}
	}
}

// TestNoKnownOutcomes: a test that cannot fail, or cannot hold, takes the
// kernel quadratic time to remove.
func TestNoKnownOutcomes(t *testing.T) {
	t.Parallel()
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
		built := Build(p, field.Ethernet)
		last := built.Levels[0].IP.Bare
		if l4 := built.Levels[0].IP.L4; len(l4) > 0 {
			last = l4[0].Ways[Direct].Plain
		}
		if len(last.Steps) != steps {
			t.Errorf("%s: %d steps, want %d:\n%s", text, len(last.Steps), steps, dump(built))
		}
	}
}

// TestWideFields: the windows of a field that takes several of them lie one
// behind the other and cover it.
func TestWideFields(t *testing.T) {
	t.Parallel()
	wide := 0
	for _, f := range field.Fields() {
		list := fieldWindows(f)
		if len(list) == 1 {
			continue
		}
		wide++
		at := f.Byte()
		for _, w := range list {
			if w.Off != at || !w.Full() || w.Off%w.Size != 0 {
				t.Errorf("%s: %s does not follow byte %d", f.Name, windowText(w), at)
			}
			at += w.Size
		}
		if at != f.Byte()+f.Size() {
			t.Errorf("%s: the windows end at byte %d", f.Name, at)
		}
	}
	if wide < 7 { // four Ethernet addresses, one of ARP, two of IPv6
		t.Errorf("%d fields are wide", wide)
	}
}

// TestWindowsHoldFields: every field is read by a load of its bits and no
// others, inside the fixed part of its header.
func TestWindowsHoldFields(t *testing.T) {
	t.Parallel()
	for _, f := range field.Fields() {
		list := fieldWindows(f)
		if len(list) > 1 {
			continue // TestWideFields
		}
		w := list[0]
		if w.Off+w.Size > f.Proto.Header().Fixed || w.Off%w.Size != 0 {
			t.Errorf("%s: %s is not an aligned load of the header", f.Name, windowText(w))
		}
		lowest := 8*(w.Off+w.Size) - f.Bit - f.Width
		if want := uint32(f.Max().Lo << lowest); w.Mask != want {
			t.Errorf("%s: mask %x, want %x", f.Name, w.Mask, want)
		}
	}
}
