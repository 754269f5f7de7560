package testnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"repacket/internal/lab"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func watch(t *testing.T, ns *lab.Namespace, name string, d Direction) *Skbs {
	t.Helper()
	s, err := WatchSkbs(ns, name, d)
	must(t, err)
	t.Cleanup(func() {
		if lost, err := s.Lost(); err != nil || lost != 0 {
			t.Errorf("%d packets lost, %v", lost, err)
		}
		must(t, s.Close())
	})
	return s
}

func (s *Skbs) next(t *testing.T) Skb {
	t.Helper()
	skb, err := s.Receive(time.Now().Add(patience))
	must(t, err)
	return skb
}

// known leaves out what a kernel without a way to ip_summed cannot tell.
func known(want, got Checksum) Checksum {
	if got == ChecksumUnknown && (want == ChecksumNone || want == ChecksumPartial) {
		return ChecksumUnknown
	}
	return want
}

// TestSkbs: tc sees on both sides what was sent, and in which state.
func TestSkbs(t *testing.T) {
	p := newPair(t, lab.PairConfig{Offload: true})
	left := openPort(t, p.A, p.Config.A.Name, nil)
	leaves, arrives := watch(t, p.A, p.Config.A.Name, Out), watch(t, p.B, p.Config.B.Name, In)
	for _, f := range flows {
		want := Skb{Type: unix.PACKET_HOST, Protocol: 0x0800}
		if f.v6 {
			want.Protocol = 0x86dd
		}
		check := func(what string, sent []byte, sum Checksum, segments int) {
			t.Helper()
			want.Data, want.Length = sent, len(sent)
			for _, s := range []*Skbs{leaves, arrives} {
				got := s.next(t)
				want.Checksum = known(sum, got.Checksum)
				want.Type, want.Segments = got.Type, 0 // not known of what is sent raw
				if s == arrives {
					want.Type, want.Segments = unix.PACKET_HOST, segments
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%v, %s (-want +got):\n%s", f, what, diff)
				}
			}
		}
		whole := f.frame(t, text(100))
		must(t, left.Send(whole))
		check("whole", whole, ChecksumNone, 0)
		sent, o := f.partial(t, text(100), 0)
		must(t, left.SendOffloaded(sent, o))
		check("partial", sent, ChecksumPartial, 0)
		sent, o = f.partial(t, text(8000), 1000)
		want.Segment = 1000
		must(t, left.SendOffloaded(sent, o))
		check("GSO packet", sent, ChecksumPartial, 8)
	}
	if _, err := arrives.Receive(time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing came: error %v, want the deadline", err)
	}
}

// TestSkbsCutShort: of what is larger than a jumbo frame the beginning is seen.
func TestSkbsCutShort(t *testing.T) {
	p := newPair(t, lab.PairConfig{Offload: true})
	left := openPort(t, p.A, p.Config.A.Name, nil)
	arrives := watch(t, p.B, p.Config.B.Name, In)
	sent, o := flow{}.partial(t, text(60_000), 1000)
	must(t, left.SendOffloaded(sent, o))
	got := arrives.next(t)
	if got.Length != len(sent) || got.Segments != 60 || !bytes.Equal(got.Data, sent[:skbData]) {
		t.Errorf("%d bytes, of which %d are there, %d segments", got.Length, len(got.Data), got.Segments)
	}
}

// TestKnownGood: GRO checks the sums of TCP, also of segments that it does not
// join, and takes the right ones for known good; a wrong one stays unknown.
func TestKnownGood(t *testing.T) {
	p := newPair(t, lab.PairConfig{B: lab.End{Features: lab.Features{lab.GRO: true}}})
	left := openPort(t, p.A, p.Config.A.Name, nil)
	arrives := watch(t, p.B, p.Config.B.Name, In)
	capture := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{})
	for _, f := range []flow{{v6: false}, {v6: true}} {
		whole := f.frame(t, text(100))
		wrong := bytes.Clone(whole)
		wrong[len(wrong)-1]++
		for _, sent := range [][]byte{whole, wrong} {
			must(t, left.Send(sent))
			want := ChecksumUnnecessary
			if &sent[0] == &wrong[0] {
				want = ChecksumNone
			}
			skb, packet := arrives.next(t), capture.next(t)
			if !bytes.Equal(skb.Data, sent) || skb.Checksum != known(want, skb.Checksum) {
				t.Errorf("%v: tc sees %v, want %v; %x", f, skb.Checksum, want, skb.Data)
			}
			if packet.Checksum != want {
				t.Errorf("%v: a packet socket sees %v, want %v", f, packet.Checksum, want)
			}
		}
	}
}

