package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// PairConfig says how two namespaces are joined. The zero value is a pair with
// the names, addresses and sizes of the comments.
type PairConfig struct {
	A, B End
	// MTU of both ends in bytes; 0 is 1500.
	MTU int
	// Offload leaves the checksums that local sockets send to the other end,
	// as Linux does by default: what arrives then has offloaded checksums (CHECKSUM_PARTIAL).
	// Without it every packet carries whole ones.
	Offload bool
}

// End is one end of a veth pair.
type End struct {
	Name string           // default "left", "right"
	MAC  net.HardwareAddr // default 02:00:00:00:00:01, 02:00:00:00:00:02
	Addr netip.Prefix     // IPv4; default 192.0.2.1/24, 192.0.2.2/24 (RFC 5737)
	// Addr6 is an IPv6 address; without one there is no IPv6 on the interface.
	Addr6 netip.Prefix
	// Features are switches that are not as PairConfig.Offload leaves them.
	Features Features

	Forward bool // packets go on from here to other interfaces
}

func (cfg *PairConfig) setDefaults() {
	cfg.A = cfg.A.Or("left", net.HardwareAddr{2, 0, 0, 0, 0, 1}, "192.0.2.1/24", "")
	cfg.B = cfg.B.Or("right", net.HardwareAddr{2, 0, 0, 0, 0, 2}, "192.0.2.2/24", "")
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
}

// Or is the end with these values where it has none. An empty addr6 is none.
func (e End) Or(name string, mac net.HardwareAddr, addr, addr6 string) End {
	if e.Name == "" {
		e.Name = name
	}
	if e.MAC == nil {
		e.MAC = mac
	}
	if !e.Addr.IsValid() {
		e.Addr = netip.MustParsePrefix(addr)
	}
	if !e.Addr6.IsValid() && addr6 != "" {
		e.Addr6 = netip.MustParsePrefix(addr6)
	}
	return e
}

// Pair is two namespaces joined by a veth pair: A's end is Config.A, B's end is
// Config.B. Nothing moves on it unless somebody sends: the neighbours are
// static, and IPv6 is off or at least has nothing to find out.
type Pair struct {
	A, B   *Namespace
	Config PairConfig // defaults filled in
}

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
	return connect(p.A, p.B, p.Config)
}

// Close removes the veth pair and both namespaces, and kills what Command
// started in them. Closing again does nothing.
func (p *Pair) Close() error {
	var errs []error
	if p.A != nil && p.A.FD() >= 0 {
		errs = append(errs, p.A.Do(func() error { return RemoveLink(p.Config.A.Name) }), p.A.Close())
	}
	if p.B != nil {
		errs = append(errs, p.B.Close())
	}
	return errors.Join(errs...)
}
