package field

// Which checksums cover a header's bytes. Covers of a whole header come from
// here; what a pseudo-header adds stands in the field's own line.
var headerCheck = map[Protocol]string{
	IP: "ip_check", TCP: "tcp_check", UDP: "udp_check", ICMP: "icmp_check", ICMP6: "icmp6_check", MSS: "tcp_check",
}

// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 section 3.1, RFC 768):
// source, destination, zero, protocol, length. TCP's length is not in any
// field: it is ip_tot_len - 4*ip_hl.
var (
	inBoth       = []Cover{{"tcp_check", true, 1}, {"udp_check", true, 1}}
	inTCPLength  = []Cover{{"tcp_check", true, 1}}
	inTCPLength4 = []Cover{{"tcp_check", true, -4}}
	inUDPLength  = []Cover{{"udp_check", true, 1}}
)

// The pseudo-header over IPv6 (RFC 8200 section 8.1) is that of ICMPv6 too. Its
// protocol is that of the layer-4 header, which is ip6_next only where no
// extension header stands between, and its destination is the last one, which
// is ip6_dest unless a routing header has segments left. The length of TCP and
// of ICMPv6 is ip6_len less the extension headers.
var (
	inAll6    = []Cover{{"tcp_check", true, 1}, {"udp_check", true, 1}, {"icmp6_check", true, 1}}
	inLength6 = []Cover{{"tcp_check", true, 1}, {"icmp6_check", true, 1}}
)

// withIdentifier are the ICMP messages that have an identifier and a sequence
// number: echo and timestamp, request and reply (RFC 792).
var withIdentifier = &Only{"icmp_type", Set{{V(0), V(0)}, {V(8), V(8)}, {V(13), V(14)}}}

