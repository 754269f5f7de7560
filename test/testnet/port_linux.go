package testnet

import (
	"errors"
	"fmt"
	"net"
	"os"

	"repacket/internal/lab"
)

// Port is a lab.Port that can also send packets with work left for the device.
type Port struct {
	*lab.Port
	offload *os.File
}

// OpenPort opens the interface of that name in the namespace, as lab.OpenPort
// does.
func OpenPort(ns *lab.Namespace, name string, from net.HardwareAddr) (*Port, error) {
	port, err := lab.OpenPort(ns, name, from)
	if err != nil {
		return nil, err
	}
	offload, err := rawSocket(ns, name, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s for offloaded frames: %w", name, err), port.Close())
	}
	return &Port{port, offload}, nil
}

// SendOffloaded is Send, but leaves work on the frame to the device: see
// Partial for the frame that goes with an offload. An interface whose features
// cannot do the work has it done before the frame leaves.
func (p *Port) SendOffloaded(frame []byte, o Offload) error {
	if err := sendBuffers(p.offload, o.header(), frame); err != nil {
		return fmt.Errorf("send %d bytes with work left: %w", len(frame), err)
	}
	return nil
}

// Close closes the port.
func (p *Port) Close() error { return errors.Join(p.offload.Close(), p.Port.Close()) }
