package live

import (
	"bytes"
	"testing"

	"repacket/internal/lab"
)

// large is what a packet carries with an MTU of 9,000: a frame of more than one
// buffer in native XDP.
const large = 9000 - 80

// TestLargePackets: frames of several buffers are rewritten right, and so are
// sums over all of them.
func TestLargePackets(t *testing.T) {
	onSites(t, sites, lab.PairConfig{MTU: 9000}, func(b *bench) {
		at := b.spot()
		at.fragments = b.site == native
		b.at = &at
		for _, kind := range []string{"udp", "tcp", "udp6", "tcp6"} {
			for _, size := range []int{large, large - 1, 3000, 4096, 100} {
				b.large(kind, size)
			}
		}
	})
}

func (b *bench) large(kind string, size int) {
	b.t.Helper()
	p := withPayload(kind, size)
	sent := p.frame()
	text := "if dport 5201 then dport 8080 sport 7 ttl 9"
	all(dport(8080), moreTTL, func(p *packet) {
		if p.tcp != nil {
			p.tcp.SrcPort = 7
		} else {
			p.udp.SrcPort = 7
		}
	})(p)
	b.rewrites(text, sent, p.frame())

	p = withPayload(kind, size)
	name, at := checkOf(kind)
	at += p.l4()
	stale := bytes.Clone(sent)
	stale[at] ^= 0x5a
	actions := moreOf(p)
	right := p.frame()
	b.rewrites("if all then "+name+" fix"+actions, stale, right)
	b.rewrites("if all then "+name+" bad"+actions, stale, plusOne(right, at))
	b.rewrites("if all then "+name+" 0xbeef"+actions, stale, withWord(right, at, 0xbeef))
}

func moreTTL(p *packet) {
	if p.ip6 != nil {
		p.ip6.HopLimit = 9
		return
	}
	p.ip.TTL = 9
}
