package foreign

import (
	"strconv"
	"strings"
)

// iptables reads the words behind iptables or ip6tables.
func (r *reader) iptables() {
	not := false
	for len(r.rest) > 0 {
		w := r.next()
		if w == "!" {
			not = true
			continue
		}
		name, value, joined := strings.Cut(w, "=")
		take := func() string {
			if joined {
				return value
			}
			if r.accept("!") {
				not = true
			}
			return r.next()
		}
		if r.iptablesPlace(name, take) {
			continue
		}
		if !r.iptablesMatch(name, take, func(field, value string) {
			if not {
				field += " ne"
			}
			not = false
			r.cond(field, value)
		}) && !r.iptablesTarget(name, take) {
			return
		}
	}
}

// iptablesPlace reads where a rule belongs.
func (r *reader) iptablesPlace(name string, take func() string) bool {
	switch name {
	case "-t", "--table", "-m", "--match", "--comment", "--mode":
		switch take() {
		case "conntrack", "state", "connlimit", "recent", "connmark":
			r.fail(onlyStateful)
		case "limit", "hashlimit", "quota":
			r.fail(noRate)
		case "owner", "mark", "cgroup":
			r.fail(noMarks)
		}
	case "-A", "-I", "-D", "-C", "-R", "--append", "--insert":
		chain := take()
		r.Out = chain == "OUTPUT" || chain == "POSTROUTING"
		if _, err := strconv.Atoi(r.peek()); err == nil {
			r.next()
		}
	case "-i", "--in-interface":
		r.Interface = take()
	case "-o", "--out-interface":
		r.Interface, r.Out = take(), true
	case "-w", "-v", "-n":
	case "-p", "--protocol":
		r.proto = map[string]string{"tcp": "tcp", "udp": "udp", "icmp": "icmp", "icmpv6": "icmp6", "ipv6-icmp": "icmp6", "6": "tcp", "17": "udp"}[strings.ToLower(take())]
	default:
		return false
	}
	return true
}

// iptablesFields are matches that are one field and its value.
var iptablesFields = map[string]string{
	"--ttl-eq": "ip_ttl", "--ttl-lt": "ip_ttl lt", "--ttl-gt": "ip_ttl gt", "--hl-eq": "ip6_hlim", "--hl-lt": "ip6_hlim lt", "--hl-gt": "ip6_hlim gt",
	"--icmp-type": "icmp_type", "--icmpv6-type": "icmp6_type", "--mac-source": "eth_src", "--mss": "tcp_mss", "--src-range": "ip_src", "--dst-range": "ip_dest",
	"--tos": "ip_tos",
}

// iptablesMatch reads a match; cond notes a field and its value.
func (r *reader) iptablesMatch(name string, take func() string, cond func(field, value string)) bool {
	switch field := iptablesFields[name]; {
	case field != "":
		cond(field, ports(take()))
		return true
	case name == "--mac-source":
		cond("eth_src", take())
		return true
	}
	switch name {
	case "-s", "--source", "--src", "-d", "--destination", "--dst":
		side := "src"
		if strings.Contains(name, "-d") {
			side = "dest"
		}
		address := take()
		cond(r.address(side, address), address)
	case "--dport", "--dports", "--destination-port", "--destination-ports":
		list := ports(take())
		cond(r.port("dest"), list)
	case "--sport", "--sports", "--source-port", "--source-ports":
		list := ports(take())
		cond(r.port("src"), list)
	case "--dscp", "--dscp-class":
		cond(r.ip+"_dscp", strings.ToLower(take()))
	case "--syn":
		r.cond("tcp_syn on tcp_ack off")
	case "--tcp-flags":
		r.tcpFlags(take(), r.next())
	case "--probability":
		r.cond("chance", percent(take()))
	case "--every":
		r.cond("chance", "1/"+take())
	default:
		return false
	}
	return true
}

// tcpFlags is a mask of TCP's flags and those of them that have to be on.
func (r *reader) tcpFlags(mask, on string) {
	for flag := range strings.SplitSeq(strings.ToLower(mask), ",") {
		state := "off"
		if strings.Contains(","+strings.ToLower(on)+",", ","+flag+",") {
			state = "on"
		}
		r.cond("tcp_"+flag, state)
	}
}

// percent is a probability from 0 to 1 as a share.
func percent(p string) string {
	n, err := strconv.ParseFloat(p, 64)
	if err != nil {
		return p
	}
	return strconv.FormatFloat(100*n, 'f', -1, 64) + "%"
}

// iptablesTarget reads a target and its options.
func (r *reader) iptablesTarget(name string, take func() string) bool {
	switch name {
	case "-j", "--jump", "-g", "--goto":
		return r.iptablesJump(take())
	case "--to-ports", "--to-port":
		r.act(r.port("dest"), ports(take()))
		r.Mapped, r.Note = true, noConnections
	case "--to-destination":
		r.mapped("dest", take())
	case "--to-source":
		r.mapped("src", take())
	case "--ttl-set", "--hl-set":
		r.act(hopField(name), take())
	case "--ttl-dec", "--hl-dec":
		r.act(hopField(name), "-"+take())
	case "--ttl-inc", "--hl-inc":
		r.act(hopField(name), "+"+take())
	case "--set-dscp", "--set-dscp-class":
		r.act(r.ip+"_dscp", strings.ToLower(take()))
	case "--set-tos":
		value, _, _ := strings.Cut(take(), "/")
		r.act("ip_tos", value)
	case "--set-mss":
		r.act("tcp_mss atmost", take())
	case "--clamp-mss-to-pmtu":
		r.fail("the size is a number here: tcp_mss atmost N, where N is the MTU of the path less 40, for IPv6 less 60")
	case "--checksum-fill":
		r.act("udp_check fix")
	case "--reject-with":
		take()
	default:
		r.fail("")
		return false
	}
	return true
}

func hopField(option string) string {
	if strings.HasPrefix(option, "--hl") {
		return "ip6_hlim"
	}
	return "ip_ttl"
}

func (r *reader) iptablesJump(target string) bool {
	switch target {
	case "DROP", "REJECT":
		r.act("drop")
		if target == "REJECT" {
			r.Note = "the sender is told nothing"
		}
	case "ACCEPT", "RETURN":
		r.act("pass")
	case "REDIRECT", "DNAT", "SNAT", "TTL", "HL", "DSCP", "TOS", "TCPMSS", "CHECKSUM":
	case "LOG", "NFLOG", "ULOG", "TRACE":
		r.fail(noLog)
	case "MARK", "CONNMARK", "CLASSIFY", "NFQUEUE":
		r.fail(noMarks)
	case "TEE":
		r.fail(noCopy)
	case "MASQUERADE", "CT", "NETMAP":
		r.fail(onlyStateful)
	default:
		r.fail(noJump)
	}
	return !r.failed
}
