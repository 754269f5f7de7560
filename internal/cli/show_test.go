package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

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
// not, if that is more; elsewhere the line with the counts does, and JSON's. Of limits it tells what
// they have kept back by the second before: packets that came since may still be on their way.
func TestNotShownIsToldLive(t *testing.T) {
	t.Parallel()
	const all = "1 shown, 4,100 not shown (ring full), 15,899 not shown (--show-rate 1000)"
	for _, tt := range []struct {
		args           []string
		stdout, stderr bool // they are terminals
		want           string
	}{
		{[]string{"-i", "eth1", "-v", aRule}, true, true, "\n" + all + "\n"},
		{[]string{"-i", "eth1", "--show-rate", "1000", aRule}, false, true, "rewrite 20000 pkts in 2.000 s (" + all + ")"},
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
		f.beat(2 * time.Second)
		f.await(said, tt.want)
		f.beat(3 * time.Second)
		f.beat(4 * time.Second) // the one before has been heeded
		if tt.stdout && strings.Count(said.String(), all) != 1 {
			t.Errorf("what is known is told again: %q", said.String())
		}
		f.send(syscall.SIGINT)
		f.wait()
	}
}

// TestOnTheirWay: packets that have just been counted and are yet to be read from the ring are not told
// as kept back by a limit.
func TestOnTheirWay(t *testing.T) {
	t.Parallel()
	s := &shower{showing: showing{level: 1, rate: 1000}}
	counted := func(n uint64) run.Counts {
		return run.Counts{Rules: []run.RuleCount{{Count: run.Count{Matched: n}}}}
	}
	for _, look := range []struct{ counted, read, limited uint64 }{
		{100, 98, 0}, {200, 196, 0}, {300, 298, 0}, {400, 298, 2}, {400, 298, 102},
	} {
		s.wire.Store(look.read)
		if got := s.soFar(counted(look.counted)).Limited; got != look.limited {
			t.Errorf("of %d counted and %d read %d were kept back, want %d", look.counted, look.read, got, look.limited)
		}
	}
	if got := s.counts(counted(500)).Limited; got != 202 {
		t.Errorf("%d were kept back in the end, want 202", got)
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
