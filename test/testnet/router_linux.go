package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"repacket/internal/lab"

	"github.com/vishvananda/netlink"
)

// RouterConfig says how a client and a server are joined by a router. The zero
// value has the names and addresses of the comments.
type RouterConfig struct {
	Client     lab.End // client0, 02:00:00:00:01:02, 192.0.2.2/24, 2001:db8:1::2/64
	ClientSide lab.End // of the router: router0, 02:00:00:00:01:01, 192.0.2.1/24, 2001:db8:1::1/64
	ServerSide lab.End // of the router: router1, 02:00:00:00:02:01, 198.51.100.1/24, 2001:db8:2::1/64
	Server     lab.End // server0, 02:00:00:00:02:02, 198.51.100.2/24, 2001:db8:2::2/64
	// MTU of all ends in bytes; 0 is 1500.
	MTU int
	// Offload is as in PairConfig, for all ends.
	Offload bool
}

func (cfg *RouterConfig) setDefaults() {
	mac := func(link, host byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, link, host} }
	cfg.Client = cfg.Client.Or("client0", mac(1, 2), "192.0.2.2/24", "2001:db8:1::2/64")
	cfg.ClientSide = cfg.ClientSide.Or("router0", mac(1, 1), "192.0.2.1/24", "2001:db8:1::1/64")
	cfg.ServerSide = cfg.ServerSide.Or("router1", mac(2, 1), "198.51.100.1/24", "2001:db8:2::1/64")
	cfg.Server = cfg.Server.Or("server0", mac(2, 2), "198.51.100.2/24", "2001:db8:2::2/64")
	cfg.ClientSide.Forward, cfg.ServerSide.Forward = true, true
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
}

// Router is three namespaces in a row: what the client and the server send to
// each other is forwarded by the one between them. Routes and neighbours are
// there from the beginning.
type Router struct {
	Client, Router, Server *lab.Namespace
	Config                 RouterConfig // defaults filled in
}

// NewRouter makes the namespaces and joins them. When it returns, packets get
// through. After an error nothing is left.
func NewRouter(cfg RouterConfig) (*Router, error) {
	cfg.setDefaults()
	r := &Router{Config: cfg}
	if err := r.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a router: %w", err), r.Close())
	}
	return r, nil
}

func (r *Router) build() (err error) {
	for _, ns := range []**lab.Namespace{&r.Client, &r.Router, &r.Server} {
		if *ns, err = lab.NewNamespace(); err != nil {
			return err
		}
	}
	cfg := r.Config
	left := lab.PairConfig{A: cfg.Client, B: cfg.ClientSide, MTU: cfg.MTU, Offload: cfg.Offload}
	if err := lab.Connect(r.Client, r.Router, left); err != nil {
		return err
	}
	right := lab.PairConfig{A: cfg.ServerSide, B: cfg.Server, MTU: cfg.MTU, Offload: cfg.Offload}
	if err := lab.Connect(r.Router, r.Server, right); err != nil {
		return err
	}
	if err := r.Router.Do(forward); err != nil {
		return err
	}
	if err := r.Client.Do(func() error { return routeBy(cfg.Client, cfg.ClientSide) }); err != nil {
		return err
	}
	return r.Server.Do(func() error { return routeBy(cfg.Server, cfg.ServerSide) })
}

// forward makes a router of the namespace of the calling thread.
func forward() error {
	return errors.Join(
		os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0),
		os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
}

// routeBy sends all that is not on the link to the peer.
func routeBy(end, peer lab.End) error {
	link, err := netlink.LinkByName(end.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", end.Name, err)
	}
	for _, gateway := range []netip.Prefix{peer.Addr, peer.Addr6} {
		if !gateway.IsValid() {
			continue
		}
		zero := make([]byte, gateway.Addr().BitLen()/8)
		all := &net.IPNet{IP: zero, Mask: zero}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: all, Gw: gateway.Addr().AsSlice()}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("route by %s: %w", gateway.Addr(), err)
		}
	}
	return nil
}

// Close removes the three namespaces with all that is in them, and kills what
// Command started there. Closing again does nothing.
func (r *Router) Close() error {
	var errs []error
	if r.Router != nil && r.Router.FD() >= 0 {
		errs = append(errs, r.Router.Do(func() error {
			return errors.Join(lab.RemoveLink(r.Config.ClientSide.Name), lab.RemoveLink(r.Config.ServerSide.Name))
		}))
	}
	for _, ns := range []*lab.Namespace{r.Client, r.Router, r.Server} {
		if ns != nil {
			errs = append(errs, ns.Close())
		}
	}
	return errors.Join(errs...)
}
