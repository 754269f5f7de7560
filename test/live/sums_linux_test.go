package live

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"repacket/internal/bpf"
	"repacket/test/testnet"
)

// sumCase is a rule by what it asks of checksums, and what it does in the
// outside library's terms. The packet that it makes is for the right end.
type sumCase struct {
	name, text string
	kinds      string
	// before and after make the packet as it is sent and as it must arrive.
	before, after func(p *packet)
}

func src4(p *packet)  { p.ip.SrcIP = address(0xc000024d) }
func src6(p *packet)  { p.ip6.SrcIP = net.ParseIP("2001:db8::4d:77") }
func none(*packet)    {}
func dest4(p *packet) { p.ip.DstIP = address(0xc6336407) }
func dest6(p *packet) { p.ip6.DstIP = net.ParseIP("2001:db8:99:88:77:66:55:44") }

func dport(v uint16) func(p *packet) {
	return func(p *packet) {
		if p.tcp != nil {
			set["tcp_dest"](p, uint64(v))
		} else {
			set["udp_dest"](p, uint64(v))
		}
	}
}

func all(list ...func(p *packet)) func(p *packet) {
	return func(p *packet) {
		for _, f := range list {
			f(p)
		}
	}
}

func gives(values map[string]uint64) func(p *packet) {
	return func(p *packet) {
		for name, v := range values {
			set[name](p, v)
		}
	}
}

// tenOf are ten rules of one shape, which become a table. Two numbers of each
// rise from rule to rule; the first one takes the packet.
func tenOf(format string, a, b int) string {
	var lines []string
	for i := range 10 {
		lines = append(lines, fmt.Sprintf(format, a+i, b+i))
	}
	return strings.Join(lines, "\n")
}

// networks opens a file of ten networks and those that come in their place; the
// first ones are the sender's.
func networks(string) (io.ReadCloser, error) {
	rows := "net,to,net6,to6\n192.0.2.0/25,198.18.7.0/25,2001:db8::/112,2001:db8::4d:0/112\n"
	for i := range 9 {
		rows += fmt.Sprintf("10.%d.0.0/16,172.%d.0.0/16,fd00:%x::/32,fd01:%x::/32\n", i, i, i, i)
	}
	return io.NopCloser(strings.NewReader(rows)), nil
}

