package live

import (
	"fmt"
	"net"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"repacket/test/testnet"
)

// quotedError is an ICMP error that quotes so many bytes behind the IP header of a packet from a
// server, of which change makes what it is.
func quotedError(kind, of string, behind int, change func(quoted, message *packet)) []byte {
	if kind == "icmp6" {
		of += "6"
	}
	q, m := newPacket(of), newPacket(kind)
	if q.ip6 != nil {
		q.ip6.SrcIP, q.ip6.DstIP = q.ip6.DstIP, q.ip6.SrcIP
		m.icmp6.TypeCode = layers.CreateICMPv6TypeCode(2, 0)
		m.payload = []byte{0, 0, 5, 20} // the MTU
	} else {
		q.ip.SrcIP, q.ip.DstIP = q.ip.DstIP, q.ip.SrcIP
		m.icmp.TypeCode, m.icmp.Id, m.icmp.Seq = layers.CreateICMPv4TypeCode(3, 4), 0, narrow
		m.payload = nil
	}
	if q.tcp != nil {
		q.tcp.SrcPort, q.tcp.DstPort = 443, 40001
	} else {
		q.udp.SrcPort, q.udp.DstPort = 443, 40001
	}
	change(q, m)
	q.finish()
	quote := q.frame()[14:]
	length := 20
	if q.ip6 != nil {
		length = 40
	}
	m.payload = append(m.payload, quote[:min(len(quote), length+behind)]...)
	m.finish()
	return m.frame()
}

// TestQuotesInEveryState: whatever is known of the message's checksum where rules see it is
// known of it behind them, whether the quote ends before a checksum of its own or not.
func TestQuotesInEveryState(t *testing.T) {
	onStates(t, func(b *stateBench, kind string) {
		if kind != "icmp" && kind != "icmp6" || b.state.sum == testnet.ChecksumPartial {
			return // no router leaves the checksum of an error to a device
		}
		ports := func(q, _ *packet) {
			if q.tcp != nil {
				q.tcp.SrcPort = 8080
			} else {
				q.udp.SrcPort = 8080
			}
		}
		addresses := func(q, m *packet) {
			if q.ip6 != nil {
				q.ip6.SrcIP, m.ip6.DstIP = address6(0x20010db8dead0001), address6(0x20010db8dead0001)
			} else {
				q.ip.SrcIP, m.ip.DstIP = net.IP{192, 0, 2, 77}, net.IP{192, 0, 2, 77}
			}
		}
		text := "if dport 443 then dport 8080 replies"
		move := "if ip_dest 192.0.2.2 then ip_dest 192.0.2.77 replies; if ip6_dest 2001:db8::2 then ip6_dest " + address6(0x20010db8dead0001).String() + " replies"
		for _, of := range []string{"tcp", "udp"} {
			for _, behind := range []int{8, 18, 50} {
				for rule, change := range map[string]func(q, m *packet){text: ports, move: addresses} {
					sent := quotedError(kind, of, behind, func(_, _ *packet) {})
					want := quotedError(kind, of, behind, change)
					b.use(rule)
					b.send(sent)
					got, skb := b.arrives(0)
					if skb.Checksum != b.state.sum && skb.Checksum != testnet.ChecksumUnknown {
						b.t.Errorf("the checksum is %v, and was %v", skb.Checksum, b.state.sum)
					}
					same(b.t, fmt.Sprintf("%s, %d bytes of %s", rule, behind, of), sent, want, got)
				}
			}
		}
	})
}
