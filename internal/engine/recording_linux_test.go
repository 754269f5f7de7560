package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/needs"
)

// TestRecordsAreTested: the test before attaching compares what is recorded too, of all
// kinds of rules, at each hook.
func TestRecordsAreTested(t *testing.T) {
	needs.Kernel(t)
	for _, source := range []string{
		"if all",
		"if udp_dest 443 then udp_dest 8080",
		"if udp then udp_check fix ip_ttl 3 else if icmp then icmp_check bad",
		"if ip then ip_src random 10.0.0.0/8 ip_ttl -1; if ip6 then ip6_hlim 9 ip6_flow hash",
		"if vlan then vlan_id 7 vlan_pcp 1",
		"if tcp_syn on then tcp_mss atmost 1200 reflect; if arp then drop",
	} {
		p, err := rule.Check(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []LoadOptions{{}, {Fragments: true}, {Hook: bpf.TC}} {
			for _, limits := range []run.Recording{{}, {Rate: 1000}, {Every: 3, Most: 5}, {Bytes: 300}, {Bytes: 1 << 18}} {
				o.Record = &limits
				tested, err := SelfTest(p, o, 300)
				if err != nil || tested.Acted == 0 {
					t.Errorf("%s at %v, fragments %t, limits %+v: %d acted, %v", source, o.Hook, o.Fragments, limits, tested.Acted, err)
				}
			}
		}
	}
}

// arpFrame is an ARP request.
var arpFrame = []byte{
	255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
	2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
}

// TestStuckReader: who is handed the packets and does not come back holds up neither the
// program nor its end, and every packet has been handed over or is told to be lost.
func TestStuckReader(t *testing.T) {
	needs.Kernel(t)
	const packets = 60000 // more than the ring holds
	var got, lost uint64
	stuck := make(chan struct{})
	r := run.Recording{
		Packet: func(*run.Packet) { got++; <-stuck },
		Lost:   func(n uint64) { lost += n },
	}
	l := loadRecording(t, &r)
	if _, err := l.Program.Run(&ebpf.RunOptions{Data: arpFrame, Repeat: packets}); err != nil {
		t.Fatal(err)
	}
	counted, err := l.Counters() // a test run that a signal interrupts begins anew
	if err != nil || counted[0].Packets < packets {
		t.Fatalf("counted %v, %v", counted, err)
	}
	close(stuck)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if lost == 0 || got+lost != counted[0].Packets {
		t.Errorf("%d handed over, %d lost, of %d", got, lost, counted[0].Packets)
	}
}

// loadRecording loads a program that records ARP packets, and hands them over.
func loadRecording(t *testing.T, r *run.Recording) *Loaded {
	t.Helper()
	p := checked(t, "if arp then arp_op 2")
	l, err := Load(p, LoadOptions{Record: r})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Deliver(run.Packet{Program: p}); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestCloseDoesNotWaitForever: a program is closed though who is handed its packets hangs.
func TestCloseDoesNotWaitForever(t *testing.T) {
	needs.Kernel(t)
	stuck, handed := make(chan struct{}), make(chan struct{}, 1)
	r := run.Recording{Packet: func(*run.Packet) { handed <- struct{}{}; <-stuck }, Lost: func(uint64) {}}
	l := loadRecording(t, &r)
	if _, err := l.Program.Run(&ebpf.RunOptions{Data: arpFrame}); err != nil {
		t.Fatal(err)
	}
	<-handed
	done := l.recording.done
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	close(stuck)
	<-done // the goroutine ends when it is let go
}

// runEach runs a program for so many packets, each by itself: a test run of several begins anew where a
// signal interrupts it, and then there are more.
func runEach(t *testing.T, l *Loaded, packets int) {
	t.Helper()
	for range packets {
		if _, err := l.Program.Run(&ebpf.RunOptions{Data: arpFrame}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRecordsAreLimited: the kernel decides what is recorded.
func TestRecordsAreLimited(t *testing.T) {
	needs.Kernel(t)
	const packets = 1000
	for _, tt := range []struct {
		limits      run.Recording
		least, most int
	}{
		{run.Recording{}, packets, packets},
		{run.Recording{Every: 10}, packets / 10, packets / 10},
		{run.Recording{Most: 7}, 7, 7},
		{run.Recording{Every: 10, Most: 7}, 7, 7},
		// One window and a beginning one, or more where the machine is slow.
		{run.Recording{Rate: 50}, 5, packets / 2},
	} {
		got := 0
		tt.limits.Packet, tt.limits.Lost = func(*run.Packet) { got++ }, func(uint64) {}
		l := loadRecording(t, &tt.limits)
		runEach(t, l, packets)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if got < tt.least || got > tt.most {
			t.Errorf("%+v: %d packets, want %d to %d", tt.limits, got, tt.least, tt.most)
		}
	}
}

// TestTagIsWhereItIsOnTheWire: an offloaded VLAN tag stands in the bytes, as it arrived and as
// it left, and reading a record takes no memory.
func TestTagIsWhereItIsOnTheWire(t *testing.T) {
	const head = bpf.HeadBytes
	o := binary.NativeEndian
	raw := make([]byte, bpf.RecordHeader, bpf.RecordHeader+2*head)
	o.PutUint64(raw, 5e9)
	o.PutUint32(raw[12:], uint32(len(arpFrame))) // length
	o.PutUint32(raw[20:], uint32(len(arpFrame))) // captured
	o.PutUint32(raw[24:], 1)                     // tagged
	o.PutUint32(raw[28:], 100)                   // tag
	copy(raw[32:], []byte{0x81, 0x00})           // its type, in network order
	o.PutUint32(raw[36:], 0xa0c8)                // as it left: priority 5, VLAN 200
	copy(raw[40:], []byte{0x88, 0xa8})
	o.PutUint32(raw[44:], uint32(len(arpFrame)))
	raw = append(append(raw, arpFrame...), make([]byte, head-len(arpFrame))...)
	raw = append(raw, arpFrame...)
	tagged := func(tag ...byte) []byte {
		return append(append(bytes.Clone(arpFrame[:12]), tag...), arpFrame[12:]...)
	}
	p := checked(t, "if vlan then vlan_id 200")
	var r recorded
	var got *run.Packet
	read := func() {
		if err := r.parse(raw, head); err != nil {
			t.Fatal(err)
		}
		got = r.of(&run.Packet{Program: p}, time.Unix(1700000000, 0))
	}
	if n := testing.AllocsPerRun(100, read); n > 0 {
		t.Errorf("%v allocations for a record", n)
	}
	if !bytes.Equal(got.Before, tagged(0x81, 0, 0, 100)) || !bytes.Equal(got.After, tagged(0x88, 0xa8, 0xa0, 0xc8)) {
		t.Errorf("before %x\nafter %x", got.Before, got.After)
	}
	if got.Length != len(arpFrame)+4 || got.Time != time.Unix(1700000005, 0) {
		t.Errorf("length %d at %v", got.Length, got.Time)
	}
}

// TestRecordsAreInOrder: packets of two programs of a run, on several processors at once, are handed
// over in the order of time, each once and as that of its program.
func TestRecordsAreInOrder(t *testing.T) {
	needs.Kernel(t)
	const packets, rounds = 500, 20
	var times []time.Time
	got := map[*rule.Program]int{}
	r := run.Recording{
		Packet: func(p *run.Packet) { times = append(times, p.Time); got[p.Program]++ },
		Lost:   func(n uint64) { t.Errorf("%d packets are lost", n) },
	}
	shared, programs := sharing(t, &r, "if arp then arp_op 2", "if arp then arp_op 3; if arp then drop")
	var work sync.WaitGroup
	for _, l := range programs {
		work.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for range rounds {
				if _, err := l.Program.Run(&ebpf.RunOptions{Data: arpFrame, Repeat: packets}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	// A test run that a signal interrupts begins anew, so what has run is what was counted.
	want, all := map[*rule.Program]int{}, 0
	for _, l := range programs {
		counted, err := l.Counters()
		if err != nil {
			t.Fatal(err)
		}
		p := shared.source(l.number).packet.Program
		want[p] = int(counted[0].Packets)
		all += want[p]
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := shared.release(); err != nil {
		t.Error(err)
	}
	if all < 2*packets*rounds || len(times) != all || !slices.IsSortedFunc(times, time.Time.Compare) {
		t.Errorf("%d packets of %d, in order: %t", len(times), all, slices.IsSortedFunc(times, time.Time.Compare))
	}
	if !maps.Equal(got, want) {
		t.Errorf("by program %v, want %v", got, want)
	}
}

// sharing loads programs that record into one ring, of which the caller is a user too, and hands
// over their packets.
func sharing(t *testing.T, r *run.Recording, sources ...string) (*recording, []*Loaded) {
	t.Helper()
	shared, err := newRecording(r, ringSize)
	if err != nil {
		t.Fatal(err)
	}
	var programs []*Loaded
	for _, source := range sources {
		p := checked(t, source)
		l, err := Load(p, LoadOptions{Record: r, recording: shared})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Deliver(run.Packet{Program: p}); err != nil {
			t.Fatal(err)
		}
		programs = append(programs, l)
	}
	return shared, programs
}

// TestLimitsAreOfTheRun: what is limited is limited for all programs of a run together, also for
// those that come later, and the last records of a program that has gone are handed over.
func TestLimitsAreOfTheRun(t *testing.T) {
	needs.Kernel(t)
	got := map[*rule.Program]int{}
	r := run.Recording{
		Most:   7,
		Packet: func(p *run.Packet) { got[p.Program]++ },
		Lost:   func(n uint64) { t.Errorf("%d packets are lost", n) },
	}
	shared, programs := sharing(t, &r, "if arp then arp_op 2", "if arp then arp_op 3")
	for _, l := range programs {
		runEach(t, l, 4)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := shared.release(); err != nil {
		t.Error(err)
	}
	var counts []int
	for _, n := range got {
		counts = append(counts, n)
	}
	if slices.Sort(counts); !slices.Equal(counts, []int{3, 4}) {
		t.Errorf("%v packets of the two programs", counts)
	}
}

// TestGoneProgramsAreForgotten: of rules that others have replaced nothing is kept once their last
// packets have been handed over.
func TestGoneProgramsAreForgotten(t *testing.T) {
	needs.Kernel(t)
	r := run.Recording{Packet: func(*run.Packet) {}, Lost: func(uint64) {}}
	shared, programs := sharing(t, &r, "if arp then arp_op 2", "if arp then arp_op 3")
	if err := programs[0].Close(); err != nil {
		t.Error(err)
	}
	shared.mu.Lock()
	for _, s := range shared.sources {
		if !s.gone.IsZero() {
			s.gone = s.gone.Add(-time.Minute)
		}
	}
	shared.mu.Unlock()
	shared.join()
	if n := len(shared.sources); n != 1 {
		t.Errorf("%d programs are known", n)
	}
	if err := errors.Join(programs[1].Close(), shared.release()); err != nil {
		t.Error(err)
	}
}
