package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"repacket/internal/rule"
	"repacket/internal/run"
)

// TestSavedToStdoutAlone: what a dry run saves to stdout is a capture file and nothing else.
func TestSavedToStdoutAlone(t *testing.T) {
	t.Parallel()
	f := startedWith(t, "-i", "eth1", "-w", "-", "if udp")
	f.record(1)
	f.send(syscall.SIGINT)
	f.wait()
	r, err := pcapgo.NewNgReader(strings.NewReader(f.stdout.String()), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if data, _, err := r.ReadPacketData(); err != nil || !bytes.Equal(data, aFrame) {
		t.Errorf("%x, %v", data, err)
	}
	if _, _, err := r.ReadPacketData(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the packet is %v", err)
	}
}

// saved is the file of a run with two packets.
func saved(t *testing.T, args ...string) string {
	path := filepath.Join(t.TempDir(), "both.pcapng")
	f := startedWith(t, append([]string{"-i", "eth1", "-w", path}, args...)...)
	f.record(1)
	f.kernel.jobs[0].Record.Lost(7)
	f.record(1)
	f.send(syscall.SIGINT)
	if status := f.wait(); status != exitDone {
		t.Errorf("status %d: %s", status, f.stderr.String())
	}
	if want := "2 packets written to " + path + ", 7 not written (ring full)\n"; !strings.Contains(f.stderr.String(), want) {
		t.Errorf("stderr %q lacks %q", f.stderr.String(), want)
	}
	return path
}

// TestSaved has another library read the file of -w.
func TestSaved(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(saved(t, aRule))
	if err != nil {
		t.Fatal(err)
	}
	options := pcapgo.DefaultNgReaderOptions
	r, err := pcapgo.NewNgReader(bytes.NewReader(content), options)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]byte{aFrame, aFrameAfter, aFrame, aFrameAfter} {
		data, ci, err := r.ReadPacketData()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, want) || ci.Timestamp.Nanosecond() != 123456789 || ci.InterfaceIndex != i%2 {
			t.Errorf("packet %d: %x, %+v", i, data, ci)
		}
	}
	for i, name := range []string{"eth1:before", "eth1:after"} {
		if got, err := r.Interface(i); err != nil || got.Name != name || got.LinkType != layers.LinkTypeEthernet || got.SnapLength != 1<<18 {
			t.Errorf("interface %d: %+v, %v", i, got, err)
		}
	}
	// epb_dropcount (4) of 8 bytes, 7, once; epb_verdict (7) of 9 bytes, of tc (1), -1.
	o := binary.LittleEndian
	lost := o.AppendUint64(o.AppendUint16(o.AppendUint16(nil, 4), 8), 7)
	verdict := append(o.AppendUint16(o.AppendUint16(nil, 7), 9), 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	if n, v := bytes.Count(content, lost), bytes.Count(content, verdict); n != 1 || v != 4 {
		t.Errorf("%d blocks tell of lost packets, %d of the verdict", n, v)
	}
}

// stuckWriter is a terminal or a pipe that nobody reads until it is closed.
type stuckWriter chan struct{}

func (w stuckWriter) Write(p []byte) (int, error) { <-w; return len(p), nil }

// TestSavedThoughStuck: the file does not wait for who looks at packets, and what these are not shown
// is counted.
func TestSavedThoughStuck(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "both.pcapng")
	f := newFake(t, "-i", "eth1", "-v", "-w", path, aRule)
	const packets = 2 * shownAtOnce
	f.kernel.count(run.Count{Matched: packets, Rewritten: packets})
	stuck := make(stuckWriter)
	f.Stdout = stuck
	f.start()
	f.await(&f.stderr, "native XDP\n")
	f.record(packets)
	close(stuck)
	f.send(syscall.SIGINT)
	if status := f.wait(); status != exitDone {
		t.Errorf("status %d", status)
	}
	var shown, not int
	said := f.stderr.String()
	_, line, _ := strings.Cut(said, path+"\n")
	if _, err := fmt.Sscanf(line, "%d shown, %d not shown (read too slowly)\n", &shown, &not); err != nil || shown < shownAtOnce || shown+not != packets {
		t.Errorf("%d shown, %d not, %v: %s", shown, not, err, said)
	}
	if want := fmt.Sprintf("%d packets written to %s\n", packets, path); !strings.Contains(said, want) {
		t.Errorf("%q lacks %q", said, want)
	}
}

// enteredWriter is a pipe that nobody reads, and says when somebody has begun to write to it.
type enteredWriter struct {
	stuckWriter
	entered chan struct{}
	once    sync.Once
}

func (w *enteredWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.entered) })
	return w.stuckWriter.Write(p)
}

// TestSavedPipeIsStuck: a pipe of -w that nobody reads holds up neither signals nor the end, which tells of it.
func TestSavedPipeIsStuck(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "-w", "-", aRule)
	const packets = 2 * saveBuffer / 100
	f.kernel.count(run.Count{Matched: packets, Rewritten: packets})
	pipe := &enteredWriter{stuckWriter: make(stuckWriter), entered: make(chan struct{})}
	f.Stdout = pipe
	f.start()
	f.await(&f.stderr, "native XDP\n")
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		f.record(packets)
	}()
	<-pipe.entered
	f.send(syscall.SIGUSR1)
	f.await(&f.stderr, "packets written to stdout")
	f.send(syscall.SIGINT)
	if status := f.wait(); status != exitFailed {
		t.Errorf("status %d", status)
	}
	close(pipe.stuckWriter)
	<-recorded
	if said := f.stderr.String(); !strings.Contains(said, "stdout: nobody reads it: the last packets were rewritten and not written to it\n") {
		t.Error(said)
	}
}

