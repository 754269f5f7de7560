package reference_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// The six packets that other tools get wrong (semantics.md 4.1):
// if udp_dest 443 then udp_dest 8080.
func TestSixPackets(t *testing.T) {
	t.Parallel()
	toPort := func(p *packet, port layers.UDPPort) []byte {
		p.udp.DstPort = port
		return p.build(t)
	}
	change := func(at int, v uint16, frames ...[]byte) {
		for _, f := range frames {
			put16(f, at, v)
		}
	}
	options := func() *packet {
		p := udpPacket()
		p.ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
		return p
	}
	later := udpPacket().build(t) // its first payload bytes look like a UDP header
	change(20, 0x2000|185, later)
	tagged := func() *packet {
		p := udpPacket()
		p.tags = []layers.EthernetType{layers.EthernetTypeDot1Q}
		return p
	}
	none, noneWant := toPort(udpPacket(), 443), toPort(udpPacket(), 8080)
	change(40, 0, none, noneWant)
	off, offWant := toPort(udpPacket(), 443), toPort(udpPacket(), 8080)
	change(40, get16(off, 40)+1, off)
	change(40, get16(offWant, 40)+1, offWant)

	for _, c := range []struct {
		name     string
		in, want []byte
	}{
		{"plain UDP", toPort(udpPacket(), 443), toPort(udpPacket(), 8080)},
		{"UDP checksum 0", none, noneWant},
		{"IPv4 options", toPort(options(), 443), toPort(options(), 8080)},
		{"later fragment", later, later},
		{"VLAN-tagged", toPort(tagged(), 443), toPort(tagged(), 8080)},
		{"wrong by 1", off, offWant},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := reference.Run(only(is("udp_dest", 443), set("udp_dest", 8080)), c.in)
			if d := cmp.Diff(c.want, got.Frame); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// TestFirstRuleActs shows which rule acts and what Result says of it.
func TestFirstRuleActs(t *testing.T) {
	t.Parallel()
	frame := udpPacket().build(t)
	look := &rule.Rule{Index: 2, Cond: is("ip_ttl", 61)}
	udp := &rule.Rule{Index: 1, Cond: rule.All{}, Actions: []rule.Action{set("udp_src", 1)}}
	same := &rule.Rule{Index: 1, Cond: rule.All{}, Actions: []rule.Action{set("udp_src", 1000)}}
	tcp := &rule.Rule{Index: 0, Cond: rule.All{}, Actions: []rule.Action{set("ip_ttl", 9), set("tcp_src", 1)}}
	for _, c := range []struct {
		name          string
		rules         []*rule.Rule
		rule, index   int
		written, look bool
		changed       bool
	}{
		{name: "no rules", rule: -1, index: -1},
		{name: "field not there", rules: []*rule.Rule{tcp}, rule: -1, index: -1},
		{name: "goes on to the next", rules: []*rule.Rule{tcp, udp, look}, rule: 1, index: 1, written: true, changed: true},
		{name: "no byte differs", rules: []*rule.Rule{tcp, same}, rule: 1, index: 1, written: true},
		{name: "looking ends the search", rules: []*rule.Rule{look, udp}, rule: 0, index: 2, look: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := append([]byte(nil), frame...)
			got := reference.Run(program(c.rules...), frame)
			want := reference.Result{Rule: c.rule, Index: c.index, Rewritten: c.written, DryRun: c.look, Frame: got.Frame}
			if d := cmp.Diff(want, got, butActed); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if changed := !cmp.Equal(before, got.Frame); changed != c.changed {
				t.Errorf("changed is %v, want %v", changed, c.changed)
			}
			if !cmp.Equal(before, frame) || &frame[0] == &got.Frame[0] {
				t.Error("the frame that was given was changed")
			}
		})
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	frame := udpPacket().build(t)
	ports := rule.Test{Field: field.MustByName("udp_dest"), In: field.NewSet(
		field.Range{Lo: field.V(400), Hi: field.V(443)}, field.Range{Lo: field.V(1000), Hi: field.V(2000)})}
	src := rule.Test{Field: field.MustByName("ip_src"), In: field.NewSet(
		field.Range{Lo: field.V(0xc0000200), Hi: field.V(0xc00002ff)})}
	for _, c := range []struct {
		name string
		cond rule.Expr
		want bool
	}{
		{"all", rule.All{}, true},
		{"eth", rule.Has{Proto: field.Eth}, true},
		{"ip", rule.Has{Proto: field.IP}, true},
		{"udp", rule.Has{Proto: field.UDP}, true},
		{"tcp", rule.Has{Proto: field.TCP}, false},
		{"icmp", rule.Has{Proto: field.ICMP}, false},
		{"a set", ports, true},
		{"a prefix", src, true},
		{"not in the set", is("udp_dest", 444), false},
		{"three bits of a byte", is("ip_flags", 2), true},
		{"one bit", is("ip_flag_df", 1), true},
		{"six bits", is("ip_dscp", 10), true},
		{"two bits", is("ip_ecn", 0), true},
		{"thirteen bits", is("ip_offset", 0), true},
		{"field of a header that is not there", is("tcp_dest", 443), false},
		{"not of it", rule.Not{X: is("tcp_dest", 443)}, true},
		{"not", rule.Not{X: ports}, false},
		{"and", rule.And{X: []rule.Expr{ports, src}}, true},
		{"and with a false one", rule.And{X: []rule.Expr{ports, rule.Has{Proto: field.TCP}}}, false},
		{"or", rule.Or{X: []rule.Expr{rule.Has{Proto: field.TCP}, ports}}, true},
		{"or of none", rule.Or{X: []rule.Expr{rule.Has{Proto: field.TCP}, is("udp_src", 1)}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := reference.Run(only(c.cond), frame).DryRun; got != c.want {
				t.Errorf("is %v, want %v", got, c.want)
			}
		})
	}
}

// presence is a frame, what is done to it, and the headers that must be there.
type presence struct {
	name  string
	frame []byte
	edit  func([]byte) []byte
	want  string
}

func checkPresence(t *testing.T, cases []presence) {
	t.Helper()
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) {
			if got := present(field.Ethernet, x.edit(append([]byte(nil), x.frame...))); got != x.want {
				t.Errorf("there are %q, want %q", got, x.want)
			}
		})
	}
}

