package testnet

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"repacket/internal/lab"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TunConfig says what a tun or tap is.
type TunConfig struct {
	// Tap makes a device with Ethernet; without it packets begin at IP.
	Tap bool
	// End is the interface: tun0 or tap0, 192.0.2.1/24, a tap also
	// 02:00:00:00:00:01.
	End lab.End
	// Peer is who is on the wire, for the neighbour of a tap: 192.0.2.2/24,
	// 02:00:00:00:00:02. Of a tun it is not used.
	Peer lab.End
	// Offload gives each packet a virtio_net_hdr: partial sums and
	// GSO packets come and go. Without it the kernel finishes and cuts what
	// leaves.
	Offload bool
	MTU     int // 0 is 1500
}

func (cfg *TunConfig) setDefaults() {
	name := "tun0"
	var macs [2]net.HardwareAddr
	if cfg.Tap {
		name = "tap0"
		macs = [2]net.HardwareAddr{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
	}
	cfg.End = cfg.End.Or(name, macs[0], "192.0.2.1/24", "")
	cfg.Peer = cfg.Peer.Or("", macs[1], "192.0.2.2/24", "")
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
}

// Tun is the wire of a tun or tap: what is written arrives at the interface,
// what leaves the interface is read.
type Tun struct {
	Config TunConfig // defaults filled in
	file   *os.File
	buf    []byte
}

// OpenTun makes a tun or tap in the namespace and sets it up. It goes when it
// is closed.
func OpenTun(ns *lab.Namespace, cfg TunConfig) (*Tun, error) {
	cfg.setDefaults()
	t := &Tun{Config: cfg, buf: make([]byte, captureBuffer)}
	err := ns.Do(func() (err error) {
		if t.file, err = openTun(cfg); err != nil {
			return err
		}
		link, err := netlink.LinkByName(cfg.End.Name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMTU(link, cfg.MTU); err != nil {
			return err
		}
		if cfg.Tap {
			if err := netlink.LinkSetHardwareAddr(link, cfg.End.MAC); err != nil {
				return err
			}
		}
		return lab.SetUp(cfg.End, cfg.Peer)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", cfg.End.Name, err), t.Close())
	}
	return t, nil
}

// openTun makes the device in the namespace of the calling thread.
func openTun(cfg TunConfig) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	if err := configureTun(fd, cfg); err != nil {
		unix.Close(fd)
		return nil, err
	}
	// Only a device that has its interface can be waited for.
	return os.NewFile(uintptr(fd), cfg.End.Name), nil
}

func configureTun(fd int, cfg TunConfig) error {
	req, err := unix.NewIfreq(cfg.End.Name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_NO_PI | unix.IFF_TUN)
	if cfg.Tap {
		flags = unix.IFF_NO_PI | unix.IFF_TAP
	}
	if cfg.Offload {
		flags |= unix.IFF_VNET_HDR
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return os.NewSyscallError("TUNSETIFF", err)
	}
	if !cfg.Offload {
		return nil
	}
	const tcp, udp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6, unix.TUN_F_USO4 | unix.TUN_F_USO6
	err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|udp)
	if errors.Is(err, unix.EINVAL) { // UDP came with Linux 6.2
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp)
	}
	return os.NewSyscallError("TUNSETOFFLOAD", err)
}

// Write lets a packet arrive at the interface: a frame at a tap, an IP packet
// at a tun.
func (t *Tun) Write(packet []byte) error { return t.WriteOffloaded(packet, Offload{}) }

// WriteOffloaded is Write for a packet on which work is left: see Partial and
// PartialIP. It takes a device with Offload.
func (t *Tun) WriteOffloaded(packet []byte, o Offload) error {
	if !t.Config.Offload {
		if o != (Offload{}) {
			return fmt.Errorf("write to %s: work can be left on a packet only with Offload", t.Config.End.Name)
		}
		_, err := t.file.Write(packet)
		return err
	}
	_, err := t.file.Write(append(o.header(), packet...))
	return err
}

// Read returns the next packet that leaves the interface, which is the
// caller's. When none has come by the deadline the error is
// os.ErrDeadlineExceeded.
func (t *Tun) Read(deadline time.Time) (Packet, error) {
	if err := t.file.SetReadDeadline(deadline); err != nil {
		return Packet{}, err
	}
	n, err := t.file.Read(t.buf)
	if err != nil {
		return Packet{}, err
	}
	p := Packet{Outgoing: true}
	b := t.buf[:n]
	if t.Config.Offload {
		if n < vnetHeaderSize {
			return Packet{}, fmt.Errorf("read from %s: %d bytes are no packet", t.Config.End.Name, n)
		}
		p.Offload, _ = parseHeader(b)
		b = b[vnetHeaderSize:]
	}
	if p.Offload.Partial {
		p.Checksum = ChecksumPartial
	}
	p.Data = bytes.Clone(b)
	return p, nil
}

// Close removes the device.
func (t *Tun) Close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}
