package live

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"repacket/internal/bpf"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

const (
	dot1Q = layers.EthernetTypeDot1Q
	qinQ  = layers.EthernetTypeQinQ
)

// vlanCase is a rule on tags. A nil edit leaves the packet alone.
type vlanCase struct {
	tags []layers.EthernetType
	kind string
	text string
	edit func(p *packet)
}

var (
	customer = []layers.EthernetType{dot1Q}
	provider = []layers.EthernetType{qinQ}
	two      = []layers.EthernetType{qinQ, dot1Q}
	twoAlike = []layers.EthernetType{dot1Q, dot1Q}
	three    = []layers.EthernetType{qinQ, dot1Q, dot1Q}
)

// vlanCases: the first tag is number 100, the second 150, both with priority 5, which is not
// in the bits of the number that stand where the priority does in the byte before.
var vlanCases = []vlanCase{
	{customer, "udp", "if vlan_id 100 then vlan_id 200", gives(map[string]uint64{"vlan_id": 200})},
	{customer, "udp", "if vlan_id 101 then vlan_id 200", nil},
	{customer, "udp", tenOf("if vlan_id %d then vlan_id %d", 100, 200), gives(map[string]uint64{"vlan_id": 200})},
	{customer, "tcp6", tenOf("if vlan_id %d then vlan_id %d vlan_pcp 1", 100, 200), gives(map[string]uint64{"vlan_id": 200, "vlan_pcp": 1})},
	{customer, "udp", tenOf("if vlan_id %d udp_dest 5201 then udp_dest %d", 100, 8080), gives(map[string]uint64{"udp_dest": 8080})},
	{two, "udp", tenOf("if cvlan_id %d then vlan_id 5 cvlan_id %d", 150, 200), gives(map[string]uint64{"vlan_id": 5, "cvlan_id": 200})},
	{customer, "udp", "if vlan_pcp 5 then vlan_pcp 2", gives(map[string]uint64{"vlan_pcp": 2})},
	{customer, "udp", "if vlan_pcp 3 then vlan_pcp 2", nil},
	{customer, "udp", "if vlan_dei off then vlan_dei on", gives(map[string]uint64{"vlan_dei": 1})},
	{customer, "udp", "if vlan then vlan_pcp 7 vlan_dei on vlan_id 4095", gives(map[string]uint64{"vlan_pcp": 7, "vlan_dei": 1, "vlan_id": 4095})},
	{customer, "udp", "if all then vlan_id 0", gives(map[string]uint64{"vlan_id": 0})},
	{customer, "udp", "if eth_type vlan then eth_type 0x88a8", gives(map[string]uint64{"eth_type": 0x88a8})},
	{customer, "udp", "if eth_type 0x88a8 then eth_type 0x8100", nil},
	{customer, "udp", "if vlan_id 100 then vlan_id 7 eth_type 0x88a8", gives(map[string]uint64{"vlan_id": 7, "eth_type": 0x88a8})},
	{customer, "udp", "if vlan_type ipv4 then vlan_type 0x88b5", gives(map[string]uint64{"vlan_type": 0x88b5})},
	{customer, "udp", "if vlan_id 100 udp_dest 5201 then udp_dest 8080 ip_ttl 9 vlan_id 200", gives(map[string]uint64{"udp_dest": 8080, "ip_ttl": 9, "vlan_id": 200})},
	{customer, "tcp6", "if vlan_id 100 then tcp_dest 8080 ip6_hlim 9 vlan_pcp 1", gives(map[string]uint64{"tcp_dest": 8080, "ip6_hlim": 9, "vlan_pcp": 1})},
	{customer, "tcp6", "if tcp_dest 5201 then tcp_dest 8080", gives(map[string]uint64{"tcp_dest": 8080})},
	{customer, "arp", "if vlan_id 100 arp_op request then arp_op reply vlan_id 9", gives(map[string]uint64{"arp_op": 2, "vlan_id": 9})},
	{customer, "udp", "if all then eth_src 02:01:02:03:04:05 vlan_id 9", gives(map[string]uint64{"eth_src": 0x020102030405, "vlan_id": 9})},
	{customer, "udp", "if cvlan then cvlan_id 9", nil},
	{customer, "udp", "if vlan_id 100 then udp_check fix vlan_id 9", gives(map[string]uint64{"vlan_id": 9})},
	{provider, "udp", "if eth_type 0x88a8 vlan_id 100 then vlan_id 9 udp_dest 8080", gives(map[string]uint64{"vlan_id": 9, "udp_dest": 8080})},
	{provider, "udp", "if eth_type 0x8800-0x88ff then vlan_id 9", gives(map[string]uint64{"vlan_id": 9})},
	{customer, "udp", "if eth_type 0x8100-0x81ff then vlan_id 9", gives(map[string]uint64{"vlan_id": 9})},
	{customer, "udp", "if eth_type 0x8800-0x88ff then vlan_id 9", nil},
	{provider, "udp", "if all then eth_type vlan", gives(map[string]uint64{"eth_type": 0x8100})},

	{two, "udp", "if vlan_id 100 then vlan_id 200", gives(map[string]uint64{"vlan_id": 200})},
	{two, "udp", "if vlan_id 150 then vlan_id 200", nil},
	{two, "udp", "if cvlan_id 150 then cvlan_id 200", gives(map[string]uint64{"cvlan_id": 200})},
	{two, "udp", "if cvlan_id 100 then cvlan_id 200", nil},
	{two, "udp", "if cvlan then cvlan_pcp 1 cvlan_dei on", gives(map[string]uint64{"cvlan_pcp": 1, "cvlan_dei": 1})},
	{two, "udp", "if eth_type 0x88a8 vlan_type 0x8100 cvlan_type ipv4 then vlan_id 1 cvlan_id 2 vlan_pcp 3 cvlan_pcp 4", gives(map[string]uint64{"vlan_id": 1, "cvlan_id": 2, "vlan_pcp": 3, "cvlan_pcp": 4})},
	{two, "udp", "if all then vlan_type 0x88a8", gives(map[string]uint64{"vlan_type": 0x88a8})},
	{two, "udp", "if all then cvlan_type 0x88b5", gives(map[string]uint64{"cvlan_type": 0x88b5})},
	{two, "udp", "if all then eth_type 0x8100", gives(map[string]uint64{"eth_type": 0x8100})},
	{two, "udp", "if cvlan_id 150 udp_dest 5201 then udp_dest 8080 ip_src 10.1.2.3", gives(map[string]uint64{"udp_dest": 8080, "ip_src": 0x0a010203})},
	{two, "udp6", "if udp_dest 5201 then udp_dest 8080 ip6_flow 7 cvlan_id 9 vlan_id 8", gives(map[string]uint64{"udp_dest": 8080, "ip6_flow": 7, "cvlan_id": 9, "vlan_id": 8})},
	{two, "arp", "if arp_op request then arp_spa 10.1.2.3", gives(map[string]uint64{"arp_spa": 0x0a010203})},
	{twoAlike, "tcp", "if vlan_id 100 cvlan_id 150 then vlan_id 8 cvlan_id 9 tcp_seq 7", gives(map[string]uint64{"vlan_id": 8, "cvlan_id": 9, "tcp_seq": 7})},

	// Behind a third tag nothing is found.
	{three, "udp", "if udp then ip_ttl 9", nil},
	{three, "udp", "if ip udp_dest 5201 then udp_dest 8080", nil},
	{three, "udp6", "if udp then udp_dest 8080", nil},
	{three, "udp", "if vlan_id 100 then vlan_id 8", gives(map[string]uint64{"vlan_id": 8})},
	{three, "udp", "if not udp then eth_src 02:01:02:03:04:05", gives(map[string]uint64{"eth_src": 0x020102030405})},
}

