package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"repacket/internal/rule"
	"repacket/internal/run"
)

// aFrame is a UDP datagram to port 443 with a right checksum, and what udp_dest 8080 makes of it
// (RFC 1624 by hand: 0x1ba9 less 0x1dd5, with the borrow, is 0xfdd3).
var (
	aFrame      = fromHex("02000000000202000000000108004500002000010000401166c50a0000070a000001ca6401bb000c1ba901020304")
	aFrameAfter = fromHex("02000000000202000000000108004500002000010000401166c50a0000070a000001ca641f90000cfdd301020304")
)

func fromHex(text string) []byte {
	var b []byte
	if _, err := fmt.Sscanf(text, "%x", &b); err != nil {
		panic(err)
	}
	return b
}

// record has the kernel record a packet on which the first rule acts.
func (f *fake) record(n int) {
	f.t.Helper()
	r := f.kernel.jobs[0].Record
	if r == nil {
		f.t.Fatal("no packets are asked for")
	}
	for i := range n {
		r.Packet(&run.Packet{
			Time: time.Unix(1700000000+int64(i), 123456789).UTC(), Program: f.kernel.jobs[0].Program, Hook: run.TC,
			Length: len(aFrame), Before: bytes.Clone(aFrame), After: bytes.Clone(aFrameAfter),
		})
	}
}

// startedWith is a run that has begun.
func startedWith(t *testing.T, args ...string) *fake {
	f := newFake(t, args...)
	f.kernel.count(run.Count{Matched: 2, Rewritten: 2})
	f.start()
	if f.Args[0] == "--json" {
		f.await(&f.stdout, `"event":"attached"`)
	} else {
		f.await(&f.stderr, "native XDP\n")
	}
	return f
}

const (
	aRule = "if udp_dest 443 then udp_dest 8080"
	aLine = "22:13:20.123456 in IP 10.0.0.7.51812 > 10.0.0.1.443: UDP, length 4 | udp_dest 443 → 8080, udp_check 0x1ba9 → 0xfdd3\n"
)

func TestPacketsAreShown(t *testing.T) {
	t.Parallel()
	f := startedWith(t, "-i", "eth1", "-v", "-x", aRule)
	f.record(1)
	f.await(&f.stdout, "fdd3\n")
	f.send(syscall.SIGINT)
	if status := f.wait(); status != exitDone {
		t.Errorf("status %d", status)
	}
	wantText(t, "stdout", f.stdout.String(), aLine+
		"\t0x0000:  0200 0000 0002 0200 0000 0001 0800 4500\n"+
		"\t0x0010:  0020 0001 0000 4011 66c5 0a00 0007 0a00\n"+
		"\t0x0020:  0001 ca64 01bb 000c 1ba9 0102 0304\n"+
		"\t     →            1f90      fdd3\n")
}

// TestBlockIsAsWide: fields are broken where the terminal ends, also a narrow one, and at its
// width of the moment.
func TestBlockIsAsWide(t *testing.T) {
	t.Parallel()
	width := 20
	f := newFake(t, "-i", "eth1", "-vv", aRule)
	f.kernel.count()
	f.Width = func(io.Writer) int { return width }
	f.start()
	f.await(&f.stderr, "native XDP\n")
	text := ""
	for _, width = range []int{20, 80, 200} {
		f.record(1)
		f.await(&f.stdout, text+aLine)
		text = f.stdout.String()
	}
	f.send(syscall.SIGINT)
	f.wait()
	blocks := strings.Split(f.stdout.String(), aLine)[1:]
	for i, block := range blocks {
		width := []int{20, 80, 200}[i]
		for line := range strings.Lines(block) {
			columns := len([]rune(strings.TrimRight(line, "\n")))
			if alone := !strings.Contains(strings.TrimSpace(line[len("    header "):]), "  "); columns > width && !alone {
				t.Errorf("%d columns of %d: %s", columns, width, line)
			}
		}
	}
	if len(blocks) != 3 || strings.Count(blocks[0], "\n") <= strings.Count(blocks[1], "\n") || strings.Count(blocks[2], "\n") >= strings.Count(blocks[1], "\n") {
		t.Errorf("the blocks are not as high as they are narrow:\n%s", f.stdout.String())
	}
}

func TestPacketsAsJSON(t *testing.T) {
	t.Parallel()
	f := startedWith(t, "--json", "-i", "eth1", "-v", "-x", "web: "+aRule)
	f.record(1)
	f.await(&f.stdout, `"event":"packet"`)
	f.send(syscall.SIGINT)
	f.wait()
	var got struct {
		Event, Interface, Direction, Name, Verdict string
		Time                                       time.Time
		Rule, Length                               int
		Before, After                              map[string]any
		Changed                                    []string
		BytesBefore                                string `json:"bytes_before"`
		BytesAfter                                 string `json:"bytes_after"`
	}
	line := strings.Split(f.stdout.String(), "\n")[1]
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if got.Event != "packet" || got.Interface != "eth1" || got.Direction != "in" || got.Name != "web" || got.Verdict != "pass" ||
		got.Time.UnixNano() != 1700000000123456789 || got.Rule != 1 || got.Length != 46 {
		t.Errorf("%+v", got)
	}
	if got.Before["udp_dest"] != 443.0 || got.After["udp_dest"] != 8080.0 || got.Before["ip_src"] != "10.0.0.7" || got.Before["ip_flag_df"] != false {
		t.Errorf("before %v, after %v", got.Before, got.After)
	}
	if strings.Join(got.Changed, " ") != "udp_dest udp_check" || got.BytesBefore != fmt.Sprintf("%x", aFrame) || got.BytesAfter != fmt.Sprintf("%x", aFrameAfter) {
		t.Errorf("changed %v, bytes %s, %s", got.Changed, got.BytesBefore, got.BytesAfter)
	}
}

