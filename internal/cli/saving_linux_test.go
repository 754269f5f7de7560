package cli

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/engine"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/needs"
)

// BenchmarkSaving is the way of a packet of 128 bytes from the ring to the file of -w, both sides
// of it: the processor time of the process without that of the thread that has the kernel record.
// The file is in TMPDIR, which is best a tmpfs.
func BenchmarkSaving(b *testing.B) {
	needs.Kernel(b)
	const packetLen, atOnce = 128, 10000
	path := filepath.Join(b.TempDir(), "both.pcapng")
	a := &app{out: &output{}, env: Env{AsCaller: func(f func() error) error { return f() }}, opt: options{write: path, snap: wholePackets}}
	save, err := a.newSavefile()
	if err != nil {
		b.Fatal(err)
	}
	s := a.newShower(showing{}, save)
	s.on("eth1")
	// A rule that acts on what it has rewritten, since a test run goes on with that.
	p, err := rule.Check("if udp then ip_dscp af31 udp_dest 8080")
	if err != nil {
		b.Fatal(err)
	}
	l, err := engine.Load(p, engine.LoadOptions{Record: s.recording()})
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Deliver(run.Packet{Program: p, Hook: run.XDP}); err != nil {
		b.Fatal(err)
	}
	saved := func(n int) bool {
		save.mu.Lock()
		defer save.mu.Unlock()
		return save.next+s.lost.Load() >= uint64(min(n, b.N))
	}
	frame := append(append([]byte{}, aFrame...), make([]byte, packetLen-len(aFrame))...)
	binary.BigEndian.PutUint16(frame[16:], packetLen-14)

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	b.ResetTimer()
	before := readerTime(b)
	for n := 0; n < b.N; n += atOnce {
		if _, err := l.Program.Run(&ebpf.RunOptions{Data: frame, Repeat: uint32(min(atOnce, b.N-n))}); err != nil {
			b.Fatal(err)
		}
		for !saved(n + atOnce) {
			time.Sleep(time.Millisecond)
		}
	}
	counted, err := l.Counters() // a test run that a signal interrupts begins anew
	if err := errors.Join(err, l.Close()); err != nil {
		b.Fatal(err)
	}
	spent := readerTime(b) - before
	b.StopTimer()
	if err := save.finish(); err != nil || s.lost.Load() > 0 || save.written != counted[0].Packets {
		b.Fatalf("%d of %d written, %d lost: %v", save.written, counted[0].Packets, s.lost.Load(), err)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/spent.Seconds(), "records/s")
}

// readerTime is the processor time that all threads but this one have taken.
func readerTime(b *testing.B) time.Duration {
	b.Helper()
	var all, here unix.Rusage
	for who, usage := range map[int]*unix.Rusage{unix.RUSAGE_SELF: &all, unix.RUSAGE_THREAD: &here} {
		if err := unix.Getrusage(who, usage); err != nil {
			b.Fatal(err)
		}
	}
	of := func(u unix.Rusage) time.Duration { return time.Duration(u.Utime.Nano() + u.Stime.Nano()) }
	return of(all) - of(here)
}
