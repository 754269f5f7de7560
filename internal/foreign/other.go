package foreign

import "strings"

// tcprewrite reads the options of tcprewrite. What it maps it maps at both ends.
func (r *reader) tcprewrite() {
	var maps [][2]string // field with its value, and what is set
	add := func(fields []string, list string) {
		for pair := range strings.SplitSeq(list, ",") {
			from, to, _ := strings.Cut(pair, ":")
			for _, f := range fields {
				maps = append(maps, [2]string{f + " " + from, f + " " + to})
			}
		}
	}
	for len(r.rest) > 0 && !r.failed {
		name, value, joined := strings.Cut(r.next(), "=")
		take := func() string {
			if !joined {
				value = r.next()
			}
			return value
		}
		switch name {
		case "--portmap", "-r":
			add([]string{"dport", "sport"}, take())
		case "--srcipmap", "-S":
			add([]string{"ip_src"}, take())
		case "--dstipmap", "-D":
			add([]string{"ip_dest"}, take())
		case "--pnat", "-N":
			add([]string{"ip_src", "ip_dest"}, take())
		case "-i", "--infile", "-o", "--outfile", "-c", "--cachefile", "--dlt":
			take()
		default:
			r.tcprewriteSet(name, take)
		}
	}
	if r.failed {
		return
	}
	r.Note = "tcprewrite changes files, Repacket live packets"
	always := strings.Join(r.acts, " ")
	var rules []string
	for _, m := range maps {
		rules = append(rules, strings.TrimSpace("if "+m[0]+" then "+m[1]+" "+always))
	}
	if always != "" && len(rules) > 0 {
		rules = append(rules, always)
	}
	r.Rules = strings.Join(rules, " else ")
}

// tcprewriteSet reads an option that sets a field of all packets.
func (r *reader) tcprewriteSet(name string, take func() string) {
	field := map[string]string{
		"--enet-dmac": "eth_dest", "--enet-smac": "eth_src", "--ttl": "ip_ttl", "--tos": "ip_tos", "--tclass": "ip6_dscp", "--flowlabel": "ip6_flow",
		"--enet-vlan-tag": "vlan_id", "--enet-vlan-pri": "vlan_pcp",
	}[name]
	switch {
	case field != "":
		value, _, _ := strings.Cut(take(), ",")
		r.act(field, value)
	case name == "--fixcsum" || name == "-C":
		r.act("ip_check fix")
	case name == "--enet-vlan":
		if take() != "mod" {
			r.fail(noHeaders)
		}
	default:
		r.fail("")
	}
}

// openFlowFields are the fields of OpenFlow as they are called here; what is empty is left out.
var openFlowFields = map[string]string{
	"tp_src": "sport", "tp_dst": "dport", "nw_src": "ip_src", "nw_dst": "ip_dest", "ip_src": "ip_src", "ip_dst": "ip_dest", "nw_tos": "ip_tos", "nw_ttl": "ip_ttl",
	"nw_proto": "ip_protocol", "dl_src": "eth_src", "dl_dst": "eth_dest", "eth_src": "eth_src", "eth_dst": "eth_dest", "dl_type": "eth_type", "dl_vlan": "vlan_id",
	"dl_vlan_pcp": "vlan_pcp", "vlan_vid": "vlan_id", "vlan_pcp": "vlan_pcp", "vlan_tci": "", "ipv6_src": "ip6_src", "ipv6_dst": "ip6_dest", "tcp_src": "tcp_src",
	"tcp_dst": "tcp_dest", "udp_src": "udp_src", "udp_dst": "udp_dest", "arp_spa": "arp_spa", "arp_tpa": "arp_tpa", "arp_op": "arp_op",
	"in_port": "", "priority": "", "table": "", "cookie": "", "idle_timeout": "", "hard_timeout": "", "icmp_type": "icmp_type", "ip_dscp": "ip_dscp",
}

// openFlow reads a flow of Open vSwitch.
func (r *reader) openFlow() {
	flow := r.rest[len(r.rest):]
	for i, w := range r.rest {
		if strings.Contains(w, "actions=") || strings.Contains(w, ",") {
			flow = r.rest[i:]
			break
		}
	}
	match, actions, ok := strings.Cut(strings.Join(flow, ""), "actions=")
	if !ok {
		r.fail("")
		return
	}
	for part := range strings.SplitSeq(strings.Trim(match, ","), ",") {
		name, value, valued := strings.Cut(part, "=")
		field, known := openFlowFields[name]
		switch {
		case name == "tcp" || name == "udp" || name == "icmp":
			r.proto = name
		case name == "ip" || name == "arp":
			r.cond(name)
		case name == "ipv6" || name == "icmp6" || name == "tcp6" || name == "udp6":
			r.cond(map[string]string{"ipv6": "ip6", "icmp6": "icmp6", "tcp6": "ip6 tcp", "udp6": "ip6 udp"}[name])
		case part == "" || known && field == "":
		case !known || !valued:
			r.fail("")
			return
		case field == "sport":
			r.cond(r.port("src"), value)
		case field == "dport":
			r.cond(r.port("dest"), value)
		default:
			r.cond(field, value)
		}
	}
	for action := range strings.SplitSeq(actions, ",") {
		r.openFlowAction(action)
	}
}

// openFlowAction reads one action.
func (r *reader) openFlowAction(action string) {
	name, value, _ := strings.Cut(action, ":")
	switch lower := strings.ToLower(name); {
	case r.failed || lower == "normal" || lower == "output" || lower == "":
	case lower == "drop":
		r.act("drop")
	case lower == "in_port":
		r.act("reflect")
	case lower == "dec_ttl":
		r.act("ttl -1")
	case lower == "mod_vlan_vid":
		r.act("vlan_id", value)
	case lower == "set_field":
		to, field, _ := strings.Cut(value, "->")
		r.setField(field, to)
	case strings.HasPrefix(lower, "mod_"):
		r.setField(strings.TrimPrefix(lower, "mod_"), value)
	case lower == "push_vlan", lower == "pop_vlan", lower == "strip_vlan":
		r.fail(noHeaders)
	case lower == "meter":
		r.fail(noRate)
	default:
		r.fail("")
	}
}

func (r *reader) setField(name, value string) {
	switch field := openFlowFields[name]; field {
	case "":
		r.fail("")
	case "sport":
		r.act(r.port("src"), value)
	case "dport":
		r.act(r.port("dest"), value)
	default:
		r.act(field, value)
	}
}

// tcpdump reads the options of tcpdump; its filter is left to the hints of rules.
func (r *reader) tcpdump() {
	for len(r.rest) > 0 && strings.HasPrefix(r.peek(), "-") {
		switch w := r.next(); {
		case strings.HasPrefix(w, "-i") && len(w) > 2:
			r.Interface = w[2:]
		case strings.HasSuffix(w, "i"): // as in -ni eth1
			r.Interface = r.next()
		case w == "-c" || w == "-w" || w == "-r" || w == "-s" || w == "-B" || w == "-G":
			r.next()
		case w == "-Q":
			r.Out = r.next() == "out"
		}
	}
	if len(r.rest) > 0 {
		r.Rules = "if " + strings.Join(r.rest, " ")
		r.rest = nil
	}
}