// rightSums are rules behind which a checksum has to be right.
var rightSums = []sumCase{
	{"port", "if dport 5201 then dport 8080", "tcp udp tcp6 udp6", none, dport(8080)},
	{"port in a table", tenOf("if dport %d then dport %d", 5201, 8080), "tcp udp tcp6 udp6", none, dport(8080)},
	{"source in a table", tenOf("if ip_src 192.0.2.%d then ip_src 192.0.2.%d", 1, 77), "tcp udp icmp", none, src4},
	{"port and source in a table", tenOf("if ip_src 192.0.2.1 dport %d then ip_src 192.0.2.77 dport %d", 5201, 8080), "tcp udp", none, all(src4, dport(8080))},
	{"IPv6 source in a table", tenOf("if ip6_src 2001:db8::%d then ip6_src 2001:db8::4d:%d", 1, 77), "tcp6 udp6 icmp6", none, src6},
	{"hop limit in a table", tenOf("if ip6_src 2001:db8::%d then ip6_hlim %d", 1, 9), "tcp6 udp6 icmp6", none, gives(map[string]uint64{"ip6_hlim": 9})},
	{"networks in a table", "if ip_src @net then ip_src @to from networks.csv", "tcp udp icmp", none, gives(map[string]uint64{"ip_src": 0xc6120701})},
	{
		"IPv6 networks in a table", "if ip6_src @net6 then ip6_src @to6 from networks.csv", "tcp6 udp6 icmp6", none,
		func(p *packet) { p.ip6.SrcIP = net.ParseIP("2001:db8::4d:1") },
	},
	{"fix in a table", tenOf("if udp_dest %d then udp_check fix udp_dest %d", 5201, 8080), "udp udp6", none, dport(8080)},
	{"source", "if all then ip_src 192.0.2.77", "tcp udp icmp", none, src4},
	{"destination", "if all then ip_dest 192.0.2.2", "tcp udp icmp", dest4, gives(map[string]uint64{"ip_dest": 0xc0000202})},
	{"IPv6 source", "if all then ip6_src 2001:db8::4d:77", "tcp6 udp6 icmp6", none, src6},
	{
		"IPv6 destination", "if all then ip6_dest 2001:db8::2", "tcp6 udp6 icmp6", dest6,
		func(p *packet) { p.ip6.DstIP = net.ParseIP("2001:db8::2") },
	},
	{
		"several, TCP", "if all then ip_src 192.0.2.77 tcp_dest 80 tcp_seq 77 tcp_window 9 tcp_ece on ip_ttl 9 ip_dscp 7", "tcp", none,
		all(src4, gives(map[string]uint64{"tcp_dest": 80, "tcp_seq": 77, "tcp_window": 9, "tcp_ece": 1, "ip_ttl": 9, "ip_dscp": 7})),
	},
	{
		"several, UDP", "if all then ip_src 192.0.2.77 udp_src 7 udp_dest 8 ip_ttl 9 ip_ecn ce", "udp", none,
		all(src4, gives(map[string]uint64{"udp_src": 7, "udp_dest": 8, "ip_ttl": 9, "ip_ecn": 3})),
	},
	{
		"several, TCP over IPv6", "if all then ip6_src 2001:db8::4d:77 tcp_dest 80 tcp_ack_seq 77 tcp_cwr on ip6_hlim 9 ip6_dscp 7 ip6_flow 5", "tcp6", none,
		all(src6, gives(map[string]uint64{"tcp_dest": 80, "tcp_ack_seq": 77, "tcp_cwr": 1, "ip6_hlim": 9, "ip6_dscp": 7, "ip6_flow": 5})),
	},
	{
		"several, UDP over IPv6", "if all then ip6_src 2001:db8::4d:77 udp_src 7 udp_dest 8 ip6_hlim 9 ip6_ecn ce", "udp6", none,
		all(src6, gives(map[string]uint64{"udp_src": 7, "udp_dest": 8, "ip6_hlim": 9, "ip6_ecn": 3})),
	},
	{"bytes of IPv4", "if all then ip_ttl 9 ip_dscp 63 ip_flag_df off", "tcp udp icmp", none, gives(map[string]uint64{"ip_ttl": 9, "ip_dscp": 63, "ip_flag_df": 0})},
	{"hop limit", "if all then ip6_hlim 9", "tcp6 udp6 icmp6", none, gives(map[string]uint64{"ip6_hlim": 9})},
	{"flow label", "if all then ip6_flow 0xabcde", "tcp6 udp6 icmp6", none, gives(map[string]uint64{"ip6_flow": 0xabcde})},
	{"DSCP of IPv6", "if all then ip6_dscp 63", "tcp6 udp6 icmp6", none, gives(map[string]uint64{"ip6_dscp": 63})},
	{
		"all that no sum covers", "if all then ip6_dscp 63 ip6_ecn ce ip6_flow 0xabcde ip6_hlim 9", "tcp6 udp6 icmp6", none,
		gives(map[string]uint64{"ip6_dscp": 63, "ip6_ecn": 3, "ip6_flow": 0xabcde, "ip6_hlim": 9}),
	},
	{"flag", "if all then tcp_psh off tcp_ece on", "tcp tcp6", none, gives(map[string]uint64{"tcp_psh": 0, "tcp_ece": 1})},
	{"no change", "if all then ttl 64", allKinds, none, none},
	{"swapped ports", "if all then swap tcp", "tcp tcp6", none, func(p *packet) { p.tcp.SrcPort, p.tcp.DstPort = p.tcp.DstPort, p.tcp.SrcPort }},
	{"swapped ports, UDP", "if all then swap udp", "udp udp6", none, func(p *packet) { p.udp.SrcPort, p.udp.DstPort = p.udp.DstPort, p.udp.SrcPort }},
	{"fix of what is right", "if all then udp_check fix", "udp udp6", none, none},
	{"fix of what is right, TCP", "if all then tcp_check fix", "tcp tcp6", none, none},
	{"fix of what is right, ICMP", "if all then icmp_check fix", "icmp", none, none},
	{"fix of what is right, ICMPv6", "if all then icmp6_check fix", "icmp6", none, none},
	{"fix and more", "if all then udp_check fix udp_dest 7 ttl 9", "udp", none, gives(map[string]uint64{"udp_dest": 7, "ip_ttl": 9})},
	{"fix and more, IPv6", "if all then tcp_check fix tcp_dest 7 ttl 9 ip6_src 2001:db8::4d:77", "tcp6", none, all(src6, gives(map[string]uint64{"tcp_dest": 7, "ip6_hlim": 9}))},
	{"ICMP", "if all then icmp_seq 7 icmp_id 8", "icmp", none, gives(map[string]uint64{"icmp_seq": 7, "icmp_id": 8})},
	{"counted up", "if tcp_dest 5000-5999 then tcp_dest +1000 tcp_seq -5", "tcp tcp6", none, all(dport(6201), gives(map[string]uint64{"tcp_seq": 0x010202ff}))},
	{"counted up, UDP", "if udp_dest 5000-5999 then udp_dest +1000", "udp udp6", none, dport(6201)},
	{"at most", "if all then ip_ttl atmost 60", "tcp udp icmp", none, gives(map[string]uint64{"ip_ttl": 60})},
	{"at most, IPv6", "if all then ip6_hlim atmost 60 ip6_flow atleast 0xabcde", "tcp6 udp6 icmp6", none, gives(map[string]uint64{"ip6_hlim": 60, "ip6_flow": 0xabcde})},
	{
		"prefix", "if all then ip_dest 192.0.2.0/24", "tcp udp icmp",
		gives(map[string]uint64{"ip_dest": 0xc6336402}), gives(map[string]uint64{"ip_dest": 0xc0000202}),
	},
	{
		"prefix of IPv6", "if all then ip6_dest 2001:db8::/60", "tcp6 udp6 icmp6",
		func(p *packet) { p.ip6.DstIP = net.ParseIP("2001:db8:99:70::2") }, func(p *packet) { p.ip6.DstIP = net.ParseIP("2001:db8::2") },
	},
	{"two copies", "if all then udp_src udp_dest udp_dest udp_src", "udp udp6", none, func(p *packet) { p.udp.SrcPort, p.udp.DstPort = p.udp.DstPort, p.udp.SrcPort }},
	{"copies, TCP", "if all then tcp_seq tcp_ack_seq tcp_ack_seq tcp_seq tcp_window tcp_urg_ptr", "tcp tcp6", none, gives(map[string]uint64{"tcp_seq": 0x05060708, "tcp_ack_seq": 0x01020304, "tcp_window": 0x0102})},
	{"drawn from one", "if all then udp_src random 7-7 ip_src random 192.0.2.77-192.0.2.77", "udp", none, all(src4, gives(map[string]uint64{"udp_src": 7}))},
	{"fix what is counted up", "if all then udp_check fix udp_dest +1 ttl -1", "udp", none, gives(map[string]uint64{"udp_dest": 5202, "ip_ttl": 63})},
	{"IPv4 header fixed", "if all then ip_check fix ip_ttl 9", "tcp udp icmp", none, gives(map[string]uint64{"ip_ttl": 9})},
}

