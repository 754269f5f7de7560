package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PairConfig says how two namespaces are joined. The zero value is a pair with
// the names, addresses and sizes of the comments.
type PairConfig struct {
	A, B End
	// MTU of both ends in bytes; 0 is 1500.
	MTU int
	// Offload leaves the checksums that local sockets send to the other end,
	// as Linux does by default: what arrives then has half-made checksums.
	// Without it every packet carries whole ones.
	Offload bool
}

// End is one end of a veth pair.
type End struct {
	Name string           // default "left", "right"
	MAC  net.HardwareAddr // default 02:00:00:00:00:01, 02:00:00:00:00:02
	Addr netip.Prefix     // IPv4; default 192.0.2.1/24, 192.0.2.2/24 (RFC 5737)
}

func (cfg *PairConfig) setDefaults() {
	cfg.A.setDefaults("left", 1)
	cfg.B.setDefaults("right", 2)
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
}

func (e *End) setDefaults(name string, last byte) {
	if e.Name == "" {
		e.Name = name
	}
	if e.MAC == nil {
		e.MAC = net.HardwareAddr{2, 0, 0, 0, 0, last}
	}
	if !e.Addr.IsValid() {
		e.Addr = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), 24)
	}
}

// Pair is two namespaces joined by a veth pair: A's end is Config.A, B's end is
// Config.B. Nothing moves on it unless somebody sends: the neighbours are
// static and IPv6 is off.
type Pair struct {
	A, B   *Namespace
	Config PairConfig // defaults filled in
}

// linkUpTimeout is how long the two ends may take to see each other.
const linkUpTimeout = 5 * time.Second

// NewPair makes two namespaces and joins them. When it returns, both ends carry
// packets. After an error nothing is left.
func NewPair(cfg PairConfig) (*Pair, error) {
	cfg.setDefaults()
	p := &Pair{Config: cfg}
	if err := p.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a veth pair: %w", err), p.Close())
	}
	return p, nil
}

func (p *Pair) build() (err error) {
	if p.A, err = NewNamespace(); err != nil {
		return err
	}
	if p.B, err = NewNamespace(); err != nil {
		return err
	}
	for _, ns := range []*Namespace{p.A, p.B} {
		if err := ns.Do(disableIPv6); err != nil {
			return err
		}
	}
	if err := p.A.Do(p.addLink); err != nil {
		return err
	}
	cfg := p.Config
	if err := p.A.Do(func() error { return setUpEnd(cfg.A, cfg.B, cfg.Offload) }); err != nil {
		return err
	}
	if err := p.B.Do(func() error { return setUpEnd(cfg.B, cfg.A, cfg.Offload) }); err != nil {
		return err
	}
	return p.waitUp()
}

// disableIPv6 keeps router solicitations, listener reports and duplicate
// address detection off the interfaces that the namespace gets later.
func disableIPv6() error {
	for _, which := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a kernel without IPv6
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Pair) addLink() error {
	cfg := p.Config
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = cfg.A.Name, cfg.A.MAC, cfg.MTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = cfg.B.Name, cfg.B.MAC, uint32(cfg.MTU)
	veth.PeerNamespace = netlink.NsFd(p.B.FD())
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add %s and %s: %w", cfg.A.Name, cfg.B.Name, err)
	}
	return nil
}

// setUpEnd gives one end its address, its neighbour and its features, in the
// namespace of the calling thread.
func setUpEnd(end, peer End, offload bool) error {
	link, err := netlink.LinkByName(end.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", end.Name, err)
	}
	if !offload {
		if err := disableTxChecksum(end.Name); err != nil {
			return fmt.Errorf("switch the checksum offload of %s off: %w", end.Name, err)
		}
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{
		IP:   end.Addr.Addr().AsSlice(),
		Mask: net.CIDRMask(end.Addr.Bits(), end.Addr.Addr().BitLen()),
	}}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("give %s to %s: %w", end.Addr, end.Name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", end.Name, err)
	}
	neigh := &netlink.Neigh{
		LinkIndex:    link.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		IP:           peer.Addr.Addr().AsSlice(),
		HardwareAddr: peer.MAC,
	}
	if err := netlink.NeighSet(neigh); err != nil {
		return fmt.Errorf("tell %s its neighbour %s: %w", end.Name, peer.Addr.Addr(), err)
	}
	return nil
}

// disableTxChecksum makes the stack finish every checksum by itself;
// segmentation offload goes with it.
func disableTxChecksum(name string) error {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return err
	}
	defer tool.Close()
	return tool.Change(name, map[string]bool{"tx-checksum-ip-generic": false})
}

// waitUp waits until the kernel lets packets out of both ends. That is later
// than "up": the transmit queues open when the carrier is seen.
func (p *Pair) waitUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), linkUpTimeout)
	defer cancel()
	if err := p.A.Do(func() error { return waitOperational(ctx, p.Config.A.Name) }); err != nil {
		return err
	}
	return p.B.Do(func() error { return waitOperational(ctx, p.Config.B.Name) })
}

func waitOperational(ctx context.Context, name string) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if link.Attrs().OperState == netlink.OperUp && link.Attrs().RawFlags&unix.IFF_RUNNING != 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to come up: %w", name, ctx.Err())
		}
	}
}

// Close removes the veth pair and both namespaces, and kills what Command
// started in them. Closing again does nothing.
func (p *Pair) Close() error {
	var errs []error
	if p.A != nil && p.A.FD() >= 0 {
		errs = append(errs, p.A.Do(func() error { return removeLink(p.Config.A.Name) }), p.A.Close())
	}
	if p.B != nil {
		errs = append(errs, p.B.Close())
	}
	return errors.Join(errs...)
}

// removeLink removes a veth with its peer at once: a namespace that some other
// process still holds would keep it.
func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
