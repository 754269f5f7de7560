package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/rule"
)

// peers are the other ends of the veths that a native XDP program sends
// packets to. Without a program there the kernel loses what is sent, and
// counts it as sent. The error is ErrUnsupported where none can be put there.
func (s *Site) peers(m hook.Mode) ([]hook.Iface, error) {
	if m != hook.Native {
		return nil, nil
	}
	var out []hook.Iface
	for _, r := range s.cfg.Program.Rules {
		outlet := s.outlets[r.Redirect]
		if r.Verdict == rule.Reflect {
			outlet = s.iface
		}
		sends := r.Verdict == rule.Reflect || r.Verdict == rule.ToInterface
		if !sends || outlet.Kind != "veth" {
			continue
		}
		peer, err := s.peer(outlet)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(i hook.Iface) bool { return i.Index == peer.Index }) {
			out = append(out, peer)
		}
	}
	return out, nil
}

// peer is the other end of a veth, if a program of ours can be put there.
func (s *Site) peer(veth hook.Iface) (hook.Iface, error) {
	lost := fmt.Sprintf("%s is a veth, where what native XDP sends is lost unless there is an XDP program at its other end", veth.Name)
	refused := &hook.ErrUnsupported{Interface: veth.Name, Mode: hook.Native, TryGeneric: true}
	switch {
	case veth.PeerElsewhere:
		refused.Reason = lost + ", which is in another network namespace, where it cannot be seen"
		return hook.Iface{}, refused
	case s.cfg.Stay:
		refused.Reason = lost + ", which would have to stay there too"
		return hook.Iface{}, refused
	}
	all, err := hook.Interfaces()
	if err != nil {
		return hook.Iface{}, err
	}
	for _, i := range all {
		if i.Index == veth.Peer {
			return i, nil
		}
	}
	refused.Reason = lost + ", and that is not to be seen"
	return hook.Iface{}, refused
}

// peerAdvice tells what is put on other interfaces than the one asked for.
func (s *Site) peerAdvice(m hook.Mode) []Advice {
	peers, _ := s.peers(m) // an error has been told
	var all []Advice
	for _, i := range peers {
		all = append(all, Advice{Note: true, Message: fmt.Sprintf(
			"%s gets an XDP program that passes everything, as long as this runs: else it would lose what native XDP sends it", i.Name)})
	}
	return all
}

// openPeers puts a program on each of the interfaces that need one. Closing
// them takes it off.
func (s *Site) openPeers(m hook.Mode) ([]io.Closer, error) {
	peers, err := s.peers(m)
	if err != nil || len(peers) == 0 {
		return nil, err
	}
	passes, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: hook.PeerName, Type: ebpf.XDP, License: license,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, int32(bpf.XDP.Verdict(rule.Pass))), asm.Return()},
		Flags:        unix.BPF_F_XDP_HAS_FRAGS, // so that no MTU is too large
	})
	if err != nil {
		return nil, hook.ExplainLoad(fmt.Errorf("load the program for the other end: %w", err))
	}
	defer passes.Close() // the links hold it
	var open []io.Closer
	for _, i := range peers {
		l, err := link.AttachXDP(link.XDPOptions{Program: passes, Interface: i.Index, Flags: link.XDPDriverMode})
		switch {
		case errors.Is(err, unix.EBUSY): // a native program is there already
		case err != nil:
			err = &hook.ErrUnsupported{
				Interface: i.Name, Mode: hook.Native, TryGeneric: true, Err: err,
				Reason: fmt.Sprintf("%s, the other end of a veth that native XDP sends to, takes no XDP program: %v", i.Name, err),
			}
			return nil, errors.Join(err, closeAll(open))
		default:
			open = append(open, l)
		}
	}
	return open, nil
}

func closeAll(open []io.Closer) error {
	var errs []error
	for _, c := range open {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
