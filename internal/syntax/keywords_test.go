package syntax

import (
	"strings"
	"testing"

	"repacket/internal/field"
)

// TestValueNamesAreNoWords: a name of a value is no word of the language, but
// for tcp, udp, icmp, arp and vlan, where only a value can stand.
func TestValueNamesAreNoWords(t *testing.T) {
	t.Parallel()
	for _, f := range field.Fields() {
		for _, n := range f.Names {
			allowed := (f.Name == "ip_protocol" || f.Name == "ip6_next") && (n.Word == "tcp" || n.Word == "udp" || n.Word == "icmp") ||
				strings.HasSuffix(f.Name, "_type") && (n.Word == "arp" || n.Word == "vlan")
			if isLanguage(Token{Text: n.Word, word: true}) != allowed || fillers[n.Word] {
				t.Errorf("%s, a value of %s, is a word of the language: %v", n.Word, f.Name, !allowed)
			}
		}
	}
}
