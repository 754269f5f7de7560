package live

import (
	"fmt"
	"net"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
)

// set gives a field a value in the outside library's terms, by the names of
// the RFCs and not by our table.
var set = map[string]func(p *packet, v uint64){
	"ip_ver":      func(p *packet, v uint64) { p.ip.Version = uint8(v) },
	"ip_hl":       func(p *packet, v uint64) { p.ip.IHL = uint8(v) },
	"ip_tos":      func(p *packet, v uint64) { p.ip.TOS = uint8(v) },
	"ip_dscp":     func(p *packet, v uint64) { p.ip.TOS = p.ip.TOS&0x03 | uint8(v<<2) },
	"ip_ecn":      func(p *packet, v uint64) { p.ip.TOS = p.ip.TOS&0xfc | uint8(v) },
	"ip_tot_len":  func(p *packet, v uint64) { p.ip.Length = uint16(v) },
	"ip_id":       func(p *packet, v uint64) { p.ip.Id = uint16(v) },
	"ip_flags":    func(p *packet, v uint64) { p.ip.Flags = layers.IPv4Flag(v) },
	"ip_flag_res": func(p *packet, v uint64) { setFlag(p, layers.IPv4EvilBit, v) },
	"ip_flag_df":  func(p *packet, v uint64) { setFlag(p, layers.IPv4DontFragment, v) },
	"ip_flag_mf":  func(p *packet, v uint64) { setFlag(p, layers.IPv4MoreFragments, v) },
	"ip_offset":   func(p *packet, v uint64) { p.ip.FragOffset = uint16(v) },
	"ip_ttl":      func(p *packet, v uint64) { p.ip.TTL = uint8(v) },
	"ip_protocol": func(p *packet, v uint64) { p.ip.Protocol = layers.IPProtocol(v) },
	"ip_check":    func(p *packet, v uint64) { p.ip.Checksum, p.staleIP = uint16(v), true },
	"ip_src":      func(p *packet, v uint64) { p.ip.SrcIP = address(v) },
	"ip_dest":     func(p *packet, v uint64) { p.ip.DstIP = address(v) },

	"tcp_src":     func(p *packet, v uint64) { p.tcp.SrcPort = layers.TCPPort(v) },
	"tcp_dest":    func(p *packet, v uint64) { p.tcp.DstPort = layers.TCPPort(v) },
	"tcp_seq":     func(p *packet, v uint64) { p.tcp.Seq = uint32(v) },
	"tcp_ack_seq": func(p *packet, v uint64) { p.tcp.Ack = uint32(v) },
	"tcp_hlen":    func(p *packet, v uint64) { p.tcp.DataOffset = uint8(v) },
	"tcp_res":     func(p *packet, v uint64) { p.reserved = uint8(v) },
	"tcp_nonce":   func(p *packet, v uint64) { p.tcp.NS = v == 1 },
	"tcp_cwr":     func(p *packet, v uint64) { p.tcp.CWR = v == 1 },
	"tcp_ece":     func(p *packet, v uint64) { p.tcp.ECE = v == 1 },
	"tcp_urg":     func(p *packet, v uint64) { p.tcp.URG = v == 1 },
	"tcp_ack":     func(p *packet, v uint64) { p.tcp.ACK = v == 1 },
	"tcp_psh":     func(p *packet, v uint64) { p.tcp.PSH = v == 1 },
	"tcp_rst":     func(p *packet, v uint64) { p.tcp.RST = v == 1 },
	"tcp_syn":     func(p *packet, v uint64) { p.tcp.SYN = v == 1 },
	"tcp_fin":     func(p *packet, v uint64) { p.tcp.FIN = v == 1 },
	"tcp_window":  func(p *packet, v uint64) { p.tcp.Window = uint16(v) },
	"tcp_check":   func(p *packet, v uint64) { p.tcp.Checksum, p.staleL4 = uint16(v), true },
	"tcp_urg_ptr": func(p *packet, v uint64) { p.tcp.Urgent = uint16(v) },

	"udp_src":   func(p *packet, v uint64) { p.udp.SrcPort = layers.UDPPort(v) },
	"udp_dest":  func(p *packet, v uint64) { p.udp.DstPort = layers.UDPPort(v) },
	"udp_len":   func(p *packet, v uint64) { p.udp.Length = uint16(v) },
	"udp_check": func(p *packet, v uint64) { p.udp.Checksum, p.staleL4 = uint16(v), true },

	"icmp_type":  func(p *packet, v uint64) { setICMP(p, uint8(v), p.icmp.TypeCode.Code()) },
	"icmp_code":  func(p *packet, v uint64) { setICMP(p, p.icmp.TypeCode.Type(), uint8(v)) },
	"icmp_check": func(p *packet, v uint64) { p.icmp.Checksum, p.staleL4 = uint16(v), true },
}

func setFlag(p *packet, f layers.IPv4Flag, v uint64) {
	p.ip.Flags &^= f
	if v == 1 {
		p.ip.Flags |= f
	}
}

func setICMP(p *packet, typ, code uint8) {
	p.icmp.TypeCode = layers.CreateICMPv4TypeCode(typ, code)
}

