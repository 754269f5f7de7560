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
	{"hopopt", 0},
	{"icmp", 1},
	{"igmp", 2},
	{"ipip", 4},
	{"tcp", 6},
	{"egp", 8},
	{"udp", 17},
	{"dccp", 33},
	{"ipv6", 41},
	{"ipv6-route", 43},
	{"ipv6-frag", 44},
	{"rsvp", 46},
	{"gre", 47},
	{"esp", 50},
	{"ah", 51},
	{"ipv6-icmp", 58},
	{"ipv6-nonxt", 59},
	{"ipv6-opts", 60},
	{"eigrp", 88},
	{"ospf", 89},
	{"pim", 103},
	{"vrrp", 112},
	{"l2tp", 115},
	{"sctp", 132},
	{"udplite", 136},
	{"mpls", 137},
}

// EtherTypeNames are types of IEEE 802 Numbers, spelled as nft and tcpdump do.
var EtherTypeNames = NameSet{
	{"ipv4", 0x0800},
	{"arp", 0x0806},
	{"wol", 0x0842},
	{"rarp", 0x8035},
	{"vlan", 0x8100},
	{"ipv6", 0x86dd},
	{"mpls-uc", 0x8847},
	{"mpls-mc", 0x8848},
	{"ppp-disc", 0x8863},
	{"ppp-ses", 0x8864},
	{"qinq", 0x88a8},
	{"macsec", 0x88e5},
	{"ptp", 0x88f7},
	{"lldp", 0x88cc},
	{"profinet", 0x8892},
}

// ARPNames are the operations of RFC 826 and RFC 903.
var ARPNames = NameSet{
	{"request", 1},
	{"reply", 2},
	{"rarp-request", 3},
	{"rarp-reply", 4},
}

// TCPFlagNames are flags that stand alone, and the pairs that everybody says
// (RFC 9293 section 3.1, RFC 3168).
var TCPFlagNames = NameSet{
	{"none", 0x00},
	{"fin", 0x01},
	{"syn", 0x02},
	{"rst", 0x04},
	{"psh", 0x08},
	{"ack", 0x10},
	{"fin-ack", 0x11},
	{"syn-ack", 0x12},
	{"rst-ack", 0x14},
	{"psh-ack", 0x18},
	{"urg", 0x20},
	{"ece", 0x40},
	{"cwr", 0x80},
}

// ICMP6TypeNames are the message types of RFC 4443, RFC 4861 and RFC 2710.
var ICMP6TypeNames = NameSet{
	{"destination-unreachable", 1},
	{"packet-too-big", 2},
	{"time-exceeded", 3},
	{"parameter-problem", 4},
	{"echo-request", 128},
	{"echo-reply", 129},
	{"mld-query", 130},
	{"mld-report", 131},
	{"mld-done", 132},
	{"router-solicitation", 133},
	{"router-advertisement", 134},
	{"neighbor-solicitation", 135},
	{"neighbor-advertisement", 136},
	{"redirect-message", 137},
	{"mld2-report", 143},
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
