package main

import (
	"embed"
	"fmt"
	"net"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/reference"
	"repacket/internal/rule"
)

//go:embed c
var sources embed.FS

// benchRule is a rule and the C program that does the same. A rule of a
// benchmark must go on matching: repeated runs work on one buffer.
type benchRule struct {
	// name is that of the C file and of the function in it.
	name, text string
	packets    []packet
	checked    *rule.Program
}

// packet is a frame to count and to time.
type packet struct {
	name  string
	frame []byte
}

// The packets of every rule, by name.
const (
	changes  = "changes"    // the rule acts and bytes change
	again    = "same again" // the packet as it left: the rule acts, nothing changes
	nearMiss = "near miss"  // all headers are there, a value is another one
)

// benchRules are the rules that are measured.
func benchRules() ([]*benchRule, error) {
	udp := udpPorts(1000, 443)
	rules := []*benchRule{
		{name: "port", text: "if ip udp_src 1000 then udp_dest 5202", packets: []packet{
			{changes, frame(udp)}, {nearMiss, frame(udpPorts(1001, 443))}, {"TCP", frame(syn())},
		}},
		{name: "ttl", text: "if all then ip_ttl 64", packets: []packet{
			{changes, frame(udp)},
		}},
		{name: "flag", text: "if ip tcp_syn on then tcp_ece on", packets: []packet{
			{changes, frame(syn())}, {nearMiss, frame(ack())}, {"UDP", frame(udp)},
		}},
		{name: "source", text: "if ip_src 10.0.0.0/8 then ip_dscp af31", packets: []packet{
			{changes, frame(udp)}, {nearMiss, frame(udp, from(11, 1, 2, 3))},
		}},
		{name: "match4", text: "if ip_src 10.1.2.3 ip_dest 10.9.8.7 udp_src 1000 udp_dest 443 then ip_dscp ef", packets: []packet{
			{changes, frame(udp)}, {nearMiss, frame(udpPorts(1000, 444))}, {"TCP", frame(syn())},
		}},
		{name: "set4", text: "if ip_src 10.1.2.3 udp_src 1000 then ip_dscp ef ip_ttl 64 ip_dest 10.9.8.6 udp_dest 5202", packets: []packet{
			{changes, frame(udp)}, {nearMiss, frame(udpPorts(1001, 443))}, {"TCP", frame(syn())},
		}},
	}
	for _, r := range rules {
		if err := r.complete(); err != nil {
			return nil, fmt.Errorf("%s: %w", r.text, err)
		}
	}
	return rules, nil
}

// complete checks the rule, and adds the packets that every rule is measured
// with.
func (r *benchRule) complete() (err error) {
	if r.checked, err = rule.Check(r.text); err != nil {
		return err
	}
	first := r.packets[0]
	left := reference.Run(r.checked, first.frame)
	if !left.Rewritten || string(left.Frame) == string(first.frame) {
		return fmt.Errorf("the packet %q is not changed", first.name)
	}
	if next := reference.Run(r.checked, left.Frame); !next.Rewritten || string(next.Frame) != string(left.Frame) {
		return fmt.Errorf("the rule does not go on matching")
	}
	rest := append([]packet{{again, left.Frame}}, r.packets[1:]...)
	rest = append(rest,
		packet{"ARP", arp()},
		packet{"one tag", tagged(first.frame, 1)},
		packet{"two tags", tagged(first.frame, 2)},
	)
	// Where a rule sets an address, our program looks for a source route among the options;
	// the C by hand does not.
	if !r.setsAddress() {
		rest = append(rest, packet{"options", withOptions(first.frame)})
	}
	r.packets = append([]packet{first}, rest...)
	return nil
}

// setsAddress reports whether the rule sets an IPv4 address.
func (r *benchRule) setsAddress() bool {
	return slices.ContainsFunc(r.checked.Rules[0].Actions, func(a rule.Action) bool {
		return a.Field.Name == "ip_src" || a.Field.Name == "ip_dest"
	})
}

// packet is the packet of that name.
func (r *benchRule) packet(name string) (packet, bool) {
	for _, p := range r.packets {
		if p.name == name {
			return p, true
		}
	}
	return packet{}, false
}

func udpPorts(src, dest layers.UDPPort) *layers.UDP {
	return &layers.UDP{SrcPort: src, DstPort: dest}
}

func syn() *layers.TCP { return &layers.TCP{SrcPort: 1000, DstPort: 443, SYN: true, Window: 64240} }

func ack() *layers.TCP { return &layers.TCP{SrcPort: 1000, DstPort: 443, ACK: true, Window: 64240} }

func from(a, b, c, d byte) func(*layers.IPv4) {
	return func(ip *layers.IPv4) { ip.SrcIP = net.IPv4(a, b, c, d) }
}

// frame is an Ethernet frame with IPv4, one layer-4 header and a few bytes behind it.
func frame(l4 gopacket.SerializableLayer, with ...func(*layers.IPv4)) []byte {
	ip := &layers.IPv4{
		Version: 4, TTL: 61, Protocol: layers.IPProtocolUDP,
		SrcIP: net.IPv4(10, 1, 2, 3), DstIP: net.IPv4(10, 9, 8, 7),
	}
	for _, f := range with {
		f(ip)
	}
	switch l4 := l4.(type) {
	case *layers.UDP:
		_ = l4.SetNetworkLayerForChecksum(ip)
	case *layers.TCP:
		ip.Protocol = layers.IPProtocolTCP
		_ = l4.SetNetworkLayerForChecksum(ip)
	}
	return serialized(ethernet(layers.EthernetTypeIPv4), ip, l4, gopacket.Payload("hello from the far side"))
}

func arp() []byte {
	return serialized(ethernet(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: make([]byte, 6), SourceProtAddress: []byte{10, 1, 2, 3},
		DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 9, 8, 7},
	}, gopacket.Payload(make([]byte, 18)))
}

func ethernet(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: t,
	}
}

// serialized panics on layers that do not go together: all of them are above.
func serialized(l ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// tagged puts n VLAN tags behind the addresses.
func tagged(frame []byte, n int) []byte {
	out := append([]byte{}, frame[:12]...)
	for range n {
		out = append(out, 0x81, 0, 0, 100)
	}
	return append(out, frame[12:]...)
}

// withOptions puts four bytes of options, "no operation" (RFC 791), behind the
// IPv4 header of an untagged frame.
func withOptions(frame []byte) []byte {
	out := append([]byte{}, frame[:34]...)
	out = append(append(out, 1, 1, 1, 1), frame[34:]...)
	out[14]++    // one word more
	out[17] += 4 // total length
	sum := uint32(out[24])<<8 | uint32(out[25])
	sum = 2*0xffff + sum - 0x0100 - 4 - 2*0x0101
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	out[24], out[25] = byte(sum>>8), byte(sum)
	return out
}