// TestRightSums: whatever the kernel knows of a checksum, it is right behind the
// rule, the stack takes the packet, and what a device has summed up is still the
// sum of what is there.
func TestRightSums(t *testing.T) {
	n := 0
	onStates(t, func(b *stateBench, kind string) {
		for _, c := range rightSums {
			if !has(c.kinds, kind) {
				continue
			}
			n++
			b.t.Run(c.name, func(t *testing.T) { b.onto(t).right(c, kind) })
		}
	})
	t.Logf("figure: %d cases of %d rules in %d states", n, len(rightSums), len(states))
}

func has(kinds, kind string) bool {
	for k := range strings.FieldsSeq(kinds) {
		if k == kind {
			return true
		}
	}
	return false
}

func (b *stateBench) right(c sumCase, kind string) {
	b.t.Helper()
	p := newPacket(kind)
	c.before(p)
	sent := p.frame()
	c.after(p)
	want := p.frame()
	if b.state.sum == testnet.ChecksumPartial && strings.Contains(c.text, "fix") && !strings.Contains(c.text, "ip_check fix") {
		b.leftAlone(c.text, kind, sent) // nothing at tc completes it
		return
	}
	r := b.use(c.text)
	receiver := newStack(b.t, b.pair.B)
	b.send(sent)
	got, skb := b.arrives(p.l4())
	same(b.t, c.text, sent, want, got)
	if !rightByLibrary(got) {
		b.t.Errorf("%s: the library finds %s wrong", c.text, wrongSums(got))
	}
	if !receiver.accepts(b.t, kind) {
		b.t.Errorf("%s: the stack has not taken the packet, %v", c.text, skb.Checksum)
	}
	r.wants(c.text, bpf.Counter{Packets: 1, Bytes: uint64(len(sent))})
}

