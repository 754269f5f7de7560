package bpf_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/test/needs"
)

func TestMain(m *testing.M) {
	needs.KernelMain()
	os.Exit(m.Run())
}

// proved are rules that between them take every way through the compiler.
var proved = []struct{ name, text string }{
	{"every packet alike", "if all"},
	{"packets without IPv4 only", "if not ip"},
	{"all classes", "if not ip else if tcp else if udp else if icmp else if ip"},
	{"a class of its own next to IPv4", "if udp then ip_ttl 9 else if all then ip_dscp ef"},
	{"no layer 4 asked for", "if ip_ttl lt 5 then ip_ttl 5 else if ip_ttl gt 250"},

	{"one value", "if udp_dest 443 then udp_dest 8080"},
	{"several values", "if udp_dest 53,443,5353,8080 then udp_dest 9"},
	{"none of several values", "if tcp_dest ne 22,80,443 then tcp_dest 22"},
	{"a range", "if tcp_dest 8000-8099 then tcp_window 1"},
	{"ranges, searched by halves", "if udp_src 1-5,9,20-30,1000-2000,0xff00-0xffff then ip_id 1"},
	{"ranges at both ends", "if ip_id 0-9,65530-65535 then ip_id 10"},
	{"a range of some bits of two bytes", "if ip_offset 3-4099 ip_ttl 7-9 then ip_offset 3"},
	{"all but a range", "if tcp_seq ne 0x1000-0x7fffffff,0xfffffff0 then tcp_seq 0x1000"},
	{"a prefix", "if ip_src 10.20.0.0/16 then ip_dscp af31"},
	{"above half of 32 bits", "if ip_dest ge 224.0.0.0 then ip_ttl 1"},
	{"bits of a byte", "if tcp_syn on tcp_ack off then tcp_syn off tcp_ack on"},
	{"bits all off", "if tcp_syn off tcp_fin off tcp_rst off then tcp_urg on"},
	{"a bit on", "if ip_flag_df on then ip_flag_df off"},
	{"a bit of an or", "if ip_flag_df on or tcp_psh off then ip_tos 0"},
	{"some bits of a byte", "if ip_dscp 46,10-14 ip_ecn ne 3 then ip_ecn 3"},
	{"bits over two bytes", "if ip_offset 1-0x1fff ip_flag_mf on then ip_offset 0"},

	{"one part of an or", "if udp_dest 53 or tcp_dest 53 or icmp_type 8 then ip_ttl 64"},
	{"or in and", "if (udp_src 53 or udp_dest 53,5353) ip_ttl ge 64 then udp_src 53"},
	{"and in or", "if tcp_dest 80 tcp_syn on or tcp_src 80 tcp_fin on or ip_ttl 1 then ip_id 7"},
	{"not of a nest", "if not (udp_dest 53 or ip_ttl lt 9 not tcp_syn on) then ip_ttl 9"},
	{"or in and in or", "if ip_ttl 5-9 (ip_id 1 or ip_id 3-4 (ip_tos 7 or ip_tos 9-11)) or ip_ttl 1 then ip_ttl 3"},
	{"rules of one field", "if udp_dest 53 then ip_ttl 1 else if udp_dest 50-60 then ip_ttl 2 else if udp_dest 443 or udp_src 1 then ip_ttl 3 else if udp"},
	{"a value that may not be in its register any more", "if (udp_src 0-60000 or udp_dest 53) ip_ttl 1 else if udp_dest 54 then ip_id 1"},
	{"many rules", "if ip_ttl 1; if ip_ttl 2 then ip_ttl 1; if tcp_rst on then tcp_rst off; if icmp_code 3 then icmp_code 4; if ip_tos 1-7 then ip_tos 0; if udp_len lt 20; if all then ip_id 0"},

	{"an old value that is known", "if ip_ttl 63 then ip_ttl 64"},
	{"two old values that are known, one that is not", "if udp_src 5 ip_src 10.0.0.1 then udp_src 6 ip_src 10.0.0.2 ip_dest 10.0.0.3"},
	{"the same value again", "if udp_src 5 udp_dest 6 then udp_dest 6 udp_src 7"},
	{"a change of nothing modulo 65535", "if tcp_dest 0 then tcp_dest 0xffff else if udp_src 0xffff then udp_src 0"},
	{"words of 32 bits", "if all then ip_src 192.0.2.7 ip_dest 255.255.255.255"},
	{"sequence numbers", "if tcp then tcp_seq 5 tcp_ack_seq 0xffffffff tcp_window 0xffff"},
	{"the upper and the lower byte of a word", "if all then ip_ttl 64 ip_protocol 17 ip_tos 1"},
	{"bits of a word", "if tcp then tcp_hlen 6 tcp_res 5 tcp_nonce on tcp_cwr on tcp_fin off"},
	{"the pseudo-header's lengths", "if all then ip_tot_len 77 ip_hl 7 udp_len 9"},
	{"a shorter header", "if tcp then ip_hl 2 ip_ver 6"},
	{"UDP without a checksum", "if udp_check 0 then udp_dest 9 else if udp_check 0xffff,1 then udp_src 9"},
	{"ICMP", "if icmp_type 8 icmp_code 0-3 then icmp_type 0 icmp_code 9"},

	{"exact checksums", "if tcp then tcp_check 0xdead ip_check 1 else if udp then udp_check 0 udp_src 7 else if icmp then icmp_check 0xffff"},
	{"fix UDP", "if udp then udp_check fix"},
	{"fix UDP and what it covers", "if udp then udp_check fix udp_dest 9 ip_src 10.1.2.3"},
	{"fix TCP", "if tcp_dest 0-40000 then tcp_check fix tcp_seq 7 ip_dest 10.1.2.3"},
	{"fix ICMP", "if icmp then icmp_check fix icmp_type 3"},
	{"bad, all of them", "if udp then udp_check bad else if tcp then tcp_check bad else if icmp then icmp_check bad else if ip then ip_check bad"},
	{"fix behind an or", "if tcp_syn on or tcp_dest 80,443 then tcp_check fix ip_ttl 7"},
	{"fix IPv4", "if all then ip_check fix ip_ttl 9"},
	{"fix one, adjust the other", "if udp then ip_check fix udp_src 7 else if tcp then tcp_check fix ip_ttl 3"},
	{"fix both", "if udp then udp_check fix ip_check bad udp_src 7 else if tcp then ip_check fix tcp_check bad"},
	{"a header that grows over what is set", "if icmp or tcp_syn on then ip_hl 8 ip_check fix icmp_type 3"},
	{"a header that grows over a checksum that is adjusted", "if udp then ip_hl 7 ip_check bad udp_dest 5"},
	{"a header that shrinks", "if ip then ip_hl 5 ip_check fix"},
	{"tags", "if vlan_id 5 then vlan_pcp 3 else if cvlan then cvlan_id 9 vlan_dei on else if vlan then eth_type 0x88a8"},
	{"types of tags", "if eth_type 0x8100 vlan_type 0x88a8 then vlan_pcp 1 else if eth_type 0x88a8 vlan_type 0x8100 then vlan_pcp 2 else if eth_type 0x8100 then vlan_pcp 3 else if vlan then vlan_pcp 4"},
	{"types", "if eth_type arp or vlan_type 0x0800 or cvlan_type 0x86dd then eth_dest 02:00:00:00:00:01 else if eth_src 02:00:00:00:00:00/16 then eth_src ff:ff:ff:ff:ff:ff"},
	{"tags are stepped over", "if tcp_dest 80 then tcp_dest 81 else if arp_op 1 then arp_op 2"},
	{"ARP", "if arp_op request arp_tpa 10.0.0.0/8 then arp_sha 02:00:00:00:00:01 arp_spa 10.0.0.1 arp_tha 02:00:00:00:00:02 arp_op reply"},
	{"both versions of IP", "if udp_dest 53 then udp_dest 5353 else if tcp_syn on then ttl 9 else if icmp6 then icmp6_code 5 else if ip6 then ip6_flow 7"},
	{"addresses of IPv6", "if ip6_src 2001:db8::/32 then ip6_dest 2001:db8::1 else if ip6_dest ne 2001:db8::1-2001:db8::ffff,ff00::/8 then ip6_src fe80::1 ip6_dest ff02::1"},
	{"the pseudo-header of IPv6", "if udp then ip6_next 6 ip6_len 77 else if tcp then ip6_next 17 ip6_len 5 ip6_hlim 3 else if icmp6 then ip6_next 59 ip6_len 9"},
	{"bits over bytes of IPv6", "if ip6_dscp 1-46 ip6_ecn 0-2 then ip6_dscp 10 ip6_flow 0xfffff else if ip6 then ip6_ecn 3"},
	{"fix over IPv6", "if udp ip6 then udp_check fix ip6_src ::1 else if tcp ip6 then tcp_check fix tcp_seq 9 else if icmp6 then icmp6_check fix icmp6_type 4"},
	{"bad over both", "if udp then udp_check bad else if tcp then tcp_check bad else if icmp6 then icmp6_check bad"},
	{"MSS", "if tcp_mss 1361-65535 then tcp_mss 1360 else if tcp_mss ge 0 then tcp_mss 9 tcp_window 5 else if tcp then tcp_urg_ptr 3"},
	{"MSS and a sum", "if tcp_mss ge 1000 then tcp_mss 536 tcp_check fix else if tcp_mss 5-7 then tcp_mss 0 tcp_check bad"},
	{"echo only", "if icmp_id 5-50000 then icmp_seq 7 else if icmp then icmp_code 1"},
	{"all flags of TCP", "if tcp_flags syn,syn-ack then tcp_flags rst else if tcp_flags 0-7 then tcp_flags 0xff"},
	{"swaps", "if udp_dest 0-30000 then swap udp swap ip swap eth else if tcp then swap tcp swap ip6 tcp_window 5 else if icmp6 then swap ip6 swap eth"},
	{"verdicts", "if udp_dest 0-30000 then drop else if tcp then swap eth reflect else if icmp6 then pass else ip6_hlim 9 pass"},
	{"counting up and down", "if udp_dest 8000-8099 then udp_dest +1000 ip_ttl -1 ip_id +0xfff0 else if tcp then tcp_seq -5 tcp_window +60000 ip_tot_len -9 tcp_res +1 else if icmp_id 0-30000 then icmp_seq +1 icmp_id -40 icmp_code +200"},
	{"at least and at most", "if udp then ip_ttl atmost 60 udp_dest atleast 1024 ip_dscp atleast 9 else if tcp then tcp_seq atleast 0x80000001 ip_src atleast 10.0.0.0 ip_dest atmost 200.1.1.1 else if tcp_mss ge 0 then tcp_mss atmost 1360"},
	{"MSS clamped", "if tcp_syn on then tcp_mss atmost 1360 else if tcp_mss 1-60000 then tcp_mss +3 tcp_dest tcp_src"},
	{"two copies swap", "if udp then udp_src udp_dest udp_dest udp_src ip_ttl ip_tos else if tcp then tcp_seq tcp_ack_seq tcp_ack_seq tcp_seq tcp_window ip_id ip_src ip_dest"},
	{"copies over headers", "if vlan ip then ip_ttl vlan_pcp vlan_id ip_ttl else if ip6 tcp then tcp_window ip6_len ip6_hlim tcp_hlen tcp_syn tcp_ack else if arp then arp_spa arp_tpa arp_tha eth_src eth_dest arp_sha"},
	{"IPv6 copied and counted", "if udp ip6 then ip6_src ip6_dest ip6_dest +0xffffffffffffffff else if tcp ip6 then ip6_src -1 ip6_dest atleast 2001:db8::1 else if ip6 then ip6_dest atmost fe80::1 ip6_src +9 ip6_flow +1"},
	{"random", "if udp then udp_src random udp_dest random 1024-2047 ip_dscp random else if tcp then tcp_seq random 7-0xfffffff0 tcp_syn random ip_ttl random 5-5 else if icmp then icmp_code random 1-3 ip_src random"},
	{"the hash of a flow", "if udp then ip6_flow hash ip6_dest hash 2001:db8::/33 udp_src hash 49152-65535 udp_check fix else if udp then ip_src hash eth_src hash udp_dest hash else if tcp then tcp_psh hash ip_dest hash 10.0.0.5-10.9.0.0 ip_ttl random else if vlan then vlan_id hash 1-4094 eth_dest hash else if all then eth_dest hash 02:00:00:00:00:00/7"},
	{"the hash of a flow over IPv6", "if ip6 then ip6_src hash fe80::1-fe80::1:0 ip6_flow hash 7-9 ip6_hlim hash"},
	{"random addresses", "if udp ip then ip_src random 10.0.0.0/8 ip_dest random 192.168.0.1-192.168.0.9 else if udp then ip6_src random 2001:db8::/44 ip6_dest random ::ffff:ffff:ffff:fff0-0:0:0:1::9 else if ip6 then ip6_src random ip6_dest random fe80::/100 else if arp then arp_sha random 02:00:00:00:00:00/12 arp_spa random arp_tpa random 10.1.0.0/17"},
	{"prefixes", "if ip_dest 128.0.0.0/1 then ip_dest 10.1.2.0/23 ip_src 172.16.0.0/12 else if ip_src 1.0.0.0-90.0.0.0 then ip_src 10.0.0.0/9 else if udp then ip6_src 2001:db8::/44 ip6_dest fe80::/127 else if ip6 then ip6_dest fd00::/8 else if arp then arp_tha 02:00:00:00:00:00/20 arp_spa 10.1.0.0/19"},
	{"chances", "if ecn 0,1 chance 5% then ecn 3 else if udp chance 1/2 not chance 99% then udp_check bad else if tcp (chance 3/7 or tcp_syn on chance 4294967295/4294967296) then drop else if not chance 50% then dscp 9"},
	{"fix what is worked out", "if udp then udp_check fix udp_dest +1 udp_src random else if tcp then tcp_check bad tcp_seq -1 ip_ttl random 1-9 ip_check fix ip_src random 10.0.0.0/8 else if icmp6 then icmp6_check fix icmp6_code +1 ip6_dest random"},
	{"stale on purpose", "if udp then udp_check udp_check udp_dest 9 else if tcp then tcp_check tcp_check tcp_seq +1 ip_check ip_check ip_ttl -1"},
	{"a tag worked out", "if cvlan then vlan_id cvlan_id cvlan_id +1 vlan_pcp random else if vlan then vlan_id +1 vlan_dei random vlan_pcp atmost 3 eth_src eth_dest eth_dest random"},
	{"types worked out", "if vlan then vlan_type +1 else if arp then arp_op +1 eth_type +1"},
	{"no such header", "if all then ip_hl 4 ip_check fix else if all then ip_hl 0 ip_check bad else if all"},
}