func (c vlanCase) packets() (sent, want []byte, plain []byte, tags []testnet.Tag) {
	plain = newPacket(c.kind).frame()
	p := newPacket(c.kind).tag(c.tags...)
	for i, t := range c.tags {
		tag := p.tags[i]
		tags = append(tags, testnet.Tag{TPID: uint16(t), TCI: uint16(tag.Priority)<<13 | tag.VLANIdentifier})
	}
	sent = p.frame()
	if c.edit != nil {
		c.edit(p)
		want = p.frame()
	}
	return sent, want, plain, tags
}

func (b *bench) tagged(c vlanCase, sent, want []byte) {
	b.t.Helper()
	if want == nil {
		b.leaves(c.text, sent)
	} else {
		b.rewrites(c.text, sent, want)
	}
}

// TestTags: tags in the bytes are what XDP sees, and tc at the egress of a raw
// socket; at tc ingress the first one is offloaded.
func TestTags(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		for _, c := range vlanCases {
			sent, want, _, _ := c.packets()
			b.tagged(c, sent, want)
		}
	})
	t.Logf("%d rules on tags", len(vlanCases))
}

// TestPushedTags: tags that have never been in the bytes, as those of a VLAN
// interface on a device with VLAN offload.
func TestPushedTags(t *testing.T) {
	pushed := lab.PairConfig{A: lab.End{Features: lab.Features{lab.TxVLAN: true, lab.TxSVLAN: true}}}
	b := newBench(t, tcIngress, pushed)
	for _, c := range vlanCases {
		sent, want, plain, tags := c.packets()
		tagging, err := testnet.PushVLAN(b.pair.A, b.pair.Config.A.Name, tags...)
		fatal(t, err)
		r := b.use(c.text)
		fatal(t, b.left.Send(plain))
		got := whole(b.next())
		check(t, tagging.Close())
		count := bpf.Counter{Packets: 1, Bytes: uint64(len(sent))}
		if want == nil {
			want, count = sent, bpf.Counter{}
		}
		same(t, c.text, sent, want, got)
		r.wants(c.text, count)
	}
}

