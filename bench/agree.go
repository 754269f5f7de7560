package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cilium/ebpf"

	"repacket/bench/vm"
	"repacket/internal/bpf"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
)

// xdpPass is XDP_PASS of linux/bpf.h.
const xdpPass = 2

// oneBuffer is how long a frame can be, to be sure, to lie in one buffer.
const oneBuffer = 3000

// frames are how many random frames each program is proved with.
const frames = 2000

// agree proves that a program means what the rule says: in the kernel and in
// the counting machine it makes the same bytes of the packets of the rule, and
// of many random ones, as the reference, and it counts the same.
func agree(r *benchRule, p *program) error {
	machine, err := vm.New(p.code, 1)
	if err != nil {
		return err
	}
	var want bpf.Counter
	for _, f := range proofFrames(r, p) {
		ref := reference.Run(r.checked, f)
		if err := same(p, machine, f, ref.Frame); err != nil {
			return err
		}
		if ref.Rewritten {
			want.Packets++
			want.Bytes += uint64(len(f))
		}
	}
	got, err := p.counters()
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the kernel counted %+v, not %+v", got, want)
	}
	got = bpf.Counter{
		Packets: binary.LittleEndian.Uint64(machine.Counters),
		Bytes:   binary.LittleEndian.Uint64(machine.Counters[8:]),
	}
	if got != want {
		return fmt.Errorf("the counting machine counted %+v, not %+v", got, want)
	}
	return nil
}

// proofFrames are the packets of the rule and random ones made for it, as far
// as the program can be given them.
func proofFrames(r *benchRule, p *program) [][]byte {
	var all [][]byte
	for _, known := range r.packets {
		all = append(append(all, known.frame), carries(r, known.frame)...)
	}
	all = append(all, packetgen.Frames(rand.New(rand.NewPCG(1624, 0)), r.checked, frames)...)
	return slices.DeleteFunc(all, func(f []byte) bool {
		return p.what != countAll && len(f) > oneBuffer || r.setsAddress() && mayBeRouted(f)
	})
}

// mayBeRouted reports whether a frame may have a source route among options of IPv4, behind up to
// two tags.
func mayBeRouted(frame []byte) bool {
	for _, at := range []int{14, 18, 22} {
		if len(frame) > at && frame[at]>>4 == 4 && frame[at]&15 > 5 {
			return true
		}
	}
	return false
}

// carries are the packet with such checksums that those which leave are about
// 0, where one's complement sums carry and where 0 has two forms, in the byte
// order of the network and in that of the sums in the programs. The headers
// are where they are in a packet without tags and options; elsewhere the bytes
// are payload, which does no harm.
func carries(r *benchRule, frame []byte) [][]byte {
	var out [][]byte
	left := reference.Run(r.checked, frame).Frame
	for _, at := range []int{ipCheckAt, udpCheckAt, tcpCheckAt} {
		if len(frame) < at+2 {
			continue
		}
		for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
			change := order.Uint16(left[at:]) - order.Uint16(frame[at:])
			for near := range uint16(9) {
				f := slices.Clone(frame)
				order.PutUint16(f[at:], near-4-change)
				out = append(out, f)
			}
		}
	}
	return out
}

// Where checksums stand in an untagged frame without options.
const (
	ipCheckAt  = 14 + 10
	udpCheckAt = 34 + 6
	tcpCheckAt = 34 + 16
)

// same runs one frame in the kernel and in the machine.
func same(p *program, machine *vm.Machine, f, want []byte) error {
	o := ebpf.RunOptions{Data: f, DataOut: make([]byte, len(f))}
	ret, err := p.prog.Run(&o)
	if err != nil {
		return fmt.Errorf("run %x: %w", f, err)
	}
	if ret != xdpPass || !bytes.Equal(o.DataOut, want) {
		return fmt.Errorf("the kernel returned %d and made of\n%x\n%x, not\n%x", ret, f, o.DataOut, want)
	}
	got, err := machine.Run(f)
	if err != nil {
		return fmt.Errorf("count %x: %w", f, err)
	}
	if got.Return != xdpPass || !bytes.Equal(got.Frame, want) {
		return fmt.Errorf("the counting machine returned %d and made of\n%x\n%x, not\n%x", got.Return, f, got.Frame, want)
	}
	return nil
}

// executed is how many instructions a program executes for a packet.
func executed(p *program, f []byte) (int, error) {
	machine, err := vm.New(p.code, 1)
	if err != nil {
		return 0, err
	}
	got, err := machine.Run(f)
	return got.Executed, err
}