func keep(b []byte) []byte { return b }

func cut(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }

func put(at int, v uint16) func([]byte) []byte {
	return func(b []byte) []byte { put16(b, at, v); return b }
}

// TestPresence holds the reference to semantics.md 3.6.
func TestPresence(t *testing.T) {
	t.Parallel()
	udp, tcp, icmp := udpPacket().build(t), tcpPacket().build(t), icmpPacket().build(t)
	checkPresence(t, []presence{
		{"whole UDP", udp, keep, "eth ip udp"},
		{"whole TCP", tcp, keep, "eth ip tcp mss"},
		{"whole ICMP", icmp, keep, "eth ip icmp"},
		{"nothing", udp, cut(0), "none"},
		{"half an Ethernet header", udp, cut(13), "none"},
		{"Ethernet alone", udp, cut(14), "eth"},
		{"IPv4 cut by one", udp, cut(33), "eth"},
		{"IPv4 alone", udp, cut(34), "eth ip"},
		{"UDP cut by one", udp, cut(41), "eth ip"},
		{"UDP header and no more", udp, cut(42), "eth ip udp"},
		{"TCP cut by one", tcp, cut(53), "eth ip"},
		{"TCP without its options", tcp, cut(54), "eth ip tcp"},
		{"ICMP cut by one", icmp, cut(41), "eth ip"},
		{"ICMP header and no more", icmp, cut(42), "eth ip icmp"},
		{"total length too small by one", udp, put(16, 27), "eth ip"},
		{"total length just enough", udp, put(16, 28), "eth ip udp"},
		{"total length 0", udp, put(16, 0), "eth ip udp"},
		{"total length beyond the frame", udp, put(16, 9000), "eth ip udp"},
		{"version 5", udp, put(14, 0x5500), "eth ip"},
		{"version 6", udp, put(14, 0x6500), "eth ip"},
		{"header length 0", udp, put(14, 0x4000), "eth ip"},
		{"header length 4", udp, put(14, 0x4400), "eth ip"},
		{"header length 6", udp, put(14, 0x4600), "eth ip udp"},
		{"header length beyond the frame", udp, put(14, 0x4f00), "eth ip"},
		{"first fragment", udp, put(20, 0x2000), "eth ip udp"},
		{"later fragment", udp, put(20, 1), "eth ip"},
		{"last of the offsets", udp, put(20, 0x1fff), "eth ip"},
		{"flags alone", udp, put(20, 0xe000), "eth ip udp"},
		{"unknown protocol", udp, put(22, 0x3d84), "eth ip"},
		{"UDP called TCP", udp, put(22, 0x3d06), "eth ip tcp"},
	})
}

