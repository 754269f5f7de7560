package live

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/lab"
)

// computed are rules that work out what they write, and what they do in the
// outside library's terms.
var computed = []struct {
	text, kind string
	change     func(p *packet)
}{
	{"if tcp_syn off then tcp_mss atmost 1360", "mss", gives(map[string]uint64{"tcp_mss": 1360})},
	{"if tcp_mss ge 0 then tcp_mss atleast 1461 tcp_urg_ptr +1", "mss", gives(map[string]uint64{"tcp_mss": 1461, "tcp_urg_ptr": 0x0103})},
	{"if all then eth_src eth_dest eth_dest eth_src", "udp", func(p *packet) { p.eth.SrcMAC, p.eth.DstMAC = p.eth.DstMAC, p.eth.SrcMAC }},
	{"if all then ip_id +0xffff", "udp", func(p *packet) { p.ip.Id-- }},
	{"if all then ip_ttl -200 ip_tos +255", "udp", gives(map[string]uint64{"ip_ttl": 0, "ip_tos": 255})},
	{"if all then ip_flag_df tcp_syn tcp_syn tcp_ack", "tcp", gives(map[string]uint64{"ip_flag_df": 0, "tcp_syn": 1})},
	{"if all then ip_id ip_tot_len ip_ttl atleast 200", "udp", func(p *packet) { p.ip.Id, p.ip.TTL = uint16(len(p.frame())-14), 200 }},
	{"if arp then arp_tpa arp_spa arp_spa 10.0.0.0/8", "arp", func(p *packet) {
		p.arp.DstProtAddress = bytes.Clone(p.arp.SourceProtAddress)
		p.arp.SourceProtAddress = []byte{10, 0, 2, 1}
	}},
	{"if ip6_hlim 64 then ip6_hlim atmost 3 ip6_flow +5 ip6_src ip6_dest", "udp6", func(p *packet) {
		p.ip6.HopLimit, p.ip6.FlowLabel, p.ip6.SrcIP = 3, p.ip6.FlowLabel+5, p.ip6.DstIP
	}},
}

// TestOperands: what is worked out is what the outside library works out, on
// every hook.
func TestOperands(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		for _, c := range computed {
			p := newPacket(c.kind)
			sent := p.frame()
			c.change(p)
			b.rewrites(c.text, sent, p.frame())
		}
	})
}

// TestRandomIsInRange: what the kernel draws is in the range, differs from packet
// to packet, and leaves the checksums right.
func TestRandomIsInRange(t *testing.T) {
	// Behind some ports, such as 1812, the library looks for more headers.
	const text = "if udp_dest 5201 then udp_src random 40000-40999 ip_src random 10.0.0.0/8"
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		seen := map[string]bool{}
		b.use(text)
		for range 64 {
			got := b.cross(newPacket("udp").frame())
			d := gopacket.NewPacket(got, layers.LayerTypeEthernet, gopacket.Default)
			ip, udp := d.Layer(layers.LayerTypeIPv4).(*layers.IPv4), d.Layer(layers.LayerTypeUDP).(*layers.UDP)
			if ip.SrcIP[0] != 10 || udp.SrcPort < 40000 || udp.SrcPort > 40999 || !rightByLibrary(got) {
				t.Fatalf("%s: %x", text, got)
			}
			seen[string(ip.SrcIP)] = true
		}
		if len(seen) < 60 { // of 2^24 addresses
			t.Errorf("%d addresses in 64 packets", len(seen))
		}
	})
}

// TestChance: about as many packets as asked for are taken. The bounds are ten
// standard deviations wide.
func TestChance(t *testing.T) {
	const sent, least, most = 400, 100, 300
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		rules := b.use("if udp_dest 5201 chance 50% then ip_ttl 9")
		frame := newPacket("udp").frame()
		taken := uint64(0)
		for range sent {
			if !bytes.Equal(b.cross(frame), frame) {
				taken++
			}
		}
		if taken < least || taken > most || rules.counted()[0].Packets != taken {
			t.Errorf("%d of %d packets changed, %d counted", taken, sent, rules.counted()[0].Packets)
		}
	})
}
