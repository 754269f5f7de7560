package field

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// figures are the header formats of the RFCs, drawn by hand: a row is 32 bits,
// read from left to right; a name in capitals is no field of the table.
var figures = map[Protocol][]string{
	Eth: { // IEEE 802.3 section 3.1.1
		"eth_dest:48 eth_src:48 eth_type:16",
	},
	VLAN:  {"vlan_pcp:3 vlan_dei:1 vlan_id:12 vlan_type:16"}, // IEEE 802.1Q section 9.6
	CVLAN: {"cvlan_pcp:3 cvlan_dei:1 cvlan_id:12 cvlan_type:16"},
	ARP: { // RFC 826, for Ethernet and IPv4
		"HTYPE:16 PTYPE:16",
		"HLEN:8 PLEN:8 arp_op:16",
		"arp_sha:48 arp_spa:32 arp_tha:48 arp_tpa:32",
	},
	IP6: { // RFC 8200 section 3; RFC 2474 and 3168 for the traffic class
		"VERSION:4 ip6_dscp:6 ip6_ecn:2 ip6_flow:20",
		"ip6_len:16 ip6_next:8 ip6_hlim:8",
		"ip6_src:128",
		"ip6_dest:128",
	},
	ICMP6: {"icmp6_type:8 icmp6_code:8 icmp6_check:16"}, // RFC 4443 section 2.1
	MSS:   {"KIND:8 LENGTH:8 tcp_mss:16"},               // RFC 9293 section 3.2
	IP: { // RFC 791 section 3.1; RFC 2474 and 3168 for the ToS byte
		"ip_ver:4 ip_hl:4 ip_dscp:6 ip_ecn:2 ip_tot_len:16",
		"ip_id:16 ip_flag_res:1 ip_flag_df:1 ip_flag_mf:1 ip_offset:13",
		"ip_ttl:8 ip_protocol:8 ip_check:16",
		"ip_src:32",
		"ip_dest:32",
	},
	TCP: { // RFC 9293 section 3.1; RFC 3540 for the nonce sum
		"tcp_src:16 tcp_dest:16",
		"tcp_seq:32",
		"tcp_ack_seq:32",
		"tcp_hlen:4 tcp_res:3 tcp_nonce:1 tcp_cwr:1 tcp_ece:1 tcp_urg:1 tcp_ack:1 " +
			"tcp_psh:1 tcp_rst:1 tcp_syn:1 tcp_fin:1 tcp_window:16",
		"tcp_check:16 tcp_urg_ptr:16",
	},
	UDP: { // RFC 768
		"udp_src:16 udp_dest:16",
		"udp_len:16 udp_check:16",
	},
	ICMP: { // RFC 792
		"icmp_type:8 icmp_code:8 icmp_check:16",
		"icmp_id:16 icmp_seq:16", // echo and timestamp
	},
}

// unions are the fields that name bits of several others of the figures.
var unions = map[string][]string{
	"ip_tos":    {"ip_dscp", "ip_ecn"},
	"ip_flags":  {"ip_flag_res", "ip_flag_df", "ip_flag_mf"},
	"tcp_flags": {"tcp_cwr", "tcp_ece", "tcp_urg", "tcp_ack", "tcp_psh", "tcp_rst", "tcp_syn", "tcp_fin"},
}

