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
	"repacket/internal/run"
)

// vethPeers are the other ends of the veths that a native XDP program sends
// packets to. Without a program there the kernel loses what is sent, and
// counts it as sent. The error is UnsupportedError where none can be attached there.
func (s *Prepared) vethPeers(m run.Hook) ([]hook.Iface, error) {
	if m != run.XDP {
		return nil, nil
	}
	var out []hook.Iface
	for _, r := range s.opt.Program.Rules {
		to, sends := s.outlet(r)
		if !sends || to.Kind != "veth" {
			continue
		}
		peer, err := s.vethPeer(to)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(i hook.Iface) bool { return i.Index == peer.Index }) {
			out = append(out, peer)
		}
	}
	return out, nil
}

// vethPeer is the other end of a veth, if a program of ours can be attached there.
func (s *Prepared) vethPeer(veth hook.Iface) (hook.Iface, error) {
	why := ""
	switch {
	case veth.PeerElsewhere:
		why = ", which is in another network namespace, where it cannot be seen"
	case s.opt.Stay:
		why = ", which would have to stay there too"
	default:
		if peer, known := s.peers[veth.Peer]; known {
			return peer, nil
		}
		all, err := hook.Interfaces()
		if err != nil {
			return hook.Iface{}, err
		}
		for _, i := range all {
			if i.Index == veth.Peer {
				s.peers[veth.Peer] = i
				return i, nil
			}
		}
		why = ", which cannot be found"
	}
	return hook.Iface{}, &hook.UnsupportedError{
		Interface: veth.Name, Hook: run.XDP, TryGeneric: true,
		Reason: fmt.Sprintf("%s is a veth, where what native XDP sends is lost unless there is an XDP program at its other end%s", veth.Name, why),
	}
}

// peerAdvice names the interfaces that get a program beside the one asked for.
func (s *Prepared) peerAdvice(m run.Hook) []run.Advice {
	peers, _ := s.vethPeers(m) // an error has been reported
	var all []run.Advice
	for _, i := range peers {
		all = append(all, run.Advice{Note: true, Message: fmt.Sprintf(
			"%s gets an XDP program that passes everything, as long as this runs: else it would lose what native XDP sends it", i.Name)})
	}
	return all
}

// openPeers attaches a program to each of the interfaces that need one, until they
// are closed.
func (s *Prepared) openPeers(m run.Hook) ([]io.Closer, error) {
	peers, err := s.vethPeers(m)
	if err != nil || len(peers) == 0 {
		return nil, err
	}
	passes, err := passAll(hook.PeerName, unix.BPF_F_XDP_HAS_FRAGS) // so that no MTU is too large
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
			err = &hook.UnsupportedError{
				Interface: i.Name, Hook: run.XDP, TryGeneric: true, Err: err,
				Reason: fmt.Sprintf("%s, the other end of a veth that native XDP sends to, takes no XDP program: %v", i.Name, err),
			}
			return nil, errors.Join(err, closeAll(open...))
		default:
			open = append(open, l)
		}
	}
	return open, nil
}

// lostPeer is the error that a program at the other end of a veth is gone, without which native
// XDP of ours loses what it sends there; or nil. Another's program does as well. r.mu is held.
func (r *Session) lostPeer() error {
	for _, p := range append(slices.Clone(r.rules.peers), r.replies.peers...) {
		l, isLink := p.(link.Link)
		if !isLink {
			continue
		}
		info, err := l.Info()
		if err == nil && info.XDP() != nil && info.XDP().Ifindex == 0 {
			return fmt.Errorf("the program at the other end of a veth is gone, without which native XDP of %s loses what it sends there", r.opt.Interface)
		}
	}
	return nil
}

// passAll is an XDP program that lets every packet pass.
func passAll(name string, flags uint32) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.XDP, License: license, Flags: flags,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, int32(bpf.XDP.Verdict(rule.Pass))), asm.Return()},
	})
}