// table is the one table of header fields; a line is
// name, header, bit offset, width, kind, documentation, RFC, and what is special.
var table = []*Field{
	{Name: "eth_dest", Proto: Eth, Bit: 0, Width: 48, Kind: MAC, Doc: "destination address", RFC: "IEEE 802.3"},
	{Name: "eth_src", Proto: Eth, Bit: 48, Width: 48, Kind: MAC, Doc: "source address", RFC: "IEEE 802.3"},
	{Name: "eth_type", Proto: Eth, Bit: 96, Width: 16, Names: EtherTypeNames, Structural: true, Doc: "type of what follows the addresses, which may be a tag", RFC: "IEEE 802.3"},

	{Name: "vlan_pcp", Proto: VLAN, Bit: 0, Width: 3, Doc: "priority code point", RFC: "IEEE 802.1Q"},
	{Name: "vlan_dei", Proto: VLAN, Bit: 3, Width: 1, Kind: Flag, Doc: "drop eligible", RFC: "IEEE 802.1Q"},
	{Name: "vlan_id", Proto: VLAN, Bit: 4, Width: 12, Doc: "VLAN identifier", RFC: "IEEE 802.1Q"},
	{Name: "vlan_type", Proto: VLAN, Bit: 16, Width: 16, Names: EtherTypeNames, Structural: true, Doc: "type of what follows the tag", RFC: "IEEE 802.1Q"},

	{Name: "cvlan_pcp", Proto: CVLAN, Bit: 0, Width: 3, Doc: "priority code point", RFC: "IEEE 802.1Q"},
	{Name: "cvlan_dei", Proto: CVLAN, Bit: 3, Width: 1, Kind: Flag, Doc: "drop eligible", RFC: "IEEE 802.1Q"},
	{Name: "cvlan_id", Proto: CVLAN, Bit: 4, Width: 12, Doc: "VLAN identifier", RFC: "IEEE 802.1Q"},
	{Name: "cvlan_type", Proto: CVLAN, Bit: 16, Width: 16, Names: EtherTypeNames, Structural: true, Doc: "type of what follows the second tag", RFC: "IEEE 802.1Q"},

	{Name: "arp_op", Proto: ARP, Bit: 48, Width: 16, Names: ARPNames, Doc: "operation", RFC: "RFC 826"},
	{Name: "arp_sha", Proto: ARP, Bit: 64, Width: 48, Kind: MAC, Doc: "sender's hardware address", RFC: "RFC 826"},
	{Name: "arp_spa", Proto: ARP, Bit: 112, Width: 32, Kind: Address4, Doc: "sender's protocol address", RFC: "RFC 826"},
	{Name: "arp_tha", Proto: ARP, Bit: 144, Width: 48, Kind: MAC, Doc: "target's hardware address", RFC: "RFC 826"},
	{Name: "arp_tpa", Proto: ARP, Bit: 192, Width: 32, Kind: Address4, Doc: "target's protocol address", RFC: "RFC 826"},

	{Name: "ip_ver", Proto: IP, Bit: 0, Width: 4, Structural: true, Doc: "version, 4", RFC: "RFC 791"},
	{Name: "ip_hl", Proto: IP, Bit: 4, Width: 4, Structural: true, Unit: "32-bit words", Covers: inTCPLength4, Doc: "header length, options included", RFC: "RFC 791"},
	{Name: "ip_tos", Proto: IP, Bit: 8, Width: 8, Doc: "type of service: DSCP and ECN together", RFC: "RFC 791"},
	{Name: "ip_dscp", Proto: IP, Bit: 8, Width: 6, Names: DSCPNames, Doc: "differentiated services code point", RFC: "RFC 2474"},
	{Name: "ip_ecn", Proto: IP, Bit: 14, Width: 2, Names: ECNNames, Doc: "explicit congestion notification", RFC: "RFC 3168"},
	{Name: "ip_tot_len", Proto: IP, Bit: 16, Width: 16, Structural: true, Unit: "bytes", Covers: inTCPLength, Doc: "total length, header included", RFC: "RFC 791"},
	{Name: "ip_id", Proto: IP, Bit: 32, Width: 16, Structural: true, Wraps: true, Doc: "identification of the fragments of one datagram", RFC: "RFC 6864"},
	{Name: "ip_flags", Proto: IP, Bit: 48, Width: 3, Structural: true, Doc: "the three flags together: reserved, DF, MF", RFC: "RFC 791"},
	{Name: "ip_flag_res", Proto: IP, Bit: 48, Width: 1, Kind: Flag, Doc: "reserved flag, also known as the evil bit", RFC: "RFC 3514"},
	{Name: "ip_flag_df", Proto: IP, Bit: 49, Width: 1, Kind: Flag, Doc: "don't fragment", RFC: "RFC 791"},
	{Name: "ip_flag_mf", Proto: IP, Bit: 50, Width: 1, Kind: Flag, Structural: true, Doc: "more fragments", RFC: "RFC 791"},
	{Name: "ip_offset", Proto: IP, Bit: 51, Width: 13, Structural: true, Unit: "8-byte units", Doc: "fragment offset", RFC: "RFC 791"},
	{Name: "ip_ttl", Proto: IP, Bit: 64, Width: 8, Doc: "time to live", RFC: "RFC 791"},
	{Name: "ip_protocol", Proto: IP, Bit: 72, Width: 8, Names: ProtocolNames, Structural: true, Covers: inBoth, Doc: "protocol that follows", RFC: "RFC 791"},
	{Name: "ip_check", Proto: IP, Bit: 80, Width: 16, Kind: Checksum, Structural: true, Doc: "header checksum", RFC: "RFC 791"},
	{Name: "ip_src", Proto: IP, Bit: 96, Width: 32, Kind: Address4, Covers: inBoth, Doc: "source address", RFC: "RFC 791"},
	{Name: "ip_dest", Proto: IP, Bit: 128, Width: 32, Kind: Address4, Covers: inBoth, Doc: "destination address", RFC: "RFC 791"},

	{Name: "ip6_dscp", Proto: IP6, Bit: 4, Width: 6, Names: DSCPNames, Doc: "differentiated services code point", RFC: "RFC 2474"},
	{Name: "ip6_ecn", Proto: IP6, Bit: 10, Width: 2, Names: ECNNames, Doc: "explicit congestion notification", RFC: "RFC 3168"},
	{Name: "ip6_flow", Proto: IP6, Bit: 12, Width: 20, Doc: "flow label", RFC: "RFC 6437"},
	{Name: "ip6_len", Proto: IP6, Bit: 32, Width: 16, Structural: true, Unit: "bytes", Covers: inLength6, Doc: "payload length, extension headers included", RFC: "RFC 8200"},
	{Name: "ip6_next", Proto: IP6, Bit: 48, Width: 8, Names: ProtocolNames, Structural: true, Covers: inAll6, Doc: "next header", RFC: "RFC 8200"},
	{Name: "ip6_hlim", Proto: IP6, Bit: 56, Width: 8, Doc: "hop limit", RFC: "RFC 8200"},
	{Name: "ip6_src", Proto: IP6, Bit: 64, Width: 128, Kind: Address6, Covers: inAll6, Doc: "source address", RFC: "RFC 8200"},
	{Name: "ip6_dest", Proto: IP6, Bit: 192, Width: 128, Kind: Address6, Covers: inAll6, Doc: "destination address", RFC: "RFC 8200"},

	{Name: "tcp_src", Proto: TCP, Bit: 0, Width: 16, Kind: Port, Names: PortNames, Doc: "source port", RFC: "RFC 9293"},
	{Name: "tcp_dest", Proto: TCP, Bit: 16, Width: 16, Kind: Port, Names: PortNames, Doc: "destination port", RFC: "RFC 9293"},
	{Name: "tcp_seq", Proto: TCP, Bit: 32, Width: 32, Wraps: true, Doc: "sequence number", RFC: "RFC 9293"},
	{Name: "tcp_ack_seq", Proto: TCP, Bit: 64, Width: 32, Wraps: true, Doc: "acknowledgment number", RFC: "RFC 9293"},
	{Name: "tcp_hlen", Proto: TCP, Bit: 96, Width: 4, Structural: true, Unit: "32-bit words", Doc: "data offset: header length, options included", RFC: "RFC 9293"},
	{Name: "tcp_res", Proto: TCP, Bit: 100, Width: 3, Doc: "reserved bits", RFC: "RFC 9293"},
	{Name: "tcp_flags", Proto: TCP, Bit: 104, Width: 8, Names: TCPFlagNames, Doc: "the eight flags from CWR to FIN together", RFC: "RFC 9293"},
	{Name: "tcp_nonce", Proto: TCP, Bit: 103, Width: 1, Kind: Flag, Doc: "nonce sum, today accurate ECN (AE)", RFC: "RFC 3540"},
	{Name: "tcp_cwr", Proto: TCP, Bit: 104, Width: 1, Kind: Flag, Doc: "congestion window reduced", RFC: "RFC 3168"},
	{Name: "tcp_ece", Proto: TCP, Bit: 105, Width: 1, Kind: Flag, Doc: "ECN echo", RFC: "RFC 3168"},
	{Name: "tcp_urg", Proto: TCP, Bit: 106, Width: 1, Kind: Flag, Doc: "urgent pointer is valid", RFC: "RFC 9293"},
	{Name: "tcp_ack", Proto: TCP, Bit: 107, Width: 1, Kind: Flag, Doc: "acknowledgment number is valid", RFC: "RFC 9293"},
	{Name: "tcp_psh", Proto: TCP, Bit: 108, Width: 1, Kind: Flag, Doc: "push", RFC: "RFC 9293"},
	{Name: "tcp_rst", Proto: TCP, Bit: 109, Width: 1, Kind: Flag, Doc: "reset the connection", RFC: "RFC 9293"},
	{Name: "tcp_syn", Proto: TCP, Bit: 110, Width: 1, Kind: Flag, Doc: "synchronize sequence numbers", RFC: "RFC 9293"},
	{Name: "tcp_fin", Proto: TCP, Bit: 111, Width: 1, Kind: Flag, Doc: "no more data from the sender", RFC: "RFC 9293"},
	{Name: "tcp_window", Proto: TCP, Bit: 112, Width: 16, Doc: "receive window, unscaled", RFC: "RFC 9293"},
	{Name: "tcp_check", Proto: TCP, Bit: 128, Width: 16, Kind: Checksum, Doc: "checksum of header, payload and pseudo-header", RFC: "RFC 9293"},
	{Name: "tcp_urg_ptr", Proto: TCP, Bit: 144, Width: 16, Doc: "urgent pointer", RFC: "RFC 9293"},
	{Name: "tcp_mss", Proto: MSS, Bit: 16, Width: 16, Unit: "bytes", Doc: "maximum segment size, where the option is there", RFC: "RFC 9293"},

	{Name: "udp_src", Proto: UDP, Bit: 0, Width: 16, Kind: Port, Names: PortNames, Doc: "source port", RFC: "RFC 768"},
	{Name: "udp_dest", Proto: UDP, Bit: 16, Width: 16, Kind: Port, Names: PortNames, Doc: "destination port", RFC: "RFC 768"},
	{Name: "udp_len", Proto: UDP, Bit: 32, Width: 16, Structural: true, Unit: "bytes", Covers: inUDPLength, Doc: "length of header and payload", RFC: "RFC 768"},
	{Name: "udp_check", Proto: UDP, Bit: 48, Width: 16, Kind: Checksum, Doc: "checksum of header, payload and pseudo-header; 0 is none", RFC: "RFC 768"},

	{Name: "icmp_type", Proto: ICMP, Bit: 0, Width: 8, Names: ICMPTypeNames, Doc: "message type", RFC: "RFC 792"},
	{Name: "icmp_code", Proto: ICMP, Bit: 8, Width: 8, Doc: "subtype of the message", RFC: "RFC 792"},
	{Name: "icmp_check", Proto: ICMP, Bit: 16, Width: 16, Kind: Checksum, Doc: "checksum of the whole message", RFC: "RFC 792"},
	{Name: "icmp_id", Proto: ICMP, Bit: 32, Width: 16, Only: withIdentifier, Doc: "identifier, in echo and timestamp messages", RFC: "RFC 792"},
	{Name: "icmp_seq", Proto: ICMP, Bit: 48, Width: 16, Only: withIdentifier, Wraps: true, Doc: "sequence number, in echo and timestamp messages", RFC: "RFC 792"},

	{Name: "icmp6_type", Proto: ICMP6, Bit: 0, Width: 8, Names: ICMP6TypeNames, Doc: "message type", RFC: "RFC 4443"},
	{Name: "icmp6_code", Proto: ICMP6, Bit: 8, Width: 8, Doc: "subtype of the message", RFC: "RFC 4443"},
	{Name: "icmp6_check", Proto: ICMP6, Bit: 16, Width: 16, Kind: Checksum, Doc: "checksum of the whole message and the pseudo-header", RFC: "RFC 4443"},
}

