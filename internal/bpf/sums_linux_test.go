package bpf_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"repacket/internal/engine"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// Frames with an IPv4 header of 24 bytes and 8 bytes of payload. Their
// checksums are not right, which is all the same to the arithmetic.
var (
	ipWithOption = "46000000123440004011abcd0a000001c0a80107" + "01010101"
	udpFrame     = frame(17, "d431"+"0035"+"0010"+"beef"+"ffff0000fffe0001")
	tcpFrame     = frame(6, "0050"+"c001"+"89abcdef"+"00000000"+"5012"+"ffff"+"7a69"+"0000"+"ffff0000fffe0001")
	icmpFrame    = frame(1, "0800"+"f7ff"+"00010002"+"ffff0000fffe0001")
)

// carryFrame has a source of 0 and a checksum of 0xffff: rewriting the source
// adds 2^32-1 where the rest of the sum is 1 for one word of the payload, and
// then folding carries three times.
var carryFrame = func() []byte {
	b := bytes.Clone(udpFrame)
	copy(b[atSource:], []byte{0, 0, 0, 0})
	copy(b[atL4+6:], []byte{0xff, 0xff})
	return b
}()

// Offsets in such a frame.
const (
	atID, atIPCheck, atSource = 18, 24, 26
	atL4                      = 38
	atPayloadUDP              = 46
)

// frame puts Ethernet and IPv4 in front of a header of layer 4 with payload.
func frame(proto byte, l4 string) []byte {
	b, err := hex.DecodeString("020000000001" + "020000000002" + "0800" + ipWithOption + l4)
	if err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
	b[23] = proto
	return b
}

// TestEveryWord lets one word of a packet take each of its 65,536 values.
// Carries around the end, and the two zeros of a sum, are so rare that packets
// made at random seldom meet them.
func TestEveryWord(t *testing.T) {
	for _, test := range []struct {
		name, text string
		frame      []byte
		at         []int
	}{
		{"a difference that is known", "if ip_ttl 64 then ip_ttl 65", udpFrame, []int{atIPCheck}},
		{"a difference that is known, UDP", "if udp_dest 53 then udp_dest 5353", udpFrame, []int{atL4 + 6}},
		{"an old word", "if udp then udp_src 0xfffe ip_id 7", udpFrame, []int{atID, atL4}},
		{"old words of 32 bits", "if udp then ip_src 255.255.0.1 ip_dest 0.0.0.0", udpFrame, []int{atSource, atL4 + 6}},
		{"old words of 32 bits, TCP", "if tcp then tcp_seq 1 tcp_ack_seq 0xffff0000 ip_dest 9.8.7.6", tcpFrame, []int{atL4 + 16}},
		{"a length that is taken away", "if tcp then ip_hl 7 tcp_window 0", tcpFrame, []int{atL4 + 14}},
		{"fix UDP", "if udp then udp_check fix", udpFrame, []int{atPayloadUDP}},
		{"fix UDP, with carry upon carry", "if udp then udp_check fix ip_src 0.0.0.0", carryFrame, []int{atPayloadUDP}},
		{"bad UDP", "if udp then udp_check bad udp_src 0xffff", udpFrame, []int{atL4}},
		{"fix TCP", "if tcp then tcp_check fix ip_src 255.255.255.255", tcpFrame, []int{atL4 + 26}},
		{"bad ICMP", "if icmp then icmp_check bad", icmpFrame, []int{atL4 + 4}},
		{"fix IPv4 when all is stored", "if icmp then ip_check bad ip_hl 8 icmp_type 3", icmpFrame, []int{atL4 + 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := load(t, test.text, engine.LoadOptions{})
			for _, at := range test.at {
				in := bytes.Clone(test.frame)
				for v := range 0x10000 {
					binary.BigEndian.PutUint16(in[at:], uint16(v))
					c.compare(t, in, true)
				}
			}
		})
	}
}

// comparison is a program in the kernel and what it should do.
type comparison struct {
	rules  *rule.Program
	loaded *engine.Loaded
	out    []byte
}

func load(t *testing.T, text string, o engine.LoadOptions) *comparison {
	t.Helper()
	c := &comparison{rules: checked(t, text), out: make([]byte, 1<<17)}
	var err error
	if c.loaded, err = engine.Load(c.rules, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.loaded.Close() })
	return c
}

// compare runs a packet, on which a rule has to act or not, through the
// program and through the reference.
func (c *comparison) compare(t *testing.T, in []byte, acts bool) {
	t.Helper()
	o := ebpf.RunOptions{Data: in, DataOut: c.out}
	if _, err := c.loaded.Program.Run(&o); err != nil {
		t.Fatal(err)
	}
	want := reference.Run(c.rules, in)
	if want.Rewritten != acts {
		t.Fatalf("%s\nacts: %v, want %v, on %.64x", c.rules.Source, want.Rewritten, acts, in)
	}
	if !bytes.Equal(o.DataOut, want.Frame) {
		t.Fatalf("%s\narrives  %.64x\nexpected %.64x\nprogram  %.64x", c.rules.Source, in, want.Frame, o.DataOut)
	}
}

// TestEveryLength sums datagrams of every length up to some chunks, from one
// buffer and, where they are long, from several.
func TestEveryLength(t *testing.T) {
	for proto, head := range map[string]string{"udp": "d43100350000beef", "tcp": "0050c00189abcdef000000005012ffff7a690000", "icmp": "0800f7ff00010002"} {
		c := load(t, "if "+proto+" then "+proto+"_check fix", engine.LoadOptions{Fragments: true})
		lengths := []int{4000, 4096, 4097, 9000, 30001, 65000}
		for n := range 800 {
			lengths = append(lengths, n)
		}
		for _, n := range lengths {
			in := frame(map[string]byte{"udp": 17, "tcp": 6, "icmp": 1}[proto], head+strings.Repeat("5a", n))
			if proto == "udp" {
				binary.BigEndian.PutUint16(in[atL4+4:], uint16(8+n))
			}
			c.compare(t, in, true)
		}
	}
}

// TestNoLength: a total length of 0, as segmentation offload sends it, is that
// of no whole datagram, in however long a packet.
func TestNoLength(t *testing.T) {
	c := load(t, "if tcp then tcp_check fix", engine.LoadOptions{Fragments: true})
	for _, n := range []int{0, 1000, 66000} {
		in := append(bytes.Clone(tcpFrame), make([]byte, n)...)
		binary.BigEndian.PutUint16(in[16:], 0)
		c.compare(t, in, false)
	}
}
