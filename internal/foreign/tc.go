package foreign

import (
	"slices"
	"strings"
)

// tc reads the words behind tc.
func (r *reader) tc() {
	kind := r.next()
	for len(r.rest) > 0 && !r.failed {
		switch w := r.next(); w {
		case "add", "replace", "change", "filter", "protocol", "prio", "pref", "handle", "chain", "parent", "classid", "flowid":
			r.tcOption(w)
		case "dev":
			r.Interface = r.next()
		case "ingress", "clsact":
		case "egress", "root":
			r.Out = true
		case "netem":
			r.netem()
		case "flower":
			r.flower()
		case "u32":
			r.u32()
		case "matchall":
			r.all = true
		case "action":
			r.tcAction()
		case "tbf", "htb", "police", "hfsc", "fq", "cake":
			r.fail(noRate)
		default:
			r.fail("")
		}
	}
	if kind != "filter" && kind != "qdisc" {
		r.fail("")
	}
}

// tcOption reads a word of a filter and the value that follows some of them.
func (r *reader) tcOption(w string) {
	switch w {
	case "add", "replace", "change", "filter":
		return
	case "classid", "flowid":
		r.fail(noMarks)
		return
	}
	value := r.next()
	switch {
	case w == "parent" && strings.HasSuffix(value, "fff3"):
		r.Out = true
	case w == "protocol" && value == "ipv6":
		r.ip = "ip6"
	}
}

// netem reads what netem does to packets that leave.
func (r *reader) netem() {
	r.Out = true
	for len(r.rest) > 0 && !r.failed {
		if !r.accept("loss") {
			r.fail(noDelay)
			return
		}
		r.accept("random")
		r.cond("chance", r.next())
		r.act("drop")
	}
}

// flowerFields are the keys of flower that are a field here.
var flowerFields = map[string]string{
	"src_mac": "eth_src", "dst_mac": "eth_dest", "vlan_id": "vlan_id", "vlan_prio": "vlan_pcp", "vlan_ethtype": "vlan_type", "cvlan_id": "cvlan_id",
	"ip_ttl": "ttl", "type": "icmp_type", "code": "icmp_code", "arp_op": "arp_op", "arp_sip": "arp_spa", "arp_tip": "arp_tpa",
}

// flower reads the keys of a flower filter.
func (r *reader) flower() {
	for len(r.rest) > 0 && r.peek() != "action" && !r.failed {
		switch key := r.next(); key {
		case "skip_hw", "skip_sw", "indev":
		case "ip_proto":
			r.proto = strings.Replace(r.next(), "icmpv6", "icmp6", 1)
		case "dst_port":
			r.cond(r.port("dest"), r.next())
		case "src_port":
			r.cond(r.port("src"), r.next())
		case "dst_ip", "src_ip":
			side := map[string]string{"dst_ip": "dest", "src_ip": "src"}[key]
			address := r.next()
			r.cond(r.address(side, address), address)
		case "ip_tos":
			tos, _, _ := strings.Cut(r.next(), "/")
			r.cond("ip_tos", tos)
		case "classid", "hw_tc":
			r.fail(noMarks)
		default:
			field := flowerFields[key]
			if field == "" {
				r.fail("")
				return
			}
			r.cond(field, r.next())
		}
	}
}

// u32 reads the matches of a u32 filter that name a field.
func (r *reader) u32() {
	for r.accept("match") {
		header, key := r.next(), r.next()
		value := r.next()
		if strings.HasPrefix(r.peek(), "0x") {
			r.next() // a mask
		}
		side := map[string]string{"src": "src", "dst": "dest", "sport": "src", "dport": "dest"}[key]
		switch {
		case header == "u32" && key == "0" && value == "0":
			r.all = true
			if r.accept("at") {
				r.next()
			}
		case key == "src" || key == "dst":
			r.cond(header+"_"+side, strings.TrimSuffix(value, "/32"))
		case key == "sport" || key == "dport":
			r.cond(r.port(side), value)
		case header == "ip" && key == "protocol":
			r.proto = map[string]string{"6": "tcp", "17": "udp", "1": "icmp"}[value]
		case header == "ip" && (key == "tos" || key == "dsfield"):
			r.cond("ip_tos", value)
		default:
			r.fail("")
			return
		}
	}
}