// aliasOf lists, for the part of a name behind its protocol, the other
// spellings that people bring from tcpdump, Wireshark, nft, tc and iptables.
// A spelling is an alias only where no field has it as its own name, and only
// where the units agree: Wireshark counts ip.hdr_len and tcp.hdr_len in bytes
// and scales tcp.window_size, so none of these is here.
var aliasOf = map[string][]string{
	"src":      {"sport", "srcport", "saddr", "source", "spt"},
	"dest":     {"dport", "dstport", "dst", "daddr", "destination", "dpt"},
	"protocol": {"proto"},
	"check":    {"checksum", "chksum", "csum", "sum"},
	"tot_len":  {"len", "length", "total_length"},
	"hl":       {"ihl", "hdrlength"},
	"ver":      {"version"},
	"tos":      {"dsfield"},
	"flag_df":  {"df", "flags_df"},
	"flag_mf":  {"mf", "flags_mf"},
	"flag_res": {"rf", "flags_rb"},
	"hlen":     {"doff", "data_offset"},
	"dscp":     {"dsfield_dscp"},
	"ecn":      {"dsfield_ecn"},
	"res":      {"reserved"},
	"nonce":    {"ns", "flags_ns", "flags_ae"},
	"cwr":      {"flags_cwr"},
	"ece":      {"flags_ece"},
	"urg":      {"flags_urg"},
	"ack":      {"flags_ack"},
	"psh":      {"flags_psh", "flags_push"},
	"rst":      {"flags_rst", "flags_reset"},
	"syn":      {"flags_syn"},
	"fin":      {"flags_fin"},
	"len":      {"length"},
	"window":   {"win", "window_size_value"},
	"urg_ptr":  {"urgptr", "urgent_pointer"},
	"next":     {"nxt", "nexthdr"},
	"hlim":     {"hoplimit", "hop_limit"},
	"flow":     {"flowlabel", "flow_label"},
	"id":       {"identifier"},
	"op":       {"operation", "opcode"},
	"pcp":      {"prio", "priority"},
	"dei":      {"cfi"},
	"type":     {"etype"},
	"mss":      {"options_mss_val"},
	"seq":      {"sequence"},
	"ack_seq":  {"ackseq", "acknowledgment"},
}

