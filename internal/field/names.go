package field

// Name is a word that stands for a value.
type Name struct {
	Word  string
	Value uint64
}

// NameSet lists the words that a field's values have. Several words may stand
// for one value; the first is the one that is shown. No word is one that the
// language needs where a value cannot stand.
type NameSet []Name

// Lookup finds the value of a word, in lower case.
func (s NameSet) Lookup(word string) (uint64, bool) {
	for _, n := range s {
		if n.Word == word {
			return n.Value, true
		}
	}
	return 0, false
}

// Word is the first word for a value, or "".
func (s NameSet) Word(v uint64) string {
	for _, n := range s {
		if n.Value == v {
			return n.Word
		}
	}
	return ""
}

// DSCPNames are the code points of RFC 2474 (class selectors), RFC 2597
// (assured forwarding), RFC 3246 (ef), RFC 5865 (va) and RFC 8622 (lower
// effort, spelled as nft does because le is a comparison).
var DSCPNames = NameSet{
	{"cs0", 0},
	{"be", 0},
	{"lephb", 1},
	{"cs1", 8},
	{"af11", 10},
	{"af12", 12},
	{"af13", 14},
	{"cs2", 16},
	{"af21", 18},
	{"af22", 20},
	{"af23", 22},
	{"cs3", 24},
	{"af31", 26},
	{"af32", 28},
	{"af33", 30},
	{"cs4", 32},
	{"af41", 34},
	{"af42", 36},
	{"af43", 38},
	{"cs5", 40},
	{"va", 44},
	{"ef", 46},
	{"cs6", 48},
	{"cs7", 56},
}

// ECNNames are the code points of RFC 3168 section 5.
var ECNNames = NameSet{
	{"not-ect", 0},
	{"ect1", 1},
	{"ect0", 2},
	{"ce", 3},
}

// ProtocolNames are IP protocol numbers as IANA assigns them.
var ProtocolNames = NameSet{
	{"icmp", 1},
	{"igmp", 2},
	{"ipip", 4},
	{"tcp", 6},
	{"egp", 8},
	{"udp", 17},
	{"dccp", 33},
	{"ipv6", 41},
	{"rsvp", 46},
	{"gre", 47},
	{"esp", 50},
	{"ah", 51},
	{"eigrp", 88},
	{"ospf", 89},
	{"pim", 103},
	{"vrrp", 112},
	{"l2tp", 115},
	{"sctp", 132},
	{"udplite", 136},
	{"mpls", 137},
}

// ICMPTypeNames are the message types of RFC 792 and of IANA's ICMP registry.
var ICMPTypeNames = NameSet{
	{"echo-reply", 0},
	{"destination-unreachable", 3},
	{"source-quench", 4},
	{"echo-request", 8},
	{"router-advertisement", 9},
	{"router-solicitation", 10},
	{"time-exceeded", 11},
	{"parameter-problem", 12},
	{"timestamp-request", 13},
	{"timestamp-reply", 14},
	{"info-request", 15},
	{"info-reply", 16},
	{"address-mask-request", 17},
	{"address-mask-reply", 18},
}

// PortNames are well-known ports by the names of IANA's service registry, and
// a few that everybody says (dns, wireguard, iperf3).
var PortNames = NameSet{
	{"echo", 7},
	{"discard", 9},
	{"daytime", 13},
	{"chargen", 19},
	{"ftp-data", 20},
	{"ftp", 21},
	{"ssh", 22},
	{"telnet", 23},
	{"smtp", 25},
	{"domain", 53},
	{"dns", 53},
	{"bootps", 67},
	{"bootpc", 68},
	{"tftp", 69},
	{"http", 80},
	{"kerberos", 88},
	{"pop3", 110},
	{"sunrpc", 111},
	{"ntp", 123},
	{"imap", 143},
	{"snmp", 161},
	{"snmptrap", 162},
	{"bgp", 179},
	{"ldap", 389},
	{"https", 443},
	{"isakmp", 500},
	{"syslog", 514},
	{"rtsp", 554},
	{"submission", 587},
	{"ldaps", 636},
	{"domain-s", 853},
	{"imaps", 993},
	{"pop3s", 995},
	{"socks", 1080},
	{"openvpn", 1194},
	{"radius", 1812},
	{"radius-acct", 1813},
	{"mqtt", 1883},
	{"ssdp", 1900},
	{"nfs", 2049},
	{"gtp-user", 2152},
	{"mysql", 3306},
	{"rdp", 3389},
	{"stun", 3478},
	{"bfd-control", 3784},
	{"ipsec-nat-t", 4500},
	{"vxlan", 4789},
	{"sip", 5060},
	{"sips", 5061},
	{"iperf3", 5201},
	{"mdns", 5353},
	{"llmnr", 5355},
	{"postgresql", 5432},
	{"coap", 5683},
	{"geneve", 6081},
	{"redis", 6379},
	{"http-alt", 8080},
	{"memcache", 11211},
	{"wireguard", 51820},
}