func address(v uint64) net.IP { return net.IP{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }

// values are a value to match or write, and another one, for each field. The
// headers must go on being there for the match to be seen, so the fields that
// lay out a packet get values that keep them.
func values(f *field.Field) (one, other uint64) {
	switch f.Name {
	case "ip_ver":
		return 4, 6
	case "ip_hl":
		return 5, 4
	case "ip_tot_len", "udp_len":
		return 60, 61
	case "ip_offset":
		return 0x1fff, 0x0100
	case "ip_protocol":
		return 17, 99
	}
	top := f.Max().Lo
	if top == 1 {
		return 1, 0
	}
	return top, top/3 + 1
}

// word is how a value of the field is written.
func word(f *field.Field, v uint64) string {
	if f.Kind == field.Address4 {
		return address(v).String()
	}
	return fmt.Sprint(v)
}

func protocolOf(f *field.Field) string {
	if f.Proto == field.IP {
		return "udp"
	}
	return f.Proto.String()
}

// TestEveryFieldMatches sends one packet that has the value and one that has
// another. What is set is a field that the match does not look at.
func TestEveryFieldMatches(t *testing.T) {
	b := newTestbed(t)
	for _, f := range field.Fields() {
		one, other := values(f)
		mark, to := "ip_ttl", uint64(9)
		if f.Name == mark {
			mark = "ip_id"
		}
		text := fmt.Sprintf("if %s %s then %s %d", f.Name, word(f, one), mark, to)
		b.rewrites(text, frameWith(f, one), frameWith(f, one, mark, to))
		b.leaves(text, frameWith(f, other))
	}
}

// frameWith is a packet that has a value in a field, and another value in
// another field if there are more words.
func frameWith(f *field.Field, v uint64, more ...any) []byte {
	p := newPacket(protocolOf(f))
	set[f.Name](p, v)
	if len(more) > 0 {
		if p.staleIP {
			// A wrong header checksum stays wrong by the same amount: what the
			// mark changes in it is what it changes in a right one.
			return wrongBySame(f, v, more[0].(string), more[1].(uint64))
		}
		set[more[0].(string)](p, more[1].(uint64))
	}
	return p.frame()
}

// wrongBySame is the packet with an exact ip_check v, changed by what setting
// the mark changes in a right checksum.
func wrongBySame(f *field.Field, v uint64, mark string, to uint64) []byte {
	before, after := newPacket(protocolOf(f)), newPacket(protocolOf(f))
	set[mark](after, to)
	old, now := before.frame(), after.frame()
	diff := uint32(old[24])<<8 | uint32(old[25])
	sum := uint32(now[24])<<8 | uint32(now[25])
	// One's complement: v - old + now, as a checksum and not its complement.
	got := uint32(v) + (0xffff - diff) + sum
	for got > 0xffff {
		got = got>>16 + got&0xffff
	}
	if got == 0xffff {
		got = 0
	}
	set[f.Name](after, uint64(got))
	return after.frame()
}

// TestEveryFieldIsRewritten sets every field to a value, alone.
func TestEveryFieldIsRewritten(t *testing.T) {
	b := newTestbed(t)
	for _, f := range field.Fields() {
		one, _ := values(f)
		p := newPacket(protocolOf(f))
		sent := p.frame()
		set[f.Name](p, one)
		b.rewrites(fmt.Sprintf("if %s then %s %s", protocolOf(f), f.Name, word(f, one)), sent, p.frame())
	}
}

// TestTheOriginalsValues are the values that the original tool tested with.
func TestTheOriginalsValues(t *testing.T) {
	b := newTestbed(t)
	for _, name := range []string{"udp_src", "udp_dest", "tcp_src", "tcp_dest"} {
		for _, v := range []uint64{0, 22, 80, 179, 65535} {
			b.both(name, v)
		}
	}
	for name, values := range map[string][]uint64{
		"ip_ttl":      {1, 255},
		"ip_tos":      {0, 0xff},
		"ip_protocol": {1, 6, 17},
		"ip_src":      {0x0a000001, 0xffffffff},
		"tcp_window":  {0, 65535},
	} {
		for _, v := range values {
			b.both(name, v)
		}
	}
}

// both sets a field to v, then matches v.
func (b *testbed) both(name string, v uint64) {
	b.t.Helper()
	f := field.MustByName(name)
	p := newPacket(protocolOf(f))
	sent := p.frame()
	set[name](p, v)
	b.rewrites(fmt.Sprintf("if all then %s %s", name, word(f, v)), sent, p.frame())
	if name == "ip_protocol" {
		return // the packet that has it is not a UDP packet any more
	}
	text := fmt.Sprintf("if %s %s then ip_id 7", name, word(f, v))
	have := p.frame()
	set["ip_id"](p, 7)
	b.rewrites(text, have, p.frame())
}

// TestTableIsCovered: a field without a line in set would go untested.
func TestTableIsCovered(t *testing.T) {
	if len(set) != 42 || len(field.Fields()) < len(set) {
		t.Errorf("%d fields can be set, %d are in the table, the original has 42 with ip_dest", len(set), len(field.Fields()))
	}
	for _, f := range field.Fields() {
		if set[f.Name] == nil {
			t.Errorf("%s has no line in set", f.Name)
		}
	}
}