// TestPresenceBehindTags: at most two VLAN tags are stepped over.
func TestPresenceBehindTags(t *testing.T) {
	t.Parallel()
	tagged := func(types ...layers.EthernetType) []byte {
		p := udpPacket()
		p.tags = types
		return p.build(t)
	}
	const c, s = layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ
	checkPresence(t, []presence{
		{"IPv4 called ARP", tagged(), put(12, 0x0806), "eth"},
		{"IPv4 called IPv6", tagged(), put(12, 0x86dd), "eth ip6"},
		{"one tag", tagged(c), keep, "eth vlan ip udp"},
		{"one service tag", tagged(s), keep, "eth vlan ip udp"},
		{"two tags", tagged(s, c), keep, "eth vlan cvlan ip udp"},
		{"two tags the other way", tagged(c, s), keep, "eth vlan cvlan ip udp"},
		{"two tags of a kind", tagged(c, c), keep, "eth vlan cvlan ip udp"},
		{"three tags", tagged(c, c, c), keep, "eth vlan cvlan"},
		{"an old tag type", tagged(c), put(12, 0x9100), "eth"},
		{"tag cut off", tagged(c), cut(17), "eth"},
		{"tag and nothing", tagged(c), cut(18), "eth vlan"},
		{"second tag cut off", tagged(c, c), cut(21), "eth vlan"},
		{"second tag and nothing", tagged(c, c), cut(22), "eth vlan cvlan"},
		{"IPv4 cut by one", tagged(c, c), cut(41), "eth vlan cvlan"},
		{"IPv4 alone", tagged(c, c), cut(42), "eth vlan cvlan ip"},
	})
}

// TestPresenceOfARP: only with Ethernet and IPv4 addresses.
func TestPresenceOfARP(t *testing.T) {
	t.Parallel()
	arp := arpPacket().build(t)[:42]
	tagged := arpPacket()
	tagged.tags = []layers.EthernetType{layers.EthernetTypeDot1Q}
	checkPresence(t, []presence{
		{"whole", arp, keep, "eth arp"},
		{"behind a tag", tagged.build(t), keep, "eth vlan arp"},
		{"cut by one", arp, cut(41), "eth"},
		{"of another link", arp, put(14, 6), "eth"},
		{"of another protocol", arp, put(16, 0x86dd), "eth"},
		{"longer hardware addresses", arp, put(18, 0x0804), "eth"},
		{"longer protocol addresses", arp, put(18, 0x0610), "eth"},
		{"RARP", arp, put(12, 0x8035), "eth"},
	})
}

// present lists the headers for which a rule acts, or says that none does, not
// even one for all packets.
func present(link field.Link, frame []byte) string {
	if !reference.RunOn(link, only(rule.All{}), frame).DryRun {
		return "none"
	}
	var names []string
	for _, p := range field.Protocols() {
		if reference.RunOn(link, only(rule.Has{Proto: p}), frame).DryRun {
			names = append(names, strings.Replace(p.String(), field.MSS.Header().Title, "mss", 1))
		}
	}
	return strings.Join(names, " ")
}
