package syntax

import (
	"strings"
	"sync"

	"repacket/internal/field"
	"repacket/internal/spelling"
)

// confusions answer words that people try and that no edit distance finds.
var confusions = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"tcp_port": "tcp_src or tcp_dest", "udp_port": "udp_src or udp_dest", "port": "sport or dport",
		"ip_addr": "ip_src or ip_dest", "host": "ip_src or ip_dest", "net": "ip_src or ip_dest",
		"src": "ip_src for the address, sport for the port", "dst": "ip_dest for the address, dport for the port",
		"dest": "ip_dest for the address, dport for the port", "ipv4": "ip", "ip4": "ip", "ether": "eth",
		"saddr": "ip_src", "daddr": "ip_dest", "src_ip": "ip_src", "dst_ip": "ip_dest",
		"srcport": "sport", "src_port": "sport", "dstport": "dport", "dst_port": "dport",
		"destination_port": "dport", "source_port": "sport",
		"df": "ip_flag_df", "mf": "ip_flag_mf", "id": "ip_id", "flags": "tcp_flags or ip_flags",
		"syn": "tcp_syn", "fin": "tcp_fin", "rst": "tcp_rst", "psh": "tcp_psh", "ack": "tcp_ack", "urg": "tcp_urg",
		"window": "tcp_window", "seq": "tcp_seq", "len": "ip_tot_len or udp_len", "csum": "ip_check, tcp_check, udp_check or icmp_check",
		"tos": "ip_tos", "checksum": "ip_check, tcp_check, udp_check or icmp_check", "proto": "ip_protocol",
		"ip_hdr_len": "ip_hl, in 32-bit words", "tcp_hdr_len": "tcp_hlen, in 32-bit words",
		"tcp_window_size": "tcp_window, unscaled", "ip_frag_offset": "ip_offset, in 8-byte units",
		"iif": "the flag -i IFACE, before if", "iifname": "the flag -i IFACE, before if", "dev": "the flag -i IFACE, before if",
		"oif": "the flags -i IFACE -Q out, before if", "oifname": "the flags -i IFACE -Q out, before if",
		"dnat": "ip_dest, tcp_dest or udp_dest, each with its value", "snat": "ip_src, tcp_src or udp_src, each with its value",
		"when": "if", "do": "then", "set": "only the field and its value",
		"accept": "pass", "allow": "pass", "permit": "pass", "deny": "drop", "reject": "drop", "discard": "drop",
		"forward": "redirect", "bounce": "reflect", "any": "all", "every": "all",
		"ipv6": "ip6", "icmpv6": "icmp6", "ipv6_src": "ip6_src", "ipv6_dst": "ip6_dest",
		"ip6_ttl": "ip6_hlim", "ip6_protocol": "ip6_next", "hoplimit": "ip6_hlim, or ttl for both",
		"ether_src": "eth_src", "ether_dst": "eth_dest", "ether_type": "eth_type", "ethertype": "eth_type", "mac": "eth_src or eth_dest",
		"tp_src": "sport", "tp_dst": "dport", "nw_src": "ip_src", "nw_dst": "ip_dest", "nw_proto": "ip_protocol", "nw_tos": "ip_tos",
		"nw_ttl": "ip_ttl", "eth_addr": "eth_src or eth_dest", "mac_addr": "eth_src or eth_dest", "ipv6_addr": "ip6_src or ip6_dest", "nw_ecn": "ip_ecn", "dl_src": "eth_src", "dl_dst": "eth_dest", "dl_type": "eth_type", "dl_vlan": "vlan_id",
		"dl_vlan_pcp": "vlan_pcp", "vlan_tci": "vlan_id", "vlanid": "vlan_id", "match": "if", "where": "if", "action": "then", "actions": "then", "frame_len": "ip_tot_len", "length": "ip_tot_len", "size": "ip_tot_len", "vlan_tag": "vlan_id", "except": "not", "without": "not", "excluding": "not", "prio": "vlan_pcp",
		"src_mac": "eth_src", "dst_mac": "eth_dest", "smac": "eth_src", "dmac": "eth_dest", "mac_src": "eth_src", "mac_dst": "eth_dest",
		"source_mac": "eth_src", "dest_mac": "eth_dest", "destination_mac": "eth_dest", "hwsrc": "arp_sha", "hwdst": "arp_tha",
		"psrc": "arp_spa", "pdst": "arp_tpa", "srcip": "ip_src", "dstip": "ip_dest", "sip": "ip_src", "dip": "ip_dest",
		"source_ip": "ip_src", "dest_ip": "ip_dest", "destination_ip": "ip_dest", "src_addr": "ip_src", "dst_addr": "ip_dest",
		"source_address": "ip_src", "destination_address": "ip_dest", "source": "ip_src for the address, sport for the port",
		"destination": "ip_dest for the address, dport for the port", "dest_port": "dport", "dpt": "dport", "spt": "sport",
		"dports": "dport", "sports": "sport", "hlim": "ip6_hlim", "hop_limit": "ip6_hlim", "hoplim": "ip6_hlim",
		"protocol": "ip_protocol", "l4proto": "ip_protocol", "nexthdr": "ip6_next", "dsfield": "ip_tos", "tclass": "dscp", "tc": "dscp",
		"traffic_class": "dscp", "flowlabel": "ip6_flow", "flow_label": "ip6_flow",
		"dontfrag": "ip_flag_df", "chksum": "ip_check, tcp_check, udp_check or icmp_check", "win": "tcp_window", "maxseg": "tcp_mss",
		"block": "drop", "discarded": "drop", "dropped": "drop", "ignore": "pass", "skip": "pass", "tx": "reflect",
		"xdp_drop": "drop", "xdp_pass": "pass", "xdp_tx": "reflect", "xdp_redirect": "redirect",
		"packets": "all", "traffic": "all", "anything": "all", "everything": "all", "neq": "ne",
		"vid": "vlan_id", "vlan_vid": "vlan_id", "pcp": "vlan_pcp", "mss": "tcp_mss",
	}
})

