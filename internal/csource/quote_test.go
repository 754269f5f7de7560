package csource

import (
	"math/rand/v2"
	"testing"

	"repacket/internal/field"
	"repacket/test/quotes"
)

// TestQuotesInC runs programs over what ICMP errors quote, built by clang.
func TestQuotesInC(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for _, test := range quotes.Cases {
		t.Run(test.Name, func(t *testing.T) {
			p := test.Program()
			acted := compare(t, field.Ethernet, p, r, 1000)
			acted += compareAt(t, Options{Hook: TC}, field.Ethernet, p, r, 1000)
			acted += compare(t, field.RawIP, p, r, 500)
			if acted < 250 {
				t.Errorf("%d packets were acted on: that says little", acted)
			}
		})
	}
}