// addressOnly and portOnly keep the address words off ports and the port
// words off addresses, linkOnly the Ethernet type off ICMP, where they would
// read as nonsense.
var (
	addressOnly = map[string]bool{"saddr": true, "daddr": true}
	portOnly    = map[string]bool{"sport": true, "dport": true, "srcport": true, "dstport": true, "spt": true, "dpt": true}
	linkOnly    = map[string]bool{"etype": true}
)

var byName = make(map[string]*Field, 4*len(table))

func init() {
	for _, f := range table {
		byName[f.Name] = f
	}
	for _, f := range table {
		f.Covers = covers(f)
		f.Aliases = spellings(f)
		for _, a := range f.Aliases {
			byName[a] = f
		}
	}
	addQuoted()
}

// covers completes the checksums of f: its own header's, unless f is that
// checksum or the header has none, then what its line says.
func covers(f *Field) []Cover {
	own := headerCheck[f.Proto] // an odd place of the option MSS is the plan's to know
	if f.Name == own || own == "" {
		return f.Covers
	}
	return append([]Cover{{Check: own, Weight: f.directWeight()}}, f.Covers...)
}

func spellings(f *Field) []string {
	prefix := f.Proto.Header().Prefix + "_"
	var names []string
	for _, word := range aliasOf[f.Name[len(prefix):]] {
		if addressOnly[word] && f.Kind != Address4 && f.Kind != Address6 || portOnly[word] && f.Kind != Port || linkOnly[word] && f.Proto.Header().Layer >= NetworkLayer {
			continue
		}
		if _, taken := byName[prefix+word]; !taken {
			names = append(names, prefix+word)
		}
	}
	return names
}