// prefixes are what other tools begin the names of a protocol's fields with.
var prefixes = map[string]string{
	"ipv4": "ip", "ip4": "ip", "ipv6": "ip6", "icmpv6": "icmp6", "ether": "eth", "ethernet": "eth", "dot1q": "vlan", "8021q": "vlan",
}

// otherPrefix is the field of a name with another tool's prefix.
func otherPrefix(name string) (*field.Field, bool) {
	prefix, rest, _ := strings.Cut(name, "_")
	return field.ByName(prefixes[prefix] + "_" + rest)
}

// Meant says what the unknown word at a place may have meant: in changes of the
// source, or else in prose. candidates are the words that could stand there.
func Meant(at Span, word string, candidates []string) (hint string, meant []Suggestion) {
	name := strings.NewReplacer(".", "_", "-", "_").Replace(word)
	if s, ok := confusions()[name]; ok {
		meant = alternatives(at, s)
		if meant == nil {
			hint = didYouMean + s + "?"
		}
		return hint, meant
	}
	if counted, ok := strings.CutSuffix(word, "--"); ok {
		return "", list(Replace(didYouMean, at, counted+" -1", ""))
	}
	if counted, ok := strings.CutSuffix(word, "++"); ok {
		return "", list(Replace(didYouMean, at, counted+" +1", ""))
	}
	if tool, ok := wishes()[name]; ok {
		if meansReplies[name] {
			meant = list(Replace(didYouMean, at, repliesWord, ""))
		}
		return tool, meant
	}
	if f, ok := otherPrefix(name); ok {
		return "", list(Replace(didYouMean, at, f.Name, ""))
	}
	if s := Nearest(name, candidates); s != "" {
		return "", append(valueOf(at, word), Replace(didYouMean, at, s, ""))
	}
	if meant := valueOf(at, word); meant != nil {
		return "", meant
	}
	if prefix, _, ok := strings.Cut(name, "_"); ok {
		if p, known := field.ProtocolByName(prefix); known {
			return "the fields of " + p.Header().Title + ": repacket fields " + prefix, nil
		}
	}
	return "", nil
}

