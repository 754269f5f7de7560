package live

import (
	"fmt"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// mark is a field that a rule sets to show that it matched f, which neither is
// f nor changes a checksum that f is, and the value.
func mark(f *field.Field, p *packet) (string, uint64) {
	switch {
	case f.Name == "arp_op":
		return "arp_spa", 0x0a010203
	case p.arp != nil:
		return "arp_op", 9
	case f.Name == "ip6_hlim":
		return "ip6_flow", 7
	case p.ip6 != nil:
		return "ip6_hlim", 9
	case f.Name == "ip_ttl" || f.Name == "ip_check":
		return "udp_src", 7
	}
	return "ip_ttl", 9
}

// having is a packet that has a value in a field.
func having(f *field.Field, kind string, v uint64) *packet {
	p := carrier(kind)
	set[f.Name](p, v)
	return p
}

// TestEveryFieldMatches sends, on every hook, one packet that has the value and
// one that has another. What is set is a field that the match does not look at.
func TestEveryFieldMatches(t *testing.T) {
	n := 0
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		for _, f := range field.Fields() {
			for _, kind := range carriers(f) {
				b.matches(f, kind)
				n++
			}
		}
	})
	t.Logf("figure: %d matches of %d fields on %d hooks and directions", n, len(field.Fields()), len(sites))
}

func (b *bench) matches(f *field.Field, kind string) {
	b.t.Helper()
	match, other, _ := values(f)
	p := having(f, kind, match)
	sent := p.frame()
	name, to := mark(f, p)
	set[name](p, to)
	text := fmt.Sprintf("if %s %s then %s %s", f.Name, word(f, match), name, word(field.MustByName(name), to))
	b.rewrites(text, sent, p.frame())
	b.leaves(text, having(f, kind, other).frame())
}

// TestEveryFieldIsRewritten sets every field, alone, on every hook.
func TestEveryFieldIsRewritten(t *testing.T) {
	n := 0
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		for _, f := range field.Fields() {
			for _, kind := range carriers(f) {
				p := carrier(kind)
				sent := p.frame()
				b.rewrites(rewriting(f, p), sent, p.frame())
				n++
			}
		}
	})
	t.Logf("figure: %d rewrites of %d fields on %d hooks and directions", n, len(field.Fields()), len(sites))
}

// rewriting sets f in the packet, and is the rule that does the same.
func rewriting(f *field.Field, p *packet) string {
	_, _, write := values(f)
	set[f.Name](p, write)
	return fmt.Sprintf("if all then %s %s", f.Name, word(f, write))
}

// TestEdgeValues: fields take the lowest, the highest and well-known values.
func TestEdgeValues(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
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
	})
}

// both sets a field to v, then matches v.
func (b *bench) both(name string, v uint64) {
	b.t.Helper()
	f := field.MustByName(name)
	p := carrier(carriers(f)[0])
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
	const least = 42 // the fields of IPv4, TCP, UDP and ICMP
	if len(set) != len(field.Fields()) || len(set) < least {
		t.Errorf("%d fields can be set, %d are in the table", len(set), len(field.Fields()))
	}
	for _, f := range field.Fields() {
		if set[f.Name] == nil {
			t.Errorf("%s has no line in set", f.Name)
		}
	}
	if len(sites) != len([]run.Hook{run.XDP, run.GenericXDP, run.TC})+1 {
		t.Errorf("%d sites: XDP sees what arrives, tc both ways", len(sites))
	}
}

// openKinds are the packets whose checksum can be left open.
const openKinds = "tcp tcp6 udp udp6 mss mss6 icmp6 vlan cvlan"

// TestEveryFieldOfOpenSums sets every field of packets whose checksum is yet to
// be made: finished, they are as if it had been there before. Only an exact
// checksum cannot be had.
func TestEveryFieldOfOpenSums(t *testing.T) {
	n := 0
	for _, s := range states {
		if s.sum != testnet.ChecksumPartial {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			b := newStateBench(t, s)
			for _, f := range field.Fields() {
				for _, kind := range carriers(f) {
					if has(openKinds, kind) {
						b.open(f, kind)
						n++
					}
				}
			}
		})
	}
	t.Logf("figure: %d rewrites of packets with offloaded checksums", n)
}

func (b *stateBench) open(f *field.Field, kind string) {
	b.t.Helper()
	p := carrier(kind)
	sent, l4 := p.frame(), p.l4()
	text := rewriting(f, p)
	want := p.frame()
	r := b.use(text)
	b.send(sent)
	skb := b.next()
	got := whole(skb)
	if skb.Checksum == testnet.ChecksumPartial {
		at := checkOffset(p)
		finishAt(got, l4, l4+at)
	}
	if f.Kind == field.Checksum && f.Proto != field.IP {
		same(b.t, text, sent, sent, got)
		if alone := r.alone(bpf.ReasonPartial); alone != 1 {
			b.t.Errorf("%s: %d packets were skipped for their sum", text, alone)
		}
		return
	}
	same(b.t, text, sent, want, got)
	r.wants(text, bpf.Counter{Packets: 1, Bytes: uint64(len(sent))})
}

// checkOffset is where the checksum is in the packet's layer-4 header.
func checkOffset(p *packet) int {
	switch {
	case p.tcp != nil:
		return 16
	case p.udp != nil:
		return 6
	}
	return 2
}
