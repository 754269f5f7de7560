package hook

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// Interface looks an interface up by its name or alternative name. The error is
// NoInterfaceError, with the names that may have been meant.
func Interface(name string) (Iface, error) {
	i, err := Resolve(name)
	if err != nil {
		return Iface{}, err
	}
	one := []Iface{i}
	describe(one)
	return one[0], nil
}

// Resolve is Interface without what only the driver knows: Driver and Native stay
// empty, which is quicker by half.
func Resolve(name string) (Iface, error) {
	d, err := resolve(name)
	return d.Iface, err
}

func resolve(name string) (device, error) {
	d, err := deviceByName(name)
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		// The others say that no interface can have such a name.
		all, _ := Names() // without them there is no hint
		return device{}, &NoInterfaceError{Name: name, Near: near(name, all), Err: err}
	}
	return device{}, explain(err, actList, newAttempt(name, run.In, run.Auto))
}

// NameOf is the name that the interface of a number has now. The error is
// NoInterfaceError.
func NameOf(index int) (string, error) {
	d, err := deviceByIndex(index)
	if errors.Is(err, unix.ENODEV) {
		return "", &NoInterfaceError{Index: index, Err: err}
	}
	if err != nil {
		return "", explain(err, actList, newAttempt("", run.In, run.Auto))
	}
	return d.Name, nil
}

// Interfaces lists all interfaces in the kernel's order.
func Interfaces() ([]Iface, error) {
	ds, err := devices()
	if err != nil {
		return nil, explain(err, actList, newAttempt("", run.In, run.Auto))
	}
	all := make([]Iface, len(ds))
	for i, d := range ds {
		all[i] = d.Iface
	}
	describe(all)
	return all, nil
}

// Names are the names of all interfaces in the kernel's order.
func Names() ([]string, error) {
	ds, err := devices()
	if err != nil {
		return nil, explain(err, actList, newAttempt("", run.In, run.Auto))
	}
	names := make([]string, len(ds))
	for i, d := range ds {
		names[i] = d.Name
	}
	return names, nil
}

// DefaultRoute is the name of the interface of the default route: IPv4's with
// the lowest metric, else IPv6's. The error is NoDefaultRouteError.
func DefaultRoute() (string, error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		index, err := defaultRouteOf(family)
		if err != nil {
			return "", explain(err, actRoute, newAttempt("", run.In, run.Auto))
		}
		if index == 0 {
			continue
		}
		d, err := deviceByIndex(index)
		if err != nil {
			return "", &NoInterfaceError{Index: index, Err: err}
		}
		return d.Name, nil
	}
	return "", &NoDefaultRouteError{}
}

// defaultRouteOf is the number of the interface of a family's default route,
// or 0.
func defaultRouteOf(family int) (int, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	const by = netlink.RT_FILTER_TABLE | netlink.RT_FILTER_TYPE | netlink.RT_FILTER_DST
	routes, err := netlink.RouteListFiltered(family, filter, by) // no Dst: default routes
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return 0, nil
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return 0, fmt.Errorf("list the routes: %w", err)
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return routeIndex(r) == 0 })
	if len(routes) == 0 {
		return 0, nil
	}
	best := slices.MinFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	return routeIndex(best), nil
}

// routeIndex is the number of the interface of a route, the first of several,
// or 0.
func routeIndex(r netlink.Route) int {
	if r.LinkIndex == 0 && len(r.MultiPath) > 0 {
		return r.MultiPath[0].LinkIndex
	}
	return r.LinkIndex
}
