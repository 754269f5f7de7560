package testnet

import (
	"fmt"
	"net"

	"repacket/internal/lab"

	"github.com/vishvananda/netlink"
)

// VXLANConfig says how a tunnel is made. Of the ends, names and MACs are "vx0"
// and 02:00:00:00:01:01, 02:00:00:00:01:02 by default, and the addresses
// 198.51.100.1/24 and 198.51.100.2/24.
type VXLANConfig struct {
	A, B lab.End
	ID   int // default 1
}

// vxlanPort is VXLAN's own (RFC 7348).
const vxlanPort = 4789

// vxlanOverhead is what a tunnel over IPv4 puts in front of a frame's payload:
// Ethernet, VXLAN, UDP and IPv4.
const vxlanOverhead = 14 + 8 + 8 + 20

func (cfg *VXLANConfig) setDefaults() {
	cfg.A = cfg.A.Or("vx0", net.HardwareAddr{2, 0, 0, 0, 1, 1}, "198.51.100.1/24", "")
	cfg.B = cfg.B.Or("vx0", net.HardwareAddr{2, 0, 0, 0, 1, 2}, "198.51.100.2/24", "")
	if cfg.ID == 0 {
		cfg.ID = 1
	}
}

// AddVXLAN puts a tunnel over the pair, one end in each namespace. Its outer
// UDP datagrams have checksums: the receiver sums them up whole, so on a pair
// without Offload frames come out of the tunnel with ChecksumComplete, as from
// network cards that sum up what they receive. It returns the ends with the
// defaults filled in.
func AddVXLAN(p *lab.Pair, cfg VXLANConfig) (VXLANConfig, error) {
	cfg.setDefaults()
	sides := []struct {
		ns            *lab.Namespace
		under, remote lab.End
		end, peer     lab.End
	}{
		{ns: p.A, under: p.Config.A, remote: p.Config.B, end: cfg.A, peer: cfg.B},
		{ns: p.B, under: p.Config.B, remote: p.Config.A, end: cfg.B, peer: cfg.A},
	}
	for _, s := range sides {
		err := s.ns.Do(func() error {
			if err := addVXLAN(cfg.ID, p.Config.MTU-vxlanOverhead, s.end, s.under, s.remote); err != nil {
				return err
			}
			return lab.SetUp(s.end, s.peer)
		})
		if err != nil {
			return cfg, fmt.Errorf("make a vxlan tunnel: %w", err)
		}
	}
	return cfg, nil
}

func addVXLAN(id, mtu int, end, under, remote lab.End) error {
	parent, err := netlink.LinkByName(under.Name)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = end.Name, end.MAC, mtu
	return netlink.LinkAdd(&netlink.Vxlan{
		LinkAttrs:    attrs,
		VxlanId:      id,
		VtepDevIndex: parent.Attrs().Index,
		SrcAddr:      under.Addr.Addr().AsSlice(),
		Group:        remote.Addr.Addr().AsSlice(),
		Port:         vxlanPort,
		UDPCSum:      true,
	})
}
