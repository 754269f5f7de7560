package bpf_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// skb is struct __sk_buff of linux/bpf.h, as a test run takes it: all that is
// not named has to be 0.
type skb struct {
	_        [164]byte
	Segments uint32 // gso_segs
	_        [8]byte
	Segment  uint32 // gso_size
	_        [12]byte
}

// super serializes a packet with a payload of 2500 bytes.
func super(t *testing.T, headers ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	headers = append(headers, gopacket.Payload(make([]byte, 2500)))
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, headers...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestSegments: a GSO packet counts for as many as it is segmented into, whether a rule
// asks for its headers or not, and whether its sender has said how many.
func TestSegments(t *testing.T) {
	eth := func(of layers.EthernetType) gopacket.SerializableLayer {
		return &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: of}
	}
	tag := func(of layers.EthernetType) gopacket.SerializableLayer {
		return &layers.Dot1Q{VLANIdentifier: 5, Type: of}
	}
	ip := func(of layers.IPProtocol) gopacket.SerializableLayer {
		return &layers.IPv4{Version: 4, Protocol: of, SrcIP: make([]byte, 4), DstIP: make([]byte, 4), Options: []layers.IPv4Option{{OptionType: 1}}}
	}
	ip6 := func(of layers.IPProtocol) gopacket.SerializableLayer {
		return &layers.IPv6{Version: 6, NextHeader: of, SrcIP: make([]byte, 16), DstIP: make([]byte, 16)}
	}
	tcp := &layers.TCP{Options: []layers.TCPOption{{OptionType: 1}}}
	const v4, v6, dot1q, qinq = layers.EthernetTypeIPv4, layers.EthernetTypeIPv6, layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ
	const isTCP, isUDP = layers.IPProtocolTCP, layers.IPProtocolUDP
	frames := []struct {
		name    string
		frame   []byte
		segment uint32 // 1250 is right if the headers are not taken for shorter, 1249 if not for longer
		want    uint64
	}{
		{"TCP", super(t, eth(v4), ip(isTCP), tcp), 1250, 2},
		{"UDP", super(t, eth(v4), ip(isUDP), &layers.UDP{}), 1250, 2},
		{"TCP, IPv6", super(t, eth(v6), ip6(isTCP), tcp), 1250, 2},
		{"UDP, IPv6", super(t, eth(v6), ip6(isUDP), &layers.UDP{}), 1250, 2},
		{"a byte more", super(t, eth(v4), ip(isTCP), tcp), 1249, 3},
		{"tag", super(t, eth(dot1q), tag(v4), ip(isTCP), tcp), 1250, 2},
		{"two tags", super(t, eth(qinq), tag(dot1q), tag(v6), ip6(isUDP), &layers.UDP{}), 1249, 3},
		{"no segment", super(t, eth(v4), ip(isTCP), tcp), 0, 1},
		{"nothing known", super(t, eth(layers.EthernetTypeLinkLayerDiscovery)), 1250, 1},
	}
	for text, link := range map[string]field.Link{
		"if all then eth_src 02:00:00:00:00:01":                    field.Ethernet,
		"if eth_dest 00:00:00:00:00:00 then drop":                  field.Ethernet,
		"if all then ip_ttl 9; if all then ip6_hlim 9; if all":     field.Ethernet,
		"if ip_src 0.0.0.0 then ip_ttl 9; if all":                  field.Ethernet,
		"if tcp then tcp_urg_ptr 9; if udp then udp_src 9; if all": field.Ethernet,
		"if vlan then vlan_id 9; if all":                           field.Ethernet,
		"if not arp":                                               field.RawIP,
	} {
		for _, limit := range []uint64{0, 1000} {
			l := load(t, text, engine.LoadOptions{Hook: bpf.TC, Limit: limit, Link: link})
			for _, f := range frames {
				if link == field.RawIP {
					if f.frame = f.frame[14:]; f.frame[0]>>4 == 0 {
						continue // a tag
					}
				}
				for told, want := range map[uint32]uint64{0: f.want, 7: 7} {
					if told > 0 && f.segment == 0 {
						continue // there is no such packet
					}
					if got := l.counts(t, f.frame, skb{Segments: told, Segment: f.segment}); got != want {
						t.Errorf("%s: %s in segments of %d, said to be %d: counted as %d, want %d", text, f.name, f.segment, told, got, want)
					}
				}
			}
		}
	}
}

// counts is what a packet counts for, however many rules there are.
func (c *comparison) counts(t *testing.T, frame []byte, about skb) uint64 {
	t.Helper()
	before := c.packets(t)
	if _, err := c.loaded.Program.Run(&ebpf.RunOptions{Data: frame, DataOut: c.out, Context: about}); err != nil {
		t.Fatal(err)
	}
	return c.packets(t) - before
}

func (c *comparison) packets(t *testing.T) (n uint64) {
	t.Helper()
	counters, err := c.loaded.Counters()
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range counters {
		n += of.Packets
	}
	return n
}

// TestHeadersNotToBeHad: a packet whose headers the kernel does not bring into
// one buffer is skipped and counted. That happens for want of memory only, so
// here the program is made to ask for more than there is.
func TestHeadersNotToBeHad(t *testing.T) {
	counters, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: bpf.CounterSize, MaxEntries: 1 + uint32(bpf.ReasonCount),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer counters.Close()
	rules := checked(t, "if udp then drop")
	o := bpf.Options{Hook: bpf.TC, Rules: 1, Counters: counters.FD()}
	ins, err := bpf.Compile(plan.Build(rules, field.Ethernet), o)
	if err != nil {
		t.Fatal(err)
	}
	length := slices.IndexFunc(ins, func(i asm.Instruction) bool { // of struct __sk_buff, at its start
		return i.OpCode.Class() == asm.LdXClass && i.Src == asm.R6 && i.Offset == 0
	})
	ins[length] = asm.Mov.Imm(ins[length].Dst, 200).WithMetadata(ins[length].Metadata)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: ins, License: "GPL"})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	verdict, out, err := prog.Test(udpFrame)
	if err != nil || verdict != bpf.TC.Verdict(rule.Pass) || !bytes.Equal(out, udpFrame) {
		t.Errorf("%x leaves with verdict %d, %v; want it skipped", out, verdict, err)
	}
	for entry, want := range []bpf.Counter{1 + bpf.ReasonHeaders: {Packets: 1, Bytes: uint64(len(udpFrame))}} {
		var got bpf.Counter
		var all []bpf.Counter
		if err := counters.Lookup(uint32(entry), &all); err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			got.Packets, got.Bytes = got.Packets+c.Packets, got.Bytes+c.Bytes
		}
		if got != want {
			t.Errorf("counter %d says %+v, want %+v", entry, got, want)
		}
	}
}