// TestProve runs every rule on packets made for it, in the kernel and through
// the reference, loaded in each of the ways in which programs differ.
func TestProve(t *testing.T) {
	for _, test := range proved {
		t.Run(test.name, func(t *testing.T) {
			p := checked(t, test.text)
			for _, o := range []engine.LoadOptions{{}, {Fragments: true}, {Limit: 1, Timed: true}, {Hook: bpf.TC}, {Hook: bpf.TC, Limit: 1, Timed: true}} {
				proves(t, p, o, 200)
			}
		})
	}
}

// TestProveEveryField tests and sets every field there is, at the ends of what
// fits and between.
func TestProveEveryField(t *testing.T) {
	for _, f := range field.Fields() {
		t.Run(f.Name, func(t *testing.T) {
			middle := field.Value{Hi: f.Max().Hi / 2, Lo: f.Max().Lo / 2}
			zero, half, top := word(f, field.Value{}), word(f, middle), word(f, f.Max())
			low := word(f, field.V(min(1, middle.Lo))) // a range from 0 is a prefix
			there := f.Proto.Header().Name
			if there == "" || f.Only != nil {
				there = f.Name + " ge " + zero
			}
			for _, text := range []string{
				"if " + f.Name + " " + top + " then " + f.Name + " " + zero,
				"if " + there + " then " + f.Name + " " + top,
				"if " + there + " then " + f.Name + " " + zero,
				"if " + f.Name + " " + zero + "-" + half + " then " + f.Name + " " + half,
				"if " + f.Name + " " + low + "-" + half + " then " + f.Name + " " + top,
			} {
				proves(t, checked(t, text), engine.LoadOptions{}, 200)
				proves(t, checked(t, text), engine.LoadOptions{Hook: bpf.TC}, 100)
			}
		})
	}
}