// TestSavedShort: -s keeps the first bytes.
func TestSavedShort(t *testing.T) {
	t.Parallel()
	f, err := os.Open(saved(t, "-s", "20", aRule))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	data, ci, err := r.ReadPacketData()
	if err != nil || !bytes.Equal(data, aFrame[:20]) || ci.Length != len(aFrame) {
		t.Errorf("%x, %+v, %v", data, ci, err)
	}
}

// TestSavedForWireshark has tshark, capinfos and tcpdump read the file.
func TestSavedForWireshark(t *testing.T) {
	if testing.Short() {
		t.Skip("make check needs no tshark")
	}
	t.Parallel()
	path := saved(t, "web: "+aRule)
	for _, c := range []struct {
		command string
		want    []string
	}{
		{
			"tshark -r FILE -T fields -E separator=; -e frame.interface_name -e frame.packet_id -e frame.verdict.ebpf_tc -e udp.dstport -e frame.comment",
			[]string{
				"eth1:before;1;-1;443;rule: 1", "eth1:after;1;-1;8080;rule: 1", "eth1:before;2;-1;443;rule: 1", "eth1:after;2;-1;8080;rule: 1",
				"name: web", "text: " + aRule, "verdict: pass",
			},
		},
		{"capinfos FILE", []string{"Number of packets:   4", "Name = eth1:before", "Name = eth1:after", "nanoseconds (9)"}},
		{"tcpdump -nn -r FILE", []string{"IP 10.0.0.7.51812 > 10.0.0.1.443: UDP, length 4", "IP 10.0.0.7.51812 > 10.0.0.1.8080: UDP, length 4"}},
	} {
		args := strings.Fields(strings.ReplaceAll(c.command, "FILE", path))
		out, err := exec.Command(args[0], args[1:]...).Output()
		text := strings.ReplaceAll(string(out), `\n`, "\n")
		if err != nil {
			t.Errorf("%s: %v", c.command, err)
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", c.command, want, text)
			}
		}
	}
}

// TestFullDiskOfSaved: where the file cannot be written any more, the rules go on, and the status
// says at the end that packets are missing.
func TestFullDiskOfSaved(t *testing.T) {
	t.Parallel()
	f := startedWith(t, "-i", "eth1", "-w", "/dev/full", aRule)
	f.record(2)
	f.kernel.jobs[0].Record.Drained()
	f.beat(time.Second)
	f.await(&f.stderr, "repacket: warning: /dev/full: no space left on device: packets are not written any more, and the rules go on\n")
	f.record(1)
	f.send(syscall.SIGINT)
	if status := f.wait(); status != exitFailed {
		t.Errorf("status %d", status)
	}
	if want := "repacket: error: /dev/full: no space left on device: 3 packets were rewritten and not written to it\n"; !strings.Contains(f.stderr.String(), want) {
		t.Errorf("stderr %q lacks %q", f.stderr.String(), want)
	}
}

// TestSaveRefused: a file that no run can write is refused, and nothing is written.
func TestSaveRefused(t *testing.T) {
	t.Parallel()
	there := filepath.Join(t.TempDir(), "there.pcapng")
	if err := os.WriteFile(there, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"-w x.pcap if udp", "hint: -w x.pcapng\n"},
		{"-w - --json if udp", "-w - writes packets to stdout"},
		{"-s 9 if udp", "-s is for the packets that a run writes"},
		{"-s 0 -w x.pcapng if udp", "-s takes a number of bytes from 1 to 262144"},
		{"-i nope -w " + there + " if udp", "there is no interface nope"},
		{"-i nope -w " + there + ".new if udp", "there is no interface nope"},
		{"-w /nonexistent/x.pcapng -i eth1 if udp", "/nonexistent/x.pcapng: no such file or directory"},
	} {
		f := newFake(t, strings.Fields(tt.args)...)
		if status, _, stderr := f.run(); status == exitDone || !strings.Contains(stderr+f.stdout.String(), tt.want) {
			t.Errorf("%s: status %d, %s", tt.args, status, stderr)
		}
	}
	if content, err := os.ReadFile(there); err != nil || string(content) != "kept" {
		t.Errorf("the file holds %q, %v", content, err)
	}
	if _, err := os.Stat(there + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was left: %v", err)
	}
}

// TestSavingAllocatesNothing: once the rules are known, a packet takes no memory.
func TestSavingAllocatesNothing(t *testing.T) {
	a := &app{env: Env{Stdout: io.Discard}, opt: options{write: "-", snap: wholePackets}}
	s, err := a.newSavefile()
	if err != nil {
		t.Fatal(err)
	}
	program, err := rule.Check(aRule)
	if err != nil {
		t.Fatal(err)
	}
	p := run.Packet{Time: time.Unix(1700000000, 0), Program: program, Length: len(aFrame), Before: aFrame, After: aFrameAfter}
	if n := testing.AllocsPerRun(1000, func() { s.packet(&p) }); n > 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

// TestSavedForgetsRules: of rules that are read again and again, those that are gone are not kept.
func TestSavedForgetsRules(t *testing.T) {
	t.Parallel()
	a := &app{env: Env{Stdout: io.Discard}, opt: options{write: "-", snap: wholePackets}}
	s, err := a.newSavefile()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		program, err := rule.Check(aRule + " replies")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // packets of both directions come in turn
			for _, of := range []*rule.Program{program, program.Replies} {
				s.packet(&run.Packet{Program: of, Length: len(aFrame), Before: aFrame, After: aFrameAfter})
			}
		}
		for _, of := range []*rule.Program{program, program.Replies} {
			if s.options[ruleOf{of, 0}] == nil {
				t.Error("what is known of rules that act is forgotten")
			}
		}
	}
	if n := len(s.options); n > 3 {
		t.Errorf("%d rules are kept, of which 2 act", n)
	}
}
