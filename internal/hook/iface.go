package hook

import (
	"cmp"
	"slices"

	"repacket/internal/spelling"
)

// Iface is a network interface.
type Iface struct {
	Name  string
	Index int
	MTU   int // bytes
	// Kind is what makes the interface in software, such as "veth"; "" is
	// mostly hardware. A tap is a "tun" with Ethernet.
	Kind string
	Up   bool
	Link LinkType
	// Ethernet: packets begin with an Ethernet header.
	Ethernet bool
	// Driver is what ethtool calls the driver, or "".
	Driver string
	// Native reports whether the driver has XDP in native mode.
	Native Support
	// RxQueues and TxQueues are how many queues the interface has at most.
	RxQueues, TxQueues int
	// Master is the number of the bridge or bond that the interface is part
	// of, or 0.
	Master int
	// Peer is the number of the other end of a veth, or 0. PeerElsewhere: it
	// is in another network namespace, where the number is its own.
	Peer          int
	PeerElsewhere bool
}

// LinkType is what the packets of an interface begin with.
type LinkType uint8

// The link types.
const (
	EthernetLink LinkType = iota // an Ethernet header
	LoopbackLink                 // an Ethernet header that says nothing
	RawIPLink                    // nothing: IP comes first, as on tun and WireGuard
	OtherLink                    // something else
)

var linkTypeNames = [...]string{
	EthernetLink: "Ethernet", LoopbackLink: "loopback", RawIPLink: "raw IP", OtherLink: "other",
}

func (t LinkType) String() string { return linkTypeNames[t] }

// Support reports whether something can be done.
type Support uint8

// The kinds of support.
const (
	Unknown Support = iota // neither the kernel says it nor do we know the driver
	Missing
	Supported
)

var supportNames = [...]string{Unknown: "unknown", Missing: "missing", Supported: "supported"}

func (s Support) String() string { return supportNames[s] }

// nativeDrivers are drivers with native XDP, by the names that ethtool tells. It
// is for kernels before 6.3, which do not say it themselves.
var nativeDrivers = []string{
	"atlantic", "bnxt_en", "bonding", "cpsw", "ena", "fec", "fsl_dpa", "fsl_dpaa2_eth", "fsl_enetc",
	"hv_netvsc", "i40e", "ice", "igb", "igc", "ixgbe", "ixgbevf", "mana", "mlx4_en", "mlx5_core",
	"mtk_soc_eth", "mvneta", "mvpp2", "netsec", "nfp", "nicvf", "qede", "rvu_nicpf", "rvu_nicvf", "sfc",
	"st_gmac", "tun", "veth", "vif", "virtio_net",
}

// nativeByDriver tells by its name whether a driver has native XDP.
func nativeByDriver(i Iface) Support {
	switch {
	case i.Driver == "tun" && !i.Ethernet: // only a tap has it
		return Missing
	case slices.Contains(nativeDrivers, i.Driver):
		return Supported
	case i.Kind != "" || i.Link == LoopbackLink:
		return Missing
	}
	return Unknown
}

// near are the candidates at most two letters too many or too few away from a
// name, or one wrong, best first.
func near(name string, candidates []string) []string {
	type match struct {
		name string
		away int
	}
	var matches []match
	for _, c := range candidates {
		if away := spelling.Distance(name, c); away <= 4 && away < 2*len(c) {
			matches = append(matches, match{c, away})
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return cmp.Compare(a.away, b.away) })
	names := make([]string, len(matches))
	for i, m := range matches {
		names[i] = m.name
	}
	return names
}
