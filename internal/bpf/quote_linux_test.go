package bpf_test

import (
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/test/quotes"
)

// TestQuotesOfReplies holds both programs of rules with replies against the reference.
func TestQuotesOfReplies(t *testing.T) {
	for _, text := range quotes.Answered {
		p := checked(t, text)
		for _, of := range []*rule.Program{p, p.Replies} {
			for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
				proves(t, of, engine.LoadOptions{Hook: h}, 1000)
			}
		}
	}
}

// TestQuotes holds programs over what ICMP errors quote against the reference.
func TestQuotes(t *testing.T) {
	for _, test := range quotes.Cases {
		t.Run(test.Name, func(t *testing.T) {
			p := test.Program()
			for _, link := range []field.Link{field.Ethernet, field.RawIP} {
				for _, o := range []engine.LoadOptions{{}, {Fragments: true}, {Limit: 1, Timed: true}, {Hook: bpf.TC}, {Hook: bpf.TC, Limit: 1, Timed: true}} {
					o.Link = link
					proves(t, p, o, 1000)
				}
			}
		})
	}
}