// TestBridgedTags: what a bridge sends on leaves with the first tag offloaded,
// on devices that put it in, and on those that do not.
func TestBridgedTags(t *testing.T) {
	for name, features := range map[string]lab.Features{"beside": {lab.TxVLAN: true, lab.TxSVLAN: true}, "put in behind": lab.ByteExact()} {
		t.Run(name, func(t *testing.T) {
			b := newBridgeBench(t, features)
			eyes := watch(t, b.at.ns, b.at.name, testnet.Out)
			for _, c := range vlanCases {
				sent, want, _, _ := c.packets()
				b.tagged(c, sent, want)
				sub := *b
				sub.behind = eyes
				if skb := sub.next(); skb.VLAN == nil {
					t.Errorf("%s: the tag is not offloaded", c.text)
				}
			}
		})
	}
}

// newBridgeBench is a bench in whose middle is a bridge; rules are at its second
// port's egress.
func newBridgeBench(t *testing.T, features lab.Features) *bench {
	t.Helper()
	pair, err := lab.NewPair(lab.PairConfig{B: lab.End{Name: "port0", MAC: mac(0x020000000011)}})
	fatal(t, err)
	t.Cleanup(func() { check(t, pair.Close()) })
	third := namespace(t)
	fatal(t, lab.Connect(pair.B, third, lab.PairConfig{A: lab.End{Name: "port1", MAC: mac(0x020000000012), Features: features}, B: lab.End{Name: "right", MAC: rightMAC}}))
	fatal(t, testnet.AddBridge(pair.B, lab.End{Name: "br0"}, "port0", "port1"))
	b := makeBench(t, tcEgress, pair)
	b.at = &spot{site: tcEgress, ns: pair.B, name: "port1"}
	b.left = openPort(t, pair.A, "left", leftMAC)
	b.behind = watch(t, third, "right", testnet.In)
	return b
}

func namespace(t *testing.T) *lab.Namespace {
	t.Helper()
	needRoot(t)
	ns, err := lab.NewNamespace()
	fatal(t, err)
	t.Cleanup(func() { check(t, ns.Close()) })
	return ns
}

// TestTagNotKept: a type that is none of a tag cannot be kept beside a packet:
// it is skipped and counted. In the bytes it can be.
func TestTagNotKept(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		p := newPacket("udp").tag(dot1Q)
		sent := p.frame()
		p.eth.EthernetType = 0x88b5
		const text = "if vlan_id 100 then eth_type 0x88b5"
		if b.site != tcIngress {
			b.rewrites(text, sent, p.frame())
			return
		}
		r := b.use(text)
		same(b.t, text, sent, sent, b.cross(sent))
		if c := r.counted(); r.alone(bpf.ReasonTag) != 1 || c[0] != (bpf.Counter{}) {
			b.t.Errorf("counted %+v", c)
		}
	})
}

// TestOpenSumsBehindTags: at tc a tag does not keep a checksum from being made
// later.
func TestOpenSumsBehindTags(t *testing.T) {
	for _, dir := range []run.Direction{run.In, run.Out} {
		b := newBench(t, site{run.TC, dir}, lab.PairConfig{Offload: true})
		for _, tags := range [][]layers.EthernetType{customer, two} {
			p := newPacket("udp").tag(tags...)
			sent, o, err := testnet.Partial(p.frame(), 0)
			fatal(t, err)
			gives(map[string]uint64{"vlan_id": 9, "udp_dest": 8080, "ip_src": 0x0a010203})(p)
			b.use("if vlan_id 100 udp_dest 5201 then vlan_id 9 udp_dest 8080 ip_src 10.1.2.3")
			fatal(t, b.left.SendOffloaded(sent, o))
			got := whole(b.next())
			finishAt(got, p.l4(), p.l4()+6)
			same(t, dir.String(), sent, p.frame(), got)
		}
	}
}