// valueOf suggests the fields that have a value of the name, such as eth_type for lldp; ports
// have names that say more.
func valueOf(at Span, word string) (meant []Suggestion) {
	for _, name := range []string{"eth_type", "ip_protocol", "ip6_next"} {
		if _, named := field.MustByName(name).Names.Lookup(word); named {
			s := Replace(didYouMean, at, name+" "+word, "")
			if s.Also = meant != nil; s.Also {
				s.Lead = " or "
			}
			meant = append(meant, s)
		}
	}
	return meant
}

// MeantValue is Meant for a word in the place of a value of f.
func MeantValue(at Span, word string, f *field.Field) (hint string, meant []Suggestion) {
	if s := Nearest(strings.ReplaceAll(word, ".", "_"), ValueWords(f)); s != "" {
		return "", list(Replace(didYouMean, at, s, ""))
	}
	return "", nil
}

// alternatives are the words of the language in an answer to a confusion, as in
// "ip_src for the address, sport for the port", each with its remark.
func alternatives(at Span, answer string) []Suggestion {
	var out []Suggestion
	for part := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(answer, ", or ", ", "), " or ", ", "), ", ") {
		word, remark, _ := strings.Cut(part, " ")
		if !isLanguage(Token{Text: word}) {
			if len(out) == 0 {
				return nil
			}
			out[len(out)-1].Tail += ", " + part
			continue
		}
		s := Replace(didYouMean, at, word, "")
		if remark != "" {
			s.Tail = " " + remark
		}
		if s.Also = len(out) > 0; s.Also {
			s.Lead = " or "
		}
		out = append(out, s)
	}
	return out
}

// Nearest is the candidate with the smallest edit distance to word, the first
// of equals, or "" when none is near.
func Nearest(word string, candidates []string) string {
	const longest = 32 // no word of the language is near to a longer one
	if len(word) > longest {
		return ""
	}
	best, limit := "", 2+len(word)/2
	for _, c := range candidates {
		if d := spelling.Distance(word, c); d <= limit && d < 2*min(len(word), len(c)) {
			best, limit = c, d-1
		}
	}
	return best
}

// fieldWords are the names of all fields, canonical ones first: of two
// equally near names the canonical one is suggested.
func fieldWords() []string {
	var words []string
	for _, f := range field.Fields() {
		words = append(words, f.Name)
	}
	for _, s := range field.Generics() {
		words = append(words, s.Name)
	}
	for _, f := range field.Fields() {
		words = append(words, f.Aliases...)
	}
	return words
}

// testWords are the words that can begin a test or follow one.
func testWords() []string {
	words := []string{"then", "and", "or", "not", "all", "else", "if", "chance"}
	for _, p := range field.Protocols() {
		if name := p.Header().Name; name != "" {
			words = append(words, name)
		}
	}
	return append(words, fieldWords()...)
}

// actionWords are the words that can begin an action or follow one.
func actionWords() []string {
	return append([]string{"and", "else", "if", "swap", "pass", "drop", "reflect", "redirect", repliesWord}, fieldWords()...)
}

// Example is a value of f for hints.
func Example(f *field.Field) string {
	switch f.Kind {
	case field.Flag:
		return "on"
	case field.Address4:
		return "10.0.0.1"
	case field.Address6:
		return "2001:db8::1"
	case field.MAC:
		return "02:00:00:00:00:01"
	case field.Port:
		return "8080"
	case field.Checksum:
		return "0xcafe"
	}
	return "1"
}

// ValueWords are the words that can be a value of f.
func ValueWords(f *field.Field) []string {
	var words []string
	if f.Kind == field.Flag {
		words = append(words, "on", "off")
	}
	for _, n := range f.Names {
		words = append(words, n.Word)
	}
	return words
}