// TestNotShownIsTold: the summary says what the ring had no room for, and what was asked not to
// be shown.
func TestNotShownIsTold(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "--show", "9000", aRule)
	f.kernel.count(run.Count{Matched: 20000, Rewritten: 20000})
	f.start()
	f.await(&f.stderr, "native XDP\n")
	if r := f.kernel.jobs[0].Record; r.Most != 9000 || r.Rate != 0 || r.Every != 0 {
		t.Errorf("the kernel is asked for %+v", r)
	}
	f.record(2)
	f.kernel.jobs[0].Record.Lost(4100)
	f.send(syscall.SIGINT)
	f.wait()
	wantText(t, "stderr", f.stderr.String(), "eth1: native XDP\n"+
		"2 shown, 4,100 not shown (ring full), 15,898 not shown (--show 9000)\nrewrite 20000 pkts in 0.000 s\n")
}

// TestNotShownIsToldLive: while packets are shown on a terminal, a line tells once a second what was
// not, if that is more; elsewhere the line with the counts does, and JSON's.
func TestNotShownIsToldLive(t *testing.T) {
	t.Parallel()
	const all = "1 shown, 4,100 not shown (ring full), 15,899 not shown (--show-rate 1000)"
	for _, tt := range []struct {
		args           []string
		stdout, stderr bool // they are terminals
		want           string
	}{
		{[]string{"-i", "eth1", "-v", aRule}, true, true, "\n" + all + "\n"},
		{[]string{"-i", "eth1", "--show-rate", "1000", aRule}, false, true, "rewrite 20000 pkts in 1.000 s (" + all + ")"},
		{[]string{"--json", "-i", "eth1", "--show-rate", "1000", aRule}, false, false, `"shown":1,"not_shown":4100,"limited":15899}`},
	} {
		f := newFake(t, tt.args...)
		f.tty = tt.stderr
		f.IsTerminal = func(w io.Writer) bool { return tt.stderr && (tt.stdout || w == f.Stderr) }
		f.vars["NO_COLOR"] = "1"
		f.kernel.count(run.Count{Matched: 20000, Rewritten: 20000})
		f.start()
		said, begun := &f.stderr, "native XDP\n"
		if tt.args[0] == "--json" {
			said, begun = &f.stdout, `"event":"attached"`
		}
		f.await(said, begun)
		f.record(1)
		f.await(&f.stdout, "udp_")
		f.kernel.jobs[0].Record.Lost(4100)
		f.beat(time.Second)
		f.await(said, tt.want)
		f.beat(2 * time.Second)
		f.beat(3 * time.Second) // the second one has been heeded
		if tt.stdout && strings.Count(said.String(), all) != 1 {
			t.Errorf("what is known is told again: %q", said.String())
		}
		f.send(syscall.SIGINT)
		f.wait()
	}
}

// TestTerminalRate: a terminal is shown 1000 packets a second, and the line with the counts stands
// still.
func TestTerminalRate(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "-v", aRule)
	f.tty = true
	f.vars["NO_COLOR"] = "1"
	f.kernel.count(run.Count{})
	f.start()
	f.await(&f.stderr, "Ctrl-C to stop\n")
	if r := f.kernel.jobs[0].Record; r.Rate != 1000 {
		t.Errorf("the kernel is asked for %+v", r)
	}
	f.beat(time.Second)
	f.beat(2 * time.Second) // the first one has been heeded
	if said := f.stderr.String(); strings.Contains(said, "pkts in") {
		t.Errorf("the line goes on: %q", said)
	}
	f.send(syscall.SIGINT)
	f.wait()
}

// TestDryRunShows: rules without then show packets, unless they are to be silent, and others do
// not unless they are asked.
func TestDryRunShows(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]bool{
		"if udp": true, "-q if udp": false, "--json if udp": false, "--json -v if udp": true, "-q -v if udp": true,
		aRule: false, "-v " + aRule: true, "if udp if tcp then drop": false, "--show-every 2 " + aRule: true,
	} {
		f := newFake(t, strings.Fields("-i eth1 "+args)...)
		f.kernel.count()
		f.start()
		f.send(syscall.SIGINT)
		f.wait()
		if got := f.kernel.jobs[0].Record != nil; got != want {
			t.Errorf("%s: packets are asked for: %t, want %t", args, got, want)
		}
	}
}

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

// errGone is that of a pipe that nobody reads.
var errGone = errors.New("broken pipe")

type goneWriter struct{}

func (goneWriter) Write([]byte) (int, error) { return 0, errGone }

// TestClosedPipe: a run that cannot show packets any more ends, and its rules are detached.
func TestClosedPipe(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "-v", aRule)
	f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
	f.Stdout = goneWriter{}
	f.start()
	f.await(&f.stderr, "native XDP\n")
	f.record(1)
	if status := f.wait(); status != exitFailed || f.kernel.closed != 1 {
		t.Errorf("status %d, detached %d times", status, f.kernel.closed)
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
