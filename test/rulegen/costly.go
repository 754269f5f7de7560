package rulegen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"repacket/internal/field"
)

// Costly writes a program of at most so many bytes that is meant to cost as much
// as a text of its length can, in a way that is named by one of CostlyKinds: by
// formulas that come to very many cases, by rules that all overlap, by long lists.
// Most are valid rules; some are more than is followed.
func Costly(r *rand.Rand, kind string, size int) string {
	c := costly{r: r, size: size}
	text := costlyKinds[kind](&c)
	if len(text) > size {
		panic(fmt.Sprintf("rulegen: %s has %d bytes, more than %d", kind, len(text), size))
	}
	return text
}

// CostlyKinds are the ways in which programs are costly, in order.
func CostlyKinds() []string {
	var kinds []string
	for k := range costlyKinds {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return kinds
}

// costly writes one program.
type costly struct {
	r    *rand.Rand
	size int
}

// everyHeader is a rule for which all kinds of packets have to be told apart.
const everyHeader = "if vlan_id 4095 or cvlan_id 4095 or arp_op 9 or tcp_mss 9 or ip6_next 99 or udp_len 9 or icmp_type 77 or icmp6_type 77\n"

// everywhere is a text behind a rule for which all kinds of packets have to be
// told apart.
func (c *costly) everywhere(text func(*costly) string) string {
	return everyHeader + text(&costly{c.r, c.size - len(everyHeader)})
}

var (
	allFields  = strings.Fields("ip_ttl ip_tos ip_id ip_src ip_dest tcp_dest udp_dest ip6_hlim vlan_id tcp_window icmp_type arp_op ip6_src eth_src tcp_mss icmp_id ip_protocol")
	ipFields   = strings.Fields("ip_ttl ip_tos ip_id ip_src ip_dest ip_tot_len ip_check ip_protocol ip_offset ip_flag_df ip_hl")
	flagFields = strings.Fields("tcp_syn tcp_ack tcp_fin tcp_psh tcp_rst tcp_urg tcp_cwr tcp_ece ip_flag_df ip_flag_mf vlan_dei")
)

func (c *costly) port() string { return fmt.Sprint(c.r.IntN(65536)) }

func (c *costly) address() string {
	return fmt.Sprintf("%d.%d.%d.%d", c.r.IntN(256), c.r.IntN(256), c.r.IntN(256), c.r.IntN(256))
}

func (c *costly) address6() string {
	return fmt.Sprintf("%x::%x:%x", c.r.IntN(65536), c.r.IntN(65536), c.r.IntN(65536))
}

// anyTest is a test of a field of any header, often a range or for another value.
func (c *costly) anyTest() string { return c.test(allFields[c.r.IntN(len(allFields))]) }

func (c *costly) testOf(names []string) func() string {
	return func() string { return c.test(names[c.r.IntN(len(names))]) }
}

// laxTest is a test that most values pass.
func (c *costly) laxTest(names []string) func() string {
	return func() string {
		f := field.MustByName(names[c.r.IntN(len(names))])
		if f.Kind.IsAddress() || f.Kind == field.Flag {
			return c.test(f.Name)
		}
		n := c.r.IntN(int(min(f.Max().Lo, 65535))/2 + 1)
		return f.Name + [...]string{" ne ", " ge "}[c.r.IntN(2)] + fmt.Sprint(n)
	}
}

func (c *costly) test(name string) string {
	f := field.MustByName(name)
	switch f.Kind {
	case field.Flag:
		return name + " on"
	case field.Address4:
		return name + [...]string{" ", " ne "}[c.r.IntN(2)] + [...]string{c.address(), fmt.Sprintf("%d.%d.0.0/16", c.r.IntN(256), c.r.IntN(256))}[c.r.IntN(2)]
	case field.Address6:
		return name + [...]string{" ", " ne "}[c.r.IntN(2)] + c.address6()
	case field.MAC:
		return fmt.Sprintf("%s 02:00:00:00:00:%02x", name, c.r.IntN(256))
	}
	top := int(min(f.Max().Lo, 65535))
	n := c.r.IntN(top)
	switch c.r.IntN(4) {
	case 0:
		return fmt.Sprintf("%s %d", name, n)
	case 1:
		return fmt.Sprintf("%s ne %d", name, n)
	case 2:
		return fmt.Sprintf("%s %d-%d", name, n, n+c.r.IntN(top-n)+1)
	}
	return fmt.Sprintf("%s lt %d", name, n+1)
}

// listTest is a test for a list of some length, or for all else.
func (c *costly) listTest() string {
	length := 20 << c.r.IntN(3)
	switch c.r.IntN(4) {
	case 0:
		return "ip_src ne " + c.list(length, c.address)
	case 1:
		return "ip_id " + c.list(length, c.port)
	case 2:
		return "tcp_window ne " + c.list(length, c.port)
	}
	return "dport ne " + c.list(length, c.port)
}

func (c *costly) shortTest() string {
	switch c.r.IntN(5) {
	case 0:
		return "dport " + c.port()
	case 1:
		return "sport ne " + c.port()
	case 2:
		return fmt.Sprintf("ttl lt %d", 1+c.r.IntN(255))
	case 3:
		return fmt.Sprintf("ecn %d", c.r.IntN(4))
	}
	return fmt.Sprintf("dscp ne %d", c.r.IntN(64))
}

func (c *costly) luck() string { return fmt.Sprintf("chance 1/%d", 2+c.r.IntN(1000)) }

// formula is a balanced formula in brackets, of and, or and not.
func (c *costly) formula(size, depth int, test func() string) string {
	if size < 80 || depth > 45 {
		return test()
	}
	var members []string
	n := 2 + c.r.IntN(2)
	for range n {
		x := c.formula(size/n-11, depth+1, test)
		if strings.Contains(x, " and ") || strings.Contains(x, " or ") {
			x = "(" + x + ")"
		}
		if c.r.IntN(3) == 0 {
			x = "not " + x
		}
		members = append(members, x)
	}
	return strings.Join(members, [...]string{" or ", " and "}[depth%2])
}

// deep is as deep as brackets go, and a small formula at every depth.
func (c *costly) deep() string {
	text := "if "
	for i := range 45 {
		text += c.flat(c.size/50, [...]string{" or ", " and "}[i%2], " and ", 1, c.anyTest) + [...]string{" or not (", " and ("}[i%2]
	}
	return text + c.anyTest() + strings.Repeat(")", 45)
}

// collapsing is a formula in which what is known at each depth settles a part of
// what is below.
func (c *costly) collapsing() string {
	text := "if "
	for i := range 45 {
		text += fmt.Sprintf("(ip_ver 5 or ip_id lt %d) and ", 65000-i)
		text += c.flat(c.size/60, " and ", " or ", 2, c.laxTest(ipFields)) + " and (udp_len 1 or "
	}
	return text + c.anyTest() + strings.Repeat(")", 45)
}

func (c *costly) parentheses() string {
	text := "if "
	open := strings.Repeat("not (", 49)
	for len(text) < c.size-400 {
		text += open + c.anyTest() + strings.Repeat(")", 49) + " or "
	}
	return text + c.anyTest()
}

// flat is groups of n tests: outer stands between groups, inner in them.
func (c *costly) flat(size int, outer, inner string, n int, test func() string) string {
	text := ""
	for {
		var group []string
		for range n {
			group = append(group, test())
		}
		next := strings.Join(group, inner)
		if n > 1 {
			next = "(" + next + ")"
		}
		if text != "" {
			next = outer + next
		}
		if len(text)+len(next) > size && text != "" {
			return text
		}
		text += next
	}
}

func (c *costly) list(size int, item func() string) string {
	var b strings.Builder
	b.WriteString(item())
	for {
		next := "," + item()
		if b.Len()+len(next) > size {
			return b.String()
		}
		b.WriteString(next)
	}
}

func (c *costly) listsBeside() string {
	text := "if "
	names := []string{"tcp_dest ", "tcp_src ", "ip_id ", "tcp_window "}
	each := (c.size-100)/len(names) - 20
	for i, name := range names {
		if i > 0 {
			text += [...]string{" and ", " or "}[i%2]
		}
		text += name + c.list(each, c.port)
	}
	return text
}

// rules are rules with formulas of so many bytes that do different things.
func (c *costly) rules(each int, test func() string) string {
	var b strings.Builder
	for i := 0; ; i++ {
		next := fmt.Sprintf("if %s then %s\n", c.formula(each, 0, test), []string{"ip_id 5", "ip_tos 7", "eth_src 02:00:00:00:00:01", "ip_src random", "drop"}[i%5])
		if b.Len()+len(next) > c.size {
			return b.String()
		}
		b.WriteString(next)
	}
}

func (c *costly) shortRules() string {
	return c.sameRules("if ttl ne %d dport lt %d then sport %d ecn 1 dscp 5")
}

func (c *costly) listRules() string {
	var b strings.Builder
	for {
		next := fmt.Sprintf("if ip_src ne %s tcp_dest %s then ip_tos %d\n", c.list(300, c.address), c.list(200, c.port), c.r.IntN(256))
		if b.Len()+len(next) > c.size {
			return b.String()
		}
		b.WriteString(next)
	}
}

func (c *costly) allRules() string { return strings.Repeat("if all\n", c.size/7) }

// wideRules test IPv6 addresses for ranges, which take many windows.
func (c *costly) wideRules() string {
	var b strings.Builder
	for {
		next := fmt.Sprintf("if ip6_src ne %s ip6_dest ne %s then ip6_hlim %d\n", c.list(200, c.address6), c.list(200, c.address6), c.r.IntN(256))
		if b.Len()+len(next) > c.size {
			return b.String()
		}
		b.WriteString(next)
	}
}

// sameRules are rules of one shape.
func (c *costly) sameRules(form string) string {
	var b strings.Builder
	for {
		args := make([]any, strings.Count(form, "%d"))
		for i := range args {
			args[i] = 1 + c.r.IntN(200)
		}
		next := fmt.Sprintf(form, args...) + "\n"
		if b.Len()+len(next) > c.size-20 {
			return b.String()
		}
		b.WriteString(next)
	}
}

// unlikeRules are rules that no table serves.
func (c *costly) unlikeRules(form string) string {
	var b strings.Builder
	for {
		arg := c.port()
		if strings.Contains(form, "eth_src") {
			arg = fmt.Sprintf("02:00:00:%02x:%02x:%02x", c.r.IntN(256), c.r.IntN(256), c.r.IntN(256))
		}
		next := fmt.Sprintf(form, arg)
		if b.Len()+len(next) > c.size {
			return b.String()
		}
		b.WriteString(next)
	}
}

func (c *costly) actions() string {
	text := "if all then "
	for i := 0; len(text) < c.size-30; i++ {
		text += fmt.Sprintf("ip_id %d ", i)
	}
	return text
}

// repeated is as many texts as there is room for.
func (c *costly) repeated(text func() string) string {
	var b strings.Builder
	for {
		next := text()
		if b.Len() > 0 && b.Len()+len(next) > c.size {
			return b.String()
		}
		b.WriteString(next)
	}
}