// TestProveRouted makes whole sums over IPv6 where few packets show a mistake:
// those that are still on a route, and fragments.
func TestProveRouted(t *testing.T) {
	for _, text := range []string{
		"if ip6 udp then udp_check fix",
		"if ip6 tcp then tcp_check bad",
		"if icmp6 then icmp6_check fix icmp6_code 3",
		"if ip6 then ip6_flow hash",
	} {
		for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
			proves(t, checked(t, text), engine.LoadOptions{Hook: h}, 2000)
		}
	}
}

// word writes a value of f.
func word(f *field.Field, v field.Value) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], v.Hi)
	binary.BigEndian.PutUint64(b[8:], v.Lo)
	switch f.Kind {
	case field.Address4:
		return netip.AddrFrom4([4]byte(b[12:])).String()
	case field.Address6:
		return netip.AddrFrom16(b).String()
	case field.MAC:
		return net.HardwareAddr(b[10:]).String()
	}
	return strconv.FormatUint(v.Lo, 10)
}

// proves fails if the program in the kernel differs from the reference, or if
// too few packets were acted on to say anything.
func proves(t *testing.T, p *rule.Program, o engine.LoadOptions, packets int) {
	t.Helper()
	proof, err := engine.SelfTest(p, o, packets)
	var d *engine.DifferenceError
	if errors.As(err, &d) {
		t.Fatalf("%+v:\n%s", o, d.Report())
	}
	if err != nil {
		t.Fatalf("%s (%+v): %v", p.Source, o, err)
	}
	if proof.Packets != packets || proof.Acted < packets/10 {
		t.Errorf("%s (%+v): %d packets, of which %d were acted on: too few to say anything", p.Source, o, proof.Packets, proof.Acted)
	}
}

func checked(t *testing.T, text string) *rule.Program {
	t.Helper()
	p, err := rule.Check(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}
