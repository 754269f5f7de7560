package plan

import "repacket/internal/field"

// Way is what stands between an IP header and a layer-4 header.
type Way uint8

// The ways.
const (
	Direct      Way = iota // nothing but IPv4 options
	Extended               // extension headers of IPv6
	Routed                 // among them a routing header that has segments left; a source route of IPv4 that has hops left
	Homed                  // the option Home Address of IPv6 (RFC 6275)
	HomedRouted            // both
	ways        = 5
)

// Routed reports whether the pseudo-header has another destination than the IP header.
func (w Way) Routed() bool { return w == Routed || w == HomedRouted }

// Homed reports whether the pseudo-header has another source than the IP header.
func (w Way) Homed() bool { return w == Homed || w == HomedRouted }

// Elsewhere reports whether the pseudo-header has another address than the one that a
// field of the IP header holds.
func (w Way) Elsewhere(address *field.Field) bool {
	switch address.Name {
	case "ip_dest", "ip6_dest":
		return w.Routed()
	case "ip6_src":
		return w.Homed()
	}
	return false
}