// tcEnds are the words behind which an action of tc is over, and what is done then.
var tcEnds = strings.Fields("pipe ok pass continue reclassify index")

// tcAction reads one action.
func (r *reader) tcAction() {
	switch kind := r.next(); kind {
	case "drop", "shot":
		r.act("drop")
	case "gact", "order":
		if r.accept("drop") {
			r.act("drop")
		}
	case "ok", "pass", "pipe":
		r.act("pass")
	case "csum":
		for len(r.rest) > 0 && r.peek() != "action" {
			r.next()
		}
	case "pedit":
		r.pedit()
	case "skbmod":
		r.skbmod()
	case "vlan":
		r.vlan()
	case "nat":
		r.nat()
	case "mirred":
		r.accept("egress", "ingress")
		if !r.accept("redirect") {
			r.fail(noCopy)
			return
		}
		r.accept("dev")
		r.act("redirect", r.next())
	default:
		r.fail(map[string]string{"police": noRate, "skbedit": noMarks, "sample": noCopy, "ct": onlyStateful, "tunnel_key": noHeaders}[kind])
		return
	}
	for len(r.rest) > 0 && slices.Contains(tcEnds, r.peek()) {
		r.next()
	}
}

// peditFields are the fields of pedit whose names are not those here.
var peditFields = map[string]string{
	"eth_dst": "eth_dest", "ip_dsfield": "ip_tos", "ip6_traffic_class": "ip6_dscp", "ip6_flow_lbl": "ip6_flow",
}

// pedit reads the fields that pedit sets.
func (r *reader) pedit() {
	r.accept("ex")
	for r.accept("munge") {
		header, name, how := r.next(), r.next(), r.next()
		field := header + "_" + name
		if other := peditFields[field]; other != "" {
			field = other
		}
		value := ""
		if how != "preserve" && len(r.rest) > 0 && r.peek() != "munge" && r.peek() != "pipe" {
			value = r.next()
		}
		switch {
		case how == "set":
			r.act(field, value)
		case how == "add" && name == "ttl" && value == "255", how == "decrement", how == "dec":
			r.act(field, "-1")
		case how == "add":
			r.act(field, "+"+value)
		default:
			r.fail("")
			return
		}
		if r.accept("retain") {
			r.fail("")
		}
	}
}

// skbmod reads what skbmod does to the Ethernet header.
func (r *reader) skbmod() {
	switch {
	case r.accept("swap"):
		r.next()
		r.act("swap eth")
	case r.accept("set"):
		for len(r.rest) > 0 && !slices.Contains(tcEnds, r.peek()) && r.peek() != "action" {
			field := map[string]string{"dmac": "eth_dest", "smac": "eth_src", "etype": "eth_type"}[r.next()]
			if field == "" {
				r.fail("")
				return
			}
			r.act(field, r.next())
		}
	default:
		r.fail("")
	}
}

// vlan reads how a tag is changed.
func (r *reader) vlan() {
	if !r.accept("modify") {
		r.fail(noHeaders)
		return
	}
	for {
		switch {
		case r.accept("id"):
			r.act("vlan_id", r.next())
		case r.accept("priority"):
			r.act("vlan_pcp", r.next())
		case r.accept("protocol"):
			r.next()
		default:
			return
		}
	}
}

// nat reads the stateless NAT of tc.
func (r *reader) nat() {
	side := map[string]string{"ingress": "dest", "egress": "src"}[r.next()]
	if side == "" {
		r.fail("")
		return
	}
	r.cond("ip_"+side, strings.TrimSuffix(r.next(), "/32"))
	r.act("ip_"+side, r.next())
}