func TestFieldsAreWhereTheRFCsDrawThem(t *testing.T) {
	t.Parallel()
	drawn := map[string]bool{}
	for proto, rows := range figures {
		bit := 0
		for _, cell := range strings.Fields(strings.Join(rows, " ")) {
			name, bits, _ := strings.Cut(cell, ":")
			width, err := strconv.Atoi(bits)
			if err != nil {
				t.Fatal(err)
			}
			if f, ok := ByName(name); ok {
				drawn[name] = true
				if f.Proto != proto || f.Bit != bit || f.Width != width {
					t.Errorf("%s is %v bit %d width %d, drawn at %v bit %d width %d", name, f.Proto, f.Bit, f.Width, proto, bit, width)
				}
			} else if name != strings.ToUpper(name) {
				t.Errorf("%s is drawn and not in the table", name)
			}
			bit += width
		}
		if want := proto.Header().Fixed * 8; bit != want {
			t.Errorf("the figure of %v has %d bits, the header %d", proto, bit, want)
		}
	}
	for name, parts := range unions {
		f, first, last := MustByName(name), MustByName(parts[0]), MustByName(parts[len(parts)-1])
		drawn[name] = true
		if f.Bit != first.Bit || f.Bit+f.Width != last.Bit+last.Width {
			t.Errorf("%s has bits %d to %d, its parts %d to %d", name, f.Bit, f.Bit+f.Width, first.Bit, last.Bit+last.Width)
		}
	}
	for _, f := range Fields() {
		if !drawn[f.Name] {
			t.Errorf("%s is in no figure", f.Name)
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	owner := map[string]string{}
	claim := func(name, by string) {
		if owner[name] != "" {
			t.Errorf("%s names both %s and %s", name, owner[name], by)
		}
		owner[name] = by
		if name != strings.ToLower(name) || strings.ContainsAny(name, " .-") {
			t.Errorf("%q is not a lower-case word with underscores", name)
		}
	}
	for _, p := range Protocols() {
		if word := p.Header().Name; word != "" {
			claim(word, "the header "+word)
		}
	}
	for _, s := range Generics() {
		claim(s.Name, "the generic field "+s.Name)
	}
	for _, f := range Fields() {
		claim(f.Name, f.Name)
		for _, a := range f.Aliases {
			claim(a, f.Name)
			if got, ok := ByName(a); !ok || got != f {
				t.Errorf("the alias %s of %s is not found", a, f.Name)
			}
		}
	}
}

// TestNoNonsense: an alias that fits one field is not that of every field whose
// name ends alike.
func TestNoNonsense(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"eth_etype": "eth_type", "vlan_etype": "vlan_type", "cvlan_etype": "cvlan_type", "icmp_etype": "", "icmp6_etype": "",
		"tcp_sport": "tcp_src", "tcp_saddr": "", "ip_saddr": "ip_src", "ip_sport": "",
	} {
		if f, ok := ByName(name); ok != (want != "") || ok && f.Name != want {
			t.Errorf("%s means %v, want %q", name, f, want)
		}
	}
}

func TestFieldsAreConsistent(t *testing.T) {
	t.Parallel()
	for _, f := range Fields() {
		if !strings.HasPrefix(f.Name, f.Proto.Header().Prefix+"_") {
			t.Errorf("%s does not begin with its header, %v", f.Name, f.Proto)
		}
		if f.Width < 1 || f.Bit < 0 || f.Bit+f.Width > f.Proto.Header().Fixed*8 {
			t.Errorf("%s is not inside the fixed part of its header", f.Name)
		}
		if (f.Kind == Flag) != (f.Width == 1) || f.Kind == Address4 && f.Width != 32 || f.Kind == Address6 && f.Width != 128 || f.Kind == MAC && f.Width != 48 || f.Kind == Port && f.Width != 16 {
			t.Errorf("%s is a %v of %d bits", f.Name, f.Kind, f.Width)
		}
		if f.Doc == "" || !strings.HasPrefix(f.RFC, "RFC ") && !strings.HasPrefix(f.RFC, "IEEE ") {
			t.Errorf("%s has no documentation or no RFC", f.Name)
		}
		for _, n := range f.Names {
			if V(n.Value).Cmp(f.Max()) > 0 {
				t.Errorf("%s: %s is %d, which does not fit", f.Name, n.Word, n.Value)
			}
		}
		for _, g := range Fields() {
			apart := f.Proto != g.Proto || f.Bit+f.Width <= g.Bit || g.Bit+g.Width <= f.Bit
			_, isUnion := unions[f.Name]
			_, inUnion := unions[g.Name]
			if f != g && !apart && !isUnion && !inUnion {
				t.Errorf("%s and %s overlap", f.Name, g.Name)
			}
		}
	}
}

func TestValueNames(t *testing.T) {
	t.Parallel()
	for _, set := range []NameSet{DSCPNames, ECNNames, ProtocolNames, ICMPTypeNames, ICMP6TypeNames, PortNames, EtherTypeNames, ARPNames, TCPFlagNames} {
		seen := map[string]bool{}
		for _, n := range set {
			if seen[n.Word] {
				t.Errorf("%s stands twice in a list", n.Word)
			}
			seen[n.Word] = true
			if n.Word[0] < 'a' || n.Word[0] > 'z' || strings.ToLower(n.Word) != n.Word {
				t.Errorf("%s could be taken for a number, or is not in lower case", n.Word)
			}
			if v, ok := set.Lookup(n.Word); !ok || v != n.Value {
				t.Errorf("%s is found as %d", n.Word, v)
			}
		}
	}
}

// TestCovers compares with the pseudo-header and the header formats, worked
// out by hand: a bit in the high byte of a 16-bit word weighs 256 and more.
func TestCovers(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]Cover{
		"ip_ttl":      {{"ip_check", false, 256}},
		"ip_tos":      {{"ip_check", false, 1}},
		"ip_dscp":     {{"ip_check", false, 4}},
		"ip_flag_df":  {{"ip_check", false, 0x4000}},
		"ip_hl":       {{"ip_check", false, 256}, {"tcp_check", true, -4}},
		"ip_tot_len":  {{"ip_check", false, 1}, {"tcp_check", true, 1}},
		"ip_protocol": {{"ip_check", false, 1}, {"tcp_check", true, 1}, {"udp_check", true, 1}},
		"ip_src":      {{"ip_check", false, 1}, {"tcp_check", true, 1}, {"udp_check", true, 1}},
		"udp_len":     {{"udp_check", false, 1}, {"udp_check", true, 1}},
		"udp_dest":    {{"udp_check", false, 1}},
		"tcp_syn":     {{"tcp_check", false, 2}},
		"tcp_hlen":    {{"tcp_check", false, 0x1000}},
		"icmp_type":   {{"icmp_check", false, 256}},
		"ip6_hlim":    nil,
		"ip6_len":     {{"tcp_check", true, 1}, {"icmp6_check", true, 1}},
		"ip6_next":    {{"tcp_check", true, 1}, {"udp_check", true, 1}, {"icmp6_check", true, 1}},
		"ip6_dest":    {{"tcp_check", true, 1}, {"udp_check", true, 1}, {"icmp6_check", true, 1}},
		"icmp6_type":  {{"icmp6_check", false, 256}},
		"icmp_seq":    {{"icmp_check", false, 1}},
		"tcp_mss":     {{"tcp_check", false, 1}},
		"eth_type":    nil,
		"vlan_id":     nil,
		"arp_spa":     nil,
		"ip_check":    nil,
		"udp_check":   nil,
	} {
		if got := MustByName(name).Covers; !slices.Equal(got, want) {
			t.Errorf("%s is covered by %v, want %v", name, got, want)
		}
	}
}

func TestPlaceInBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		byte, size, shift int
		mask              uint64
	}{
		{"ip_ver", 0, 1, 4, 0xf0},
		{"ip_dscp", 1, 1, 2, 0xfc},
		{"ip_offset", 6, 2, 0, 0x1fff},
		{"ip_flag_mf", 6, 1, 5, 0x20},
		{"tcp_res", 12, 1, 1, 0x0e},
		{"tcp_seq", 4, 4, 0, 0xffffffff},
		{"udp_dest", 2, 2, 0, 0xffff},
	} {
		f := MustByName(c.name)
		if f.Byte() != c.byte || f.Size() != c.size || f.Shift() != c.shift || f.Mask() != V(c.mask) {
			t.Errorf("%s: byte %d size %d shift %d mask %#x, want %+v", c.name, f.Byte(), f.Size(), f.Shift(), f.Mask().Lo, c)
		}
	}
}
