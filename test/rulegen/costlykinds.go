package rulegen

import (
	"fmt"
	"maps"
	"strings"
)

var costlyKinds map[string]func(*costly) string

func init() { // some of them are made of others
	costlyKinds = maps.Clone(someKinds())
	maps.Copy(costlyKinds, otherKinds())
	maps.Copy(costlyKinds, replyKinds())
}

func someKinds() map[string]func(*costly) string {
	return map[string]func(*costly) string{
		"balanced":           func(c *costly) string { return "if " + c.formula(c.size-3, 0, c.anyTest) },
		"balanced rewriting": func(c *costly) string { return "if " + c.formula(c.size-30, 0, c.anyTest) + " then ttl 5 dport 7" },
		"balanced in IPv4":   func(c *costly) string { return "if " + c.formula(c.size-3, 0, c.testOf(ipFields)) },
		"balanced short": func(c *costly) string {
			return "if " + c.formula(c.size-40, 0, c.shortTest) + " then dport sport ttl 5"
		},
		"balanced flags":          func(c *costly) string { return "if " + c.formula(c.size-3, 0, c.testOf(flagFields)) },
		"balanced in one":         func(c *costly) string { return "if " + c.formula(c.size-3, 0, c.testOf([]string{"ip_src", "ip_dest"})) },
		"balanced chances":        func(c *costly) string { return "if " + c.formula(c.size-3, 0, c.luck) },
		"balanced lists":          func(c *costly) string { return "if " + c.formula(c.size/3, 0, c.listTest) },
		"or of lists":             func(c *costly) string { return "if " + c.flat(c.size-3, " or ", " and ", 3, c.listTest) },
		"and of lists":            func(c *costly) string { return "if " + c.flat(c.size-3, " and ", " or ", 2, c.listTest) },
		"chances everywhere":      func(c *costly) string { return c.everywhere(costlyKinds["balanced chances"]) },
		"flat chances everywhere": func(c *costly) string { return c.everywhere(costlyKinds["chances"]) },
		"addresses everywhere": func(c *costly) string {
			return c.everywhere(func(c *costly) string { return c.unlikeRules("if eth_src %s then eth_dest random\n") })
		},
		"addresses side by side": func(c *costly) string {
			return c.everywhere(func(c *costly) string {
				return "if " + c.flat(c.size-3, " or ", " and ", 2, c.testOf([]string{"eth_src", "eth_dest"}))
			})
		},
		"rules everywhere": func(c *costly) string {
			return c.everywhere(func(c *costly) string {
				return c.rules(90, c.laxTest(strings.Fields("ip_id ip_ttl tcp_window")))
			})
		},
		"balanced everywhere":     func(c *costly) string { return c.everywhere(costlyKinds["balanced"]) },
		"unlike rules":            func(c *costly) string { return c.unlikeRules("if ip_id %s then ip_ttl random\n") },
		"unlike rules everywhere": func(c *costly) string { return c.everywhere(costlyKinds["unlike rules"]) },
		"lists everywhere": func(c *costly) string {
			return c.everywhere(func(c *costly) string { return "if ip6_src ne " + c.list(c.size-14, c.address6) })
		},
		"or of one": func(c *costly) string {
			return c.everywhere(func(c *costly) string {
				return "if " + c.flat(c.size-3, " or ", " ", 1, func() string { return "tcp_dest " + c.port() })
			})
		},
		"and of one": func(c *costly) string {
			return c.everywhere(func(c *costly) string {
				return "if " + c.flat(c.size-3, " and ", " ", 1, func() string { return "tcp_dest ne " + c.port() })
			})
		},
		"collapsing":  (*costly).collapsing,
		"deep":        (*costly).deep,
		"parentheses": (*costly).parentheses,
		"or of ands":  func(c *costly) string { return "if " + c.flat(c.size-3, " or ", " and ", 4, c.anyTest) },
		"and of ors":  func(c *costly) string { return "if " + c.flat(c.size-3, " and ", " or ", 4, c.laxTest(allFields)) },
	}
}

func otherKinds() map[string]func(*costly) string {
	return map[string]func(*costly) string{
		"and of ors in IPv4": func(c *costly) string { return "if " + c.flat(c.size-3, " and ", " or ", 2, c.laxTest(ipFields)) },
		"or of ands in IPv4": func(c *costly) string { return "if " + c.flat(c.size-3, " or ", " and ", 3, c.testOf(ipFields)) },
		"or":                 func(c *costly) string { return "if " + c.flat(c.size-3, " or ", " ", 1, c.anyTest) },
		"not of ands":        func(c *costly) string { return "if " + c.flat(c.size-3, " and not ", " and ", 3, c.testOf(ipFields)) },
		"list":               func(c *costly) string { return "if udp_dest " + c.list(c.size-12, c.port) },
		"list of others":     func(c *costly) string { return "if ip_src ne " + c.list(c.size-13, c.address) },
		"list of IPv6":       func(c *costly) string { return "if ip6_src ne " + c.list(c.size-14, c.address6) },
		"list of near IPv6": func(c *costly) string {
			return "if ip6_src " + c.list(c.size-11, func() string { return fmt.Sprintf("::%x", 2*c.r.IntN(32768)) })
		},
		"lists beside":        func(c *costly) string { return c.listsBeside() },
		"rules":               func(c *costly) string { return c.rules(90, c.laxTest(ipFields)) },
		"rules of formulas":   func(c *costly) string { return c.rules(900, c.testOf(append(ipFields, flagFields...))) },
		"rules that overlap":  func(c *costly) string { return c.rules(200, c.testOf(ipFields)) },
		"rules of short":      func(c *costly) string { return c.rules(150, c.shortTest) },
		"rules of shorts":     (*costly).shortRules,
		"rules of lists":      (*costly).listRules,
		"rules for all":       (*costly).allRules,
		"chances":             func(c *costly) string { return "if " + c.flat(c.size-3, " or ", " and ", 2, c.luck) },
		"actions":             (*costly).actions,
		"number":              func(c *costly) string { return "if udp_dest " + strings.Repeat("9", c.size-12) },
		"words":               func(c *costly) string { return "if " + strings.Repeat("a ", (c.size-3)/2) },
		"signs":               func(c *costly) string { return "if " + strings.Repeat("!", c.size-3) },
		"MSS":                 func(c *costly) string { return c.sameRules("if tcp_mss %d ip_ttl %d then tcp_mss %d") },
		"rules of one shape":  func(c *costly) string { return c.sameRules("if ip_ttl %d udp_dest %d then udp_dest %d") },
		"rules to be summed":  func(c *costly) string { return c.sameRules("if ip_ttl %d udp_dest %d then ip_id %d udp_check fix") },
		"rules that are wide": (*costly).wideRules,
		"else": func(c *costly) string {
			return c.sameRules("if not (ip_ttl %d or udp_dest %d) then ip_id %d else") + " if all"
		},
	}
}

func replyKinds() map[string]func(*costly) string {
	return map[string]func(*costly) string{
		"replies": func(c *costly) string {
			return c.repeated(func() string {
				return "if ip_src " + c.address() + " dport " + c.port() + " then dport " + c.port() + " replies\n"
			})
		},
		"replies behind formulas": func(c *costly) string {
			return c.repeated(func() string {
				return "if " + c.formula(400, 0, c.shortTest) + " then dscp ef if dport " + c.port() + " then dport " + c.port() + " replies\n"
			})
		},
		"replies of one formula": func(c *costly) string {
			return "if udp_dest 7 (" + c.formula(c.size-40, 0, c.shortTest) + ") then udp_dest 8 replies"
		},
	}
}
