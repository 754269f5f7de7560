package field

// Link says what the packets of an interface begin with.
type Link uint8

// The links.
const (
	Ethernet Link = iota // an Ethernet header
	RawIP                // the IP header, as on a tun or on WireGuard
)

var linkNames = [...]string{Ethernet: "Ethernet", RawIP: "raw IP"}

// String names the link.
func (l Link) String() string { return linkNames[l] }
