package live

import (
	"net/netip"
	"testing"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// counts wants the rules' packets, in their order, and nothing skipped.
func (r *rules) counts(packets ...uint64) {
	r.t.Helper()
	for i, c := range r.counted() {
		want := uint64(0)
		if i < len(packets) {
			want = packets[i]
		}
		if c.Packets != want {
			r.t.Errorf("counter %d is %+v, want %d packets", i, c, want)
		}
	}
}

func to(port uint16) []byte {
	p := newPacket("udp")
	dport(port)(p)
	return p.frame()
}

// TestDropAndPass: what comes next is what was not dropped.
func TestDropAndPass(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		r := b.use("if udp_dest 5201 then drop")
		b.send(to(5201))
		same(b.t, "drop", nil, to(9), b.cross(to(9)))
		r.counts(1)

		r = b.use("if udp_dest 9 or arp then pass else drop")
		b.send(to(5201))
		b.send(newPacket("tcp6").frame())
		same(b.t, "pass", nil, to(9), b.cross(to(9)))
		arp := newPacket("arp").frame()
		same(b.t, "pass", nil, arp, b.cross(arp))
		r.counts(2, 2)

		p := newPacket("udp")
		p.ip.TTL = 9
		r = b.use("if udp_dest 5201 then ip_ttl 9 pass else drop")
		same(b.t, "rewrite and pass", nil, p.frame(), b.cross(to(5201)))
		r.counts(1)
	})
}

// look lets an end receive what XDP on the other sends: a veth takes that only
// where a program is.
func look(t *testing.T, ns *lab.Namespace, name string, s site) {
	if s == native {
		spot{site: native, ns: ns, name: name}.run(t, "if all")
	}
}

// TestReflect: the frame comes back as it is, or as the rule makes it.
func TestReflect(t *testing.T) {
	// The ends have other addresses than the packets, so that nobody answers.
	mute := lab.PairConfig{A: lab.End{Addr: netip.MustParsePrefix("203.0.113.1/24")}, B: lab.End{Addr: netip.MustParsePrefix("203.0.113.2/24")}}
	onSites(t, sites[:3], mute, func(b *bench) {
		look(b.t, b.pair.A, b.pair.Config.A.Name, b.site)
		back := openCapture(b.t, b.pair.A, b.pair.Config.A.Name, testnet.CaptureConfig{})
		returns := func(text string, sent, want []byte) {
			b.t.Helper()
			r := b.use(text)
			fatal(b.t, b.left.Send(sent))
			got, err := back.Receive(time.Now().Add(patience))
			if err != nil {
				b.t.Fatalf("%s: %v after %x", text, err, sent)
			}
			same(b.t, text, sent, want, got.Frame())
			r.wants(text, bpf.Counter{Packets: 1, Bytes: uint64(len(sent))})
			nothing(b.t, text, b.behind)
		}
		for _, kind := range []string{"udp", "tcp", "udp6", "tcp6", "icmp"} {
			p := newPacket(kind)
			sent := p.frame()
			returns("if all then reflect", sent, sent)
			p.eth.SrcMAC, p.eth.DstMAC = p.eth.DstMAC, p.eth.SrcMAC
			returns("if all then swap eth reflect", sent, p.frame())
		}
		p := newPacket("udp")
		sent := p.frame()
		p.swap()
		p.ip.TTL = 9
		returns("if udp_dest 5201 then swap eth swap ip swap udp ip_ttl 9 reflect", sent, p.frame())
		p = newPacket("icmp")
		sent = p.frame()
		p.swap()
		setICMP(p, 0, 0)
		returns("if icmp_type echo-request then icmp_type echo-reply swap eth swap ip reflect", sent, p.frame())
		p = newPacket("udp").tag(dot1Q)
		sent = p.frame()
		p.eth.SrcMAC, p.eth.DstMAC = p.eth.DstMAC, p.eth.SrcMAC
		p.tags[0].VLANIdentifier = 9
		returns("if vlan_id 100 then swap eth vlan_id 9 reflect", sent, p.frame())
	})
}

// TestRedirect: the frame leaves by another interface, rewritten.
func TestRedirect(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		at, third := b.spot(), namespace(b.t)
		fatal(b.t, lab.Connect(at.ns, third, lab.PairConfig{A: lab.End{Name: "other"}, B: lab.End{Name: "third"}}))
		look(b.t, third, "third", b.site)
		fatal(b.t, at.ns.Do(func() error {
			at.redirect = map[string]int{"other": spot{name: "other"}.index(b.t)}
			return nil
		}))
		b.at = &at
		there := openCapture(b.t, third, "third", testnet.CaptureConfig{})
		for _, kind := range []string{"udp", "tcp6", "arp"} {
			p := newPacket(kind)
			sent := p.frame()
			text := "if all then eth_dest 02:00:00:00:00:03 redirect other"
			p.eth.DstMAC = mac(0x020000000003)
			if kind == "udp" {
				p.udp.DstPort = 8080
				text = "if udp_dest 5201 then udp_dest 8080 eth_dest 02:00:00:00:00:03 redirect other"
			}
			r := b.use(text)
			fatal(b.t, b.left.Send(sent))
			got, err := there.Receive(time.Now().Add(patience))
			fatal(b.t, err)
			same(b.t, text, sent, p.frame(), got.Frame())
			r.counts(1)
			nothing(b.t, text, b.behind)
		}
	})
}

// TestOthersStillRun: at tc, programs that were there before ours and those that
// come later see what ours lets pass, and not what it drops.
func TestOthersStillRun(t *testing.T) {
	for _, s := range tcSites {
		t.Run(s.String(), func(t *testing.T) {
			b := newBench(t, s, lab.PairConfig{})
			at, dir := b.spot(), testnet.Direction(s.dir == run.Out)
			before := watch(t, at.ns, at.name, dir)
			b.use("if udp_dest 5201 then udp_dest 8080 else if udp_dest 9 then drop else if udp_dest 10")
			after := watch(t, at.ns, at.name, dir)
			b.send(to(9))
			for sent, want := range map[uint16]uint16{5201: 8080, 10: 10, 11: 11} {
				fatal(t, b.left.Send(to(sent)))
				for _, eyes := range []*testnet.Skbs{b.behind, before, after} {
					sub := *b
					sub.behind = eyes
					same(t, "seen", to(sent), to(want), sub.next().Data)
				}
			}
		})
	}
}
