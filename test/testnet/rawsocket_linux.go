package testnet

import (
	"net"
	"os"

	"repacket/internal/lab"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// rawSocket is a packet socket on one interface whose packets have a
// virtio_net_hdr in front. It can wait with a deadline.
func rawSocket(ns *lab.Namespace, name string, filter []bpf.Instruction) (f *os.File, err error) {
	err = ns.Do(func() error {
		f, err = rawSocketHere(name, filter)
		return err
	})
	return f, err
}

// rawSocketHere is rawSocket in the namespace of the calling thread. Without a
// filter it is for sending alone. The socket hears nothing before it is bound,
// and by then its filter is in place.
func rawSocketHere(name string, filter []bpf.Instruction) (*os.File, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "packet:"+name)
	if err := prepareSocket(fd, ifi.Index, filter); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func prepareSocket(fd, ifindex int, filter []bpf.Instruction) error {
	for _, o := range []struct{ level, option, value int }{
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, lab.ReceiveBuffer},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, lab.ReceiveBuffer},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	to := &unix.SockaddrLinklayer{Ifindex: ifindex}
	if filter != nil {
		to.Protocol = bigEndian(unix.ETH_P_ALL)
		if err := attachFilter(fd, filter); err != nil {
			return err
		}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, to))
}

func attachFilter(fd int, filter []bpf.Instruction) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	program := &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program))
}

// bigEndian is a number as it is in a packet, read by this machine.
func bigEndian(v uint16) uint16 {
	return hostOrder.Uint16([]byte{byte(v >> 8), byte(v)})
}

// sendBuffers sends one packet made of pieces.
func sendBuffers(f *os.File, pieces ...[]byte) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		_, sent = unix.SendmsgBuffers(int(fd), pieces, nil, nil, 0)
		return sent != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", sent)
}