// Fields lists every field of the language in the order of the headers.
func Fields() []*Field { return table }

// ByName finds a field by its name or one of its aliases, in lower case.
func ByName(name string) (*Field, bool) {
	f, ok := byName[name]
	return f, ok
}

// MustByName is ByName for names that stand in the table, and for those of quoted fields.
func MustByName(name string) *Field {
	f, ok := byName[name]
	if !ok {
		f, ok = quotedByName[name]
	}
	if !ok {
		panic("field: no field is named " + name)
	}
	return f
}

// Generic is a name that means the field of whichever protocol is there.
type Generic struct {
	Name   string
	Fields []string
	Doc    string
}

// Generics lists the generic fields.
func Generics() []Generic { return generics }

var generics = []Generic{
	{"sport", []string{"tcp_src", "udp_src"}, "source port, TCP or UDP"},
	{"dport", []string{"tcp_dest", "udp_dest"}, "destination port, TCP or UDP"},
	{"dscp", []string{"ip_dscp", "ip6_dscp"}, "differentiated services code point, IPv4 or IPv6"},
	{"ecn", []string{"ip_ecn", "ip6_ecn"}, "explicit congestion notification, IPv4 or IPv6"},
	{"ttl", []string{"ip_ttl", "ip6_hlim"}, "time to live of IPv4, hop limit of IPv6"},
}

// GenericByName gives the fields that a generic field stands for.
func GenericByName(name string) ([]*Field, bool) {
	for _, s := range generics {
		if s.Name == name {
			var out []*Field
			for _, n := range s.Fields {
				out = append(out, MustByName(n))
			}
			return out, true
		}
	}
	return nil, false
}
