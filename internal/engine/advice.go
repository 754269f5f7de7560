package engine

import (
	"fmt"

	"repacket/internal/hook"
	"repacket/internal/rule"
)

// Advice is what a user should know before rules are attached to an interface.
type Advice struct {
	Message, Hint string
}

// Advise says what can go wrong with rules on an interface though nothing is
// wrong with them. The errors are those of hook.Interface.
func Advise(p *rule.Program, iface string) ([]Advice, error) {
	i, err := hook.Interface(iface)
	if err != nil {
		return nil, err
	}
	if !halfSummed[i.Kind] || !followsLayer4(p) {
		return nil, nil
	}
	return []Advice{{
		Message: fmt.Sprintf("%s is a %s: what local programs send into it may carry checksums that are finished later, which XDP cannot see; rewritten and sent on, they are wrong", i.Name, i.Kind),
		Hint:    "packets from elsewhere are right; for the others, whole checksums where they are sent: ethtool -K DEVICE tx off",
	}}, nil
}

// halfSummed are the kinds of interfaces through which packets of local
// senders come with partial checksums.
var halfSummed = map[string]bool{
	"veth": true, "tun": true, "bridge": true, "macvlan": true, "ipvlan": true,
}

// followsLayer4 tells whether a rule sets something that a checksum of TCP, UDP
// or ICMP covers.
func followsLayer4(p *rule.Program) bool {
	for _, r := range p.Rules {
		for _, a := range r.Actions {
			for _, c := range a.Field.Covers {
				if c.Check != "ip_check" {
					return true
				}
			}
		}
	}
	return false
}
