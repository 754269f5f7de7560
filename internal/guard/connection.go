// Package guard finds out whether rules would cut a connection off, such as the one by which
// their user came: whether a packet of it would be dropped, redirected, reflected, or changed in
// more than what connections survive. It holds the packets of the connection against the rules
// as sets (package packetset), so that no packet is overlooked.
//
// It knows nothing of the kernel. Which connections there are is found by package session.
package guard

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"repacket/internal/field"
)

// Connection is what is known of the packets of a connection at an interface.
type Connection struct {
	// Name is what people call it, such as "the ssh session".
	Name string
	// Protocol is TCP or UDP; field.None is all that an IP header carries, fragments among it.
	Protocol field.Protocol
	// Here is the end on this machine, There the other one. An unspecified address is any of its
	// family, a port of 0 any port.
	Here, There netip.AddrPort
	// Established: the TCP connection is open, so none of its packets has the flag SYN; and they
	// have no IP options, no extension headers, and are no fragments.
	Established bool
	Link        Link
}

// Link is what is known of a connection's packets at the interface of the rules. The zero Link
// is that nothing is.
type Link struct {
	// Tags are the VLAN identifiers, outermost first, that the packets may have: several cases, or
	// nil where that is not known.
	Tags [][]uint16
	// Ethernet: the packets have that header. Bare: they have none. Neither is that it is not known.
	Ethernet, Bare bool
	// Quiet: neither ARP nor neighbor discovery finds the next hop.
	Quiet bool
	// NextHop is the address that ARP or neighbor discovery looks for, or not valid where it is not known.
	NextHop netip.Addr
	// Own is the MAC address of this machine and Hop that of the next hop, 6 bytes, or nil where it
	// is not known. From is the one from which packets of the next hop come.
	Own, Hop, From net.HardwareAddr
	// Mirrored: what leaves this machine arrives at the interface of the rules, and the other way
	// round, as at the other end of a veth.
	Mirrored bool
}

// End is an end of connections that is to be protected.
type End struct {
	Addr netip.Addr
	Port uint16 // or 0 for all packets of the address
}

// String is the end as it is written on a command line.
func (e End) String() string {
	if e.Port == 0 {
		return e.Addr.String()
	}
	return netip.AddrPortFrom(e.Addr, e.Port).String()
}

// Connections are the connections of an end that is on this machine, or not.
func (e End) Connections(here bool) []Connection {
	protocols := []field.Protocol{field.None}
	if e.Port != 0 {
		protocols = []field.Protocol{field.TCP, field.UDP}
	}
	var out []Connection
	for _, p := range protocols {
		c := Connection{Name: e.String(), Protocol: p, There: netip.AddrPortFrom(e.Addr, e.Port), Here: netip.AddrPortFrom(Any(e.Addr), 0)}
		if here {
			c.Here, c.There = c.There, c.Here
		}
		out = append(out, c)
	}
	return out
}

// Any is the unspecified address of the family of an address.
func Any(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// text shows a packet of the connection as people know it from tcpdump.
func (c Connection) text(leaves bool) string {
	from, to := c.There, c.Here
	if leaves {
		from, to = to, from
	}
	protocol := "ip"
	switch {
	case c.Protocol != field.None:
		protocol = c.Protocol.String()
	case from.Addr().Is6():
		protocol = "ip6"
	}
	return fmt.Sprintf("%s%s %s > %s", c.Link.tags(), protocol, endText(from), endText(to))
}

func endText(a netip.AddrPort) string {
	addr, port := a.Addr().String(), ""
	if a.Addr().IsUnspecified() {
		addr = "any"
	}
	if a.Port() != 0 {
		port = fmt.Sprintf(".%d", a.Port())
	}
	return addr + port
}

// tags shows the tags that packets certainly have.
func (l Link) tags() string {
	if len(l.Tags) == 0 {
		return ""
	}
	var b strings.Builder
	for _, id := range l.Tags[0] {
		fmt.Fprintf(&b, "vlan %d, ", id)
	}
	return b.String()
}

// Request says which connections are looked for, and at which interface.
type Request struct {
	// Index is the number of the interface.
	Index int
	// Sessions: those by which the caller came. SSHConnection is the variable SSH_CONNECTION, or "".
	Sessions      bool
	SSHConnection string
	// Ends are ends of other connections.
	Ends []End
}

// Found are the connections that are to be protected at an interface.
type Found struct {
	Connections []Connection
	// Missed are those that could not be looked at, and why.
	Missed []Missed
}

// Missed is a connection of which nothing was checked.
type Missed struct{ Name, Why string }

// String is a line for people.
func (m Missed) String() string { return "nothing was checked for " + m.Name + ": " + m.Why }
