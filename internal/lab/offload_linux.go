package lab

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/safchain/ethtool"
)

// Feature is a switch of an interface, named as the kernel names it (ethtool
// -k shows some of them under older names).
type Feature string

// The switches that decide what packets look like inside the kernel.
const (
	// TxChecksum leaves checksums to the device: on a veth nobody finishes
	// them, and partial ones arrive at the peer. Off, all are finished before
	// the device, and TSO, TSO6, USO and GSO go with it.
	TxChecksum    Feature = "tx-checksum-ip-generic"
	ScatterGather Feature = "tx-scatter-gather"       // packets in pieces; GSO needs it
	TSO           Feature = "tx-tcp-segmentation"     // GSO packets of TCP over IPv4 go out whole
	TSO6          Feature = "tx-tcp6-segmentation"    // the same over IPv6
	USO           Feature = "tx-udp-segmentation"     // the same of UDP
	GSO           Feature = "tx-generic-segmentation" // the stack makes GSO packets and cuts them late
	GRO           Feature = "rx-gro"                  // arriving segments become GSO packets
	// UDPGRO lets GRO join the datagrams of any flow, local or forwarded.
	UDPGRO  Feature = "rx-udp-gro-forwarding"
	TxVLAN  Feature = "tx-vlan-hw-insert"      // an 802.1Q tag is offloaded, not in the frame
	TxSVLAN Feature = "tx-vlan-stag-hw-insert" // the same of an 802.1ad tag
	RxVLAN  Feature = "rx-vlan-hw-parse"       // the device says that it takes tags out
	RxSVLAN Feature = "rx-vlan-stag-hw-parse"
)

// Features are switches, on or off.
type Features map[Feature]bool

// ByteExact is what makes packets on a veth what they would be on a cable: no
// checksum is offloaded, nothing is aggregated or left to segmentation, tags are in the bytes.
func ByteExact() Features {
	return Features{
		TxChecksum: false, ScatterGather: false, TSO: false, TSO6: false, USO: false, GSO: false,
		GRO: false, TxVLAN: false, TxSVLAN: false,
	}
}

// Offloaded is what a veth is when nobody touches it.
func Offloaded() Features {
	return Features{
		TxChecksum: true, ScatterGather: true, TSO: true, TSO6: true, USO: true, GSO: true,
		GRO: false, TxVLAN: true, TxSVLAN: true,
	}
}

// SetFeatures turns switches of an interface and leaves the others alone. It is
// an error if one of them does not end as wanted: some need others, and some
// devices have some fixed.
func (n *Namespace) SetFeatures(name string, want Features) error {
	err := n.Do(func() error { return setFeatures(name, want) })
	if err != nil {
		return fmt.Errorf("set features of %s: %w", name, err)
	}
	return nil
}

// Features says how the switches of an interface are.
func (n *Namespace) Features(name string) (all Features, err error) {
	err = n.Do(func() error {
		all, err = features(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for features of %s: %w", name, err)
	}
	return all, nil
}

// setFeatures is SetFeatures in the namespace of the calling thread.
func setFeatures(name string, want Features) error {
	if len(want) == 0 {
		return nil
	}
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return err
	}
	defer tool.Close()
	config := map[string]bool{}
	for f, on := range want {
		config[string(f)] = on
	}
	if err := tool.Change(name, config); err != nil {
		return err
	}
	got, err := features(name)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range slices.Sorted(maps.Keys(want)) {
		if got[f] != want[f] {
			errs = append(errs, fmt.Errorf("%s stays %s", f, map[bool]string{true: "on", false: "off"}[got[f]]))
		}
	}
	return errors.Join(errs...)
}

func features(name string) (Features, error) {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return nil, err
	}
	defer tool.Close()
	all, err := tool.Features(name)
	if err != nil {
		return nil, err
	}
	f := Features{}
	for name, on := range all {
		f[Feature(name)] = on
	}
	return f, nil
}