// TestUDPWithoutSum: a checksum of 0 stays. Over IPv4 the stack takes it, over
// IPv6 it does not (RFC 8200 section 8.1).
func TestUDPWithoutSum(t *testing.T) {
	onStates(t, func(b *stateBench, kind string) {
		if b.state.sum == testnet.ChecksumPartial || !has("udp udp6", kind) {
			return
		}
		for _, c := range rightSums {
			if !has(c.kinds, kind) || strings.Contains(c.text, "fix") {
				continue
			}
			b.t.Run(c.name, func(t *testing.T) {
				b := b.onto(t)
				p := newPacket(kind)
				p.udp.Checksum = 0
				c.before(p)
				sent := p.frame()
				c.after(p)
				b.use(c.text)
				receiver := newStack(t, b.pair.B)
				b.send(sent)
				got, _ := b.arrives(p.l4())
				same(t, c.text, sent, p.frame(), got)
				if accepted := receiver.accepts(t, kind); accepted != (kind == "udp") {
					t.Errorf("%s: accepted %v", c.text, accepted)
				}
			})
		}
	})
}

// TestWrongSumStaysWrong by the same amount, whatever changes.
func TestWrongSumStaysWrong(t *testing.T) {
	onStates(t, func(b *stateBench, kind string) {
		if b.state.sum == testnet.ChecksumPartial {
			return
		}
		for _, c := range rightSums {
			if !has(c.kinds, kind) || strings.Contains(c.text, "fix") {
				continue
			}
			b.t.Run(c.name, func(t *testing.T) {
				b := b.onto(t)
				p := newPacket(kind)
				c.before(p)
				_, at := checkOf(kind)
				at += p.l4()
				sent := plusOne(p.frame(), at)
				c.after(p)
				b.use(c.text)
				receiver := newStack(t, b.pair.B)
				b.send(sent)
				got, _ := b.arrives(p.l4())
				same(t, c.text, sent, plusOne(p.frame(), at), got)
				if receiver.accepts(t, kind) {
					t.Errorf("%s: the stack took a wrong sum", c.text)
				}
			})
		}
	})
}

// TestFixedSums: a wrong one is right behind fix, alone and with more.
func TestFixedSums(t *testing.T) {
	onStates(t, func(b *stateBench, kind string) {
		if b.state.sum == testnet.ChecksumPartial || b.state.sum == testnet.ChecksumUnnecessary {
			return // nobody knows that it was wrong
		}
		name, at := checkOf(kind)
		for _, more := range []bool{false, true} {
			p := newPacket(kind)
			at := at + p.l4()
			text := "if all then " + name + " fix"
			sent := p.frame()
			sent[at] ^= 0x5a
			if more {
				text += moreOf(p)
			}
			b.becomes(text, kind, sent, p.frame(), true)
		}
	})
}

// moreOf sets an address and a field that no sum covers, and is the actions
// that do the same.
func moreOf(p *packet) string {
	if p.ip6 != nil {
		src6(p)
		p.ip6.HopLimit = 9
		return " ip6_src 2001:db8::4d:77 ip6_hlim 9"
	}
	src4(p)
	p.ip.TTL = 9
	return " ip_src 192.0.2.77 ip_ttl 9"
}

// becomes runs a rule on a packet, and wants it to arrive so and to be accepted
// or not.
func (b *stateBench) becomes(text, kind string, sent, want []byte, accepted bool) {
	b.t.Helper()
	r := b.use(text)
	receiver := newStack(b.t, b.pair.B)
	b.send(sent)
	got, skb := b.arrives(newPacket(kind).l4())
	same(b.t, text, sent, want, got)
	if rightByLibrary(got) != accepted {
		b.t.Errorf("%s: the library finds %q wrong", text, wrongSums(got))
	}
	if receiver.accepts(b.t, kind) != accepted {
		b.t.Errorf("%s: accepted by the stack: %v, %v", text, !accepted, skb.Checksum)
	}
	r.wants(text, bpf.Counter{Packets: 1, Bytes: uint64(len(sent))})
}