// TestHardwareComplete: what comes out of a tunnel with checksums outside has
// been summed up whole.
func TestHardwareComplete(t *testing.T) {
	p := newPair(t, lab.PairConfig{})
	vx, err := AddVXLAN(p, VXLANConfig{})
	must(t, err)
	left := openPort(t, p.A, vx.A.Name, nil)
	arrives := watch(t, p.B, vx.B.Name, In)
	outer := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{})
	for _, f := range flows {
		sent := f.build(t, vx.B.MAC, vx.A.MAC, text(100))
		must(t, left.Send(sent))
		skb := arrives.next(t)
		if skb.Checksum != ChecksumComplete || !bytes.Equal(skb.Data, sent) {
			t.Errorf("%v: %v, %x", f, skb.Checksum, skb.Data)
		}
		var sum uint32
		for i := 14; i < len(sent); i += 2 {
			sum += uint32(sent[i])<<8 | uint32(append(sent, 0)[i+1])
		}
		if want := uint16(sum>>16 + sum&0xffff); skb.Sum != want {
			t.Errorf("%v: the kernel has the sum %04x, want %04x", f, skb.Sum, want)
		}
		// Outside is a datagram with a right checksum that ends with the frame.
		around := outer.next(t)
		payload, right := layer4(t, around.Data)
		if !right || around.Checksum != ChecksumNone || !bytes.HasSuffix(around.Data, sent) {
			t.Errorf("%v: outside is %x with a right sum: %v", f, payload, right)
		}
	}
}

// TestTcFilter: the way of kernels without tcx does the same here.
func TestTcFilter(t *testing.T) {
	p := newPair(t, lab.PairConfig{})
	left := openPort(t, p.A, p.Config.A.Name, nil)
	capture := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{})
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "MIT", Instructions: pushProgram([]Tag{{0x8100, 7}}),
	})
	must(t, err)
	defer program.Close()
	sent := frame(p.Config.B.MAC, p.Config.A.MAC, "tag me")
	for range 2 {
		var hook *tcHook
		must(t, p.A.Do(func() error {
			ifi, err := net.InterfaceByName(p.Config.A.Name)
			if err != nil {
				return err
			}
			hook, err = attachFilterTC(p.A, ifi.Index, program, Out)
			return err
		}))
		must(t, left.Send(sent))
		if got := capture.next(t); got.VLAN == nil || *got.VLAN != (Tag{0x8100, 7}) {
			t.Errorf("attached: %+v", got)
		}
		must(t, hook.Close())
		must(t, left.Send(sent))
		if got := capture.next(t); got.VLAN != nil {
			t.Errorf("detached: %+v", got)
		}
	}
}

// tagged is a frame with tags in its bytes.
func tagged(frame []byte, tags ...Tag) []byte {
	f := bytes.Clone(frame[:12])
	for _, tag := range tags {
		f = binary.BigEndian.AppendUint16(f, tag.TPID)
		f = binary.BigEndian.AppendUint16(f, tag.TCI)
	}
	return append(f, frame[12:]...)
}

// TestTags: tagged frames leave with the tag beside them or in them, and arrive
// with the outer one beside them, whether pushed or sent so.
func TestTags(t *testing.T) {
	customer, provider := Tag{0x8100, 0x6064}, Tag{0x88a8, 0x0007}
	for _, inBytes := range []bool{false, true} {
		features := lab.Features{lab.TxVLAN: !inBytes, lab.TxSVLAN: !inBytes}
		p := newPair(t, lab.PairConfig{A: lab.End{Features: features}})
		left := openPort(t, p.A, p.Config.A.Name, nil)
		leaves := openCapture(t, p.A, p.Config.A.Name, CaptureConfig{Outgoing: true})
		arrives := openCapture(t, p.B, p.Config.B.Name, CaptureConfig{})
		seen := watch(t, p.B, p.Config.B.Name, In)
		plain := frame(p.Config.B.MAC, p.Config.A.MAC, "a frame with tags")
		for _, tags := range [][]Tag{{customer}, {provider}, {provider, customer}} {
			expect := func(how string, beside bool) {
				t.Helper()
				out, in := leaves.next(t), arrives.next(t)
				if (out.VLAN != nil) != beside || !bytes.Equal(out.Frame(), tagged(plain, tags...)) {
					t.Errorf("%s, tag in bytes %v: %v leaves as %+v", how, inBytes, tags, out)
				}
				want := Packet{Data: tagged(plain, tags[1:]...), VLAN: &tags[0]}
				if diff := cmp.Diff(want, in); diff != "" {
					t.Errorf("%s, tag in bytes %v: (-want +got):\n%s", how, inBytes, diff)
				}
				skb := seen.next(t)
				if skb.VLAN == nil || *skb.VLAN != tags[0] || !bytes.Equal(skb.Data, want.Data) {
					t.Errorf("%s, tag in bytes %v: tc sees %+v", how, inBytes, skb)
				}
			}
			tagging, err := PushVLAN(p.A, p.Config.A.Name, tags...)
			must(t, err)
			must(t, left.Send(plain))
			expect("pushed", !inBytes)
			must(t, tagging.Close())
			must(t, left.Send(tagged(plain, tags...)))
			expect("sent", false)
		}
	}
}