// TestBrokenSums: bad and exact values arrive, and the stack finds them, also
// where the kernel took the sum for right before.
func TestBrokenSums(t *testing.T) {
	onStates(t, func(b *stateBench, kind string) {
		if b.state.sum == testnet.ChecksumPartial {
			return
		}
		name, at := checkOf(kind)
		for _, more := range []bool{false, true} {
			p := newPacket(kind)
			at := at + p.l4()
			sent, actions := p.frame(), ""
			if more {
				actions = moreOf(p)
			}
			want := p.frame()
			b.becomes("if all then "+name+" bad"+actions, kind, sent, plusOne(want, at), false)
			b.becomes("if all then "+name+" 0xbeef"+actions, kind, sent, withWord(want, at, 0xbeef), false)
			if p.ip6 == nil {
				b.becomes("if all then ip_check 0xbeef"+actions, kind, sent, withWord(want, 24, 0xbeef), false)
				b.becomes("if all then ip_check bad"+actions, kind, sent, plusOne(want, 24), false)
			}
		}
	})
}

// TestBrokenOpenSums: of a checksum that is yet to be made, an exact value
// leaves the packet alone and counts it; bad makes it come out wrong by one.
func TestBrokenOpenSums(t *testing.T) {
	onStates(t, func(b *stateBench, kind string) {
		if b.state.sum != testnet.ChecksumPartial {
			return
		}
		name, at := checkOf(kind)
		for _, more := range []bool{false, true} {
			p := newPacket(kind)
			at := at + p.l4()
			sent, actions := p.frame(), ""
			if more {
				actions = moreOf(p)
			}
			want := p.frame()
			b.leftAlone("if all then "+name+" 0xbeef"+actions, kind, sent)
			b.wrongByOne("if all then "+name+" bad"+actions, kind, sent, want, at)
			if p.ip6 == nil {
				b.becomes("if all then ip_check 0xbeef"+actions, kind, sent, withWord(want, 24, 0xbeef), false)
			}
		}
	})
}

// TestClangSparesOpenSums: the program in C does not count them, but leaves them
// alone too.
func TestClangSparesOpenSums(t *testing.T) {
	onStates(t, func(b *stateBench, kind string) {
		if b.state.sum != testnet.ChecksumPartial {
			return
		}
		at := b.spot()
		at.clang = true
		b.at = &at
		name, _ := checkOf(kind)
		p := newPacket(kind)
		sent := p.frame()
		text := "if all then " + name + " 0xbeef" + moreOf(p)
		r := b.use(text)
		b.send(sent)
		got, _ := b.arrives(p.l4())
		same(b.t, text, sent, sent, got)
		r.wants(text, bpf.Counter{})
	})
}

func (b *stateBench) leftAlone(text, kind string, sent []byte) {
	b.t.Helper()
	r := b.use(text)
	receiver := newStack(b.t, b.pair.B)
	b.send(sent)
	got, _ := b.arrives(newPacket(kind).l4())
	same(b.t, text, sent, sent, got)
	if !receiver.accepts(b.t, kind) {
		b.t.Errorf("%s: the stack has not taken the packet", text)
	}
	if n, c := r.alone(bpf.ReasonPartial), r.counted(); n != 1 || c[0] != (bpf.Counter{}) {
		b.t.Errorf("%s: counted %+v, want one packet skipped for its sum", text, c)
	}
}

// wrongByOne: one of the two sums next to the right one. A stack that gets an
// open sum does not look at it; a finished one it finds wrong.
func (b *stateBench) wrongByOne(text, kind string, sent, right []byte, at int) {
	b.t.Helper()
	r := b.use(text)
	receiver := newStack(b.t, b.pair.B)
	b.send(sent)
	got, _ := b.arrives(newPacket(kind).l4())
	if !bytes.Equal(got, plusOne(right, at)) && !bytes.Equal(plusOne(got, at), right) {
		b.t.Errorf("%s: not wrong by one\nright %x\ngot   %x", text, right, got)
	}
	if accepted := receiver.accepts(b.t, kind); accepted == b.state.finished {
		b.t.Errorf("%s: accepted by the stack: %v", text, accepted)
	}
	r.wants(text, bpf.Counter{Packets: 1, Bytes: uint64(len(sent))})
}
