package chaos

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/test/needs"
)

// victim is a command that is killed.
type victim struct {
	name   string
	before [][]string // commands that have to work before it
	args   []string
	// may is what packets can meet when it has been killed, at whatever moment. The last is what
	// they meet when it has done its work. Packets under way meet nothing else either.
	may    []met
	runs   bool // it goes on until it is stopped
	reload bool // and gets SIGHUP all the time
	// twofold: its rules have replies, so it takes two steps. Killed between the two it leaves one
	// of them, which list says and detach mends.
	twofold bool
}

const (
	oldReplies = oldRules + " replies"
	newReplies = newRules + " replies"
)

// victims are all commands.
func (b *bed) victims() []victim {
	i := []string{"-i", b.ifname}
	at := []string{"-i", b.ifname, "--hook", b.at.word}
	words := func(verb string, flags []string, more ...string) []string {
		return append(append([]string{verb}, flags...), more...)
	}
	run := func(more ...string) []string { return append(slices.Clone(at), more...) }
	old, oldTwo := [][]string{words("attach", at, oldRules)}, [][]string{words("attach", at, oldReplies)}
	pending := append(slices.Clone(old), words("replace", i, "--revert-after", "1h", newRules))
	pendingTwo := append(slices.Clone(oldTwo), words("replace", i, "--revert-after", "1h", newReplies))
	none, changed, kept := []met{untouched, byNew}, []met{byOld, byNew}, []met{byOld}
	gone := []met{untouched}
	return []victim{
		{name: "attach", args: words("attach", at, newRules), may: none},
		{name: "attach with replies", args: words("attach", at, newReplies), may: none, twofold: true},
		{name: "attach with replies tracked", args: words("attach", at, newRules+" replies tracked"), may: none, twofold: true},
		{name: "attach --revert-after", args: words("attach", at, "--revert-after", "1h", newRules), may: none},
		{name: "attach --protect", args: words("attach", at, "--protect", "192.0.2.9:22", "if ip_src 192.0.2.1 and udp_dest 443 then udp_dest 8081"), may: none},
		{name: "replace", before: old, args: words("replace", i, newRules), may: changed},
		{name: "replace with replies", before: oldTwo, args: words("replace", i, newReplies), may: changed, twofold: true},
		{name: "replace by replies", before: old, args: words("replace", i, newReplies), may: changed, twofold: true},
		{name: "replace of replies", before: oldTwo, args: words("replace", i, newRules), may: changed, twofold: true},
		{name: "replace --revert-after", before: old, args: words("replace", i, "--revert-after", "1h", newRules), may: changed},
		{name: "confirm", before: pending, args: words("confirm", i), may: []met{byNew}},
		{name: "confirm with replies", before: pendingTwo, args: words("confirm", i), may: []met{byNew}, twofold: true},
		{name: "detach", before: old, args: words("detach", i), may: []met{byOld, untouched}},
		{name: "detach with replies", before: oldTwo, args: words("detach", i), may: []met{byOld, untouched}, twofold: true},
		{name: "list", before: oldTwo, args: []string{"list"}, may: kept},
		{name: "verify", before: old, args: []string{"verify", newRules}, may: kept},
		{name: "doctor", before: old, args: words("doctor", i), may: kept},
		{name: "compile", before: old, args: []string{"compile", "--emit", "object", "-o", "out.o", newRules}, may: kept},
		{name: "demo", before: old, args: []string{"demo"}, may: kept},
		{name: "offline", before: old, args: []string{"-r", "in.pcap", "-w", "out.pcap", newRules}, may: kept},
		{name: "run", args: run(newRules), may: gone, runs: true},
		{name: "run with replies", args: run(newReplies), may: gone, runs: true},
		{name: "run with replies tracked", args: run(newRules + " replies tracked"), may: gone, runs: true},
		{name: "run -v", args: run("-v", newRules), may: gone, runs: true},
		{name: "run -w", args: run("-w", "out.pcapng", newRules), may: gone, runs: true},
		{name: "run --why", args: run("--why", newRules), may: gone, runs: true},
		{name: "reload", args: run("-f", "rules"), may: gone, runs: true, reload: true},
		{name: "reload --revert-after", args: run("-f", "rules", "--revert-after", "1h"), may: gone, runs: true, reload: true},
		{name: "reload with replies", args: run("-v", "-f", "two"), may: gone, runs: true, reload: true},
	}
}

var kills, killed atomic.Int64 // signals that were sent, and those that ended a command

// TestKills: a command gets SIGKILL, SIGTERM or SIGINT at a random moment, and what is there
// afterwards is what was there before or what it was to bring, whole; what a run does ends with it.
func TestKills(t *testing.T) {
	needs.Kernel(t)
	s := seed(t)
	t.Run("walk", func(t *testing.T) {
		for _, at := range hooks {
			t.Run(at.name, func(t *testing.T) {
				t.Parallel()
				newBed(t, at, s).killings(amount(2000, 120, 29) / len(hooks))
			})
		}
	})
	figures(t, "%d kills (%d before the command's end), %d packets meanwhile, seed %d", kills.Load(), killed.Load(), streamed.Load(), s)
}

// figures prints a figure, with what must be 0.
func figures(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+format+": %d traces, %d lost, %d twice, %d untouched, %d hangs", append(args,
		traces.Load(), lostPackets.Load(), twicePackets.Load(), untouchedPackets.Load(), hangs.Load())...)
}

func (b *bed) killings(n int) {
	whole := b.offlineFiles()
	lasts := map[string]time.Duration{} // how long a command takes
	var turn []victim
	for range n {
		if len(turn) == 0 {
			turn = b.victims()
			b.random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		}
		v := turn[0]
		turn = turn[1:]
		for _, before := range v.before {
			b.does(before...)
		}
		if _, known := lasts[v.name]; !known {
			lasts[v.name] = b.whole(v)
			b.settle(v, 0)
			for _, before := range v.before {
				b.does(before...)
			}
		}
		took, status := b.kill(v, time.Duration(b.random.Int64N(int64(lasts[v.name])*5/4)))
		lasts[v.name] = max((lasts[v.name]*7+took)/8, time.Millisecond)
		if v.name == "offline" {
			b.wholeOrNot(whole)
		}
		b.settle(v, status)
		if b.t.Failed() {
			b.t.Fatalf("after %s", v.name)
		}
	}
	b.end()
}

// whole lets a command do its work, and says how long it takes.
func (b *bed) whole(v victim) time.Duration {
	b.t.Helper()
	p := b.start(v.args...)
	if v.runs {
		for deadline := time.Now().Add(patience); b.probe() != byNew; {
			if time.Now().After(deadline) {
				b.t.Fatalf("%s does not begin", v.name)
			}
		}
		took := time.Since(p.began)
		b.must(p.Process.Signal(unix.SIGINT))
		if status := p.status(); status != 0 {
			b.t.Fatalf("%s: status %d: %s", v.name, status, p.out.String())
		}
		b.awaitNone()
		if v.reload {
			return took * 4
		}
		return took * 2
	}
	if status := p.status(); status != 0 {
		b.t.Fatalf("%s: status %d: %s", v.name, status, p.out.String())
	}
	if m := b.probe(); m != v.may[len(v.may)-1] {
		b.t.Fatalf("%s has done its work, and packets meet %v", v.name, m)
	}
	return time.Since(p.began)
}

// kill starts a command and sends it a signal behind a delay, under a stream where the rules are
// to go on.
func (b *bed) kill(v victim, delay time.Duration) (took time.Duration, status int) {
	b.t.Helper()
	signal := []unix.Signal{unix.SIGKILL, unix.SIGKILL, unix.SIGKILL, unix.SIGTERM, unix.SIGINT}[b.random.IntN(5)]
	streams := make(chan tally, 1)
	stop := make(chan struct{})
	if !slices.Contains(v.may, untouched) {
		go func() {
			c, err := b.wire.stream(stop)
			b.check(err)
			streams <- c
		}()
	} else {
		streams <- tally{}
	}
	p := b.start(v.args...)
	if v.reload {
		go p.reload()
	}
	select {
	case <-p.ended:
		took = time.Since(p.began)
	case <-time.After(delay):
		took = delay
	}
	err := p.Process.Signal(signal)
	kills.Add(1)
	if err == nil {
		killed.Add(1)
	}
	status = p.status()
	close(stop)
	c := <-streams
	b.count(c)
	for m, n := range c.met {
		if n > 0 && !slices.Contains(v.may, met(m)) {
			untouchedPackets.Add(int64(n))
			b.t.Errorf("while %s was killed by %v, %d packets met %v", v.name, signal, n, met(m))
		}
	}
	if !slices.Contains([]int{0, 1, -1}, status) {
		b.t.Errorf("%s, %v: status %d: %s", v.name, signal, status, p.out.String())
	}
	if v.runs {
		b.awaitNone()
	}
	return took, status
}

// reload sends SIGHUP to a run that catches it, as it does before its rules are there, until it ends.
func (p *process) reload() {
	for began := false; ; {
		select {
		case <-p.ended:
			return
		case <-time.After(3 * time.Millisecond):
		}
		if began = began || acts(p.b.look()); began {
			_ = p.Process.Signal(unix.SIGHUP)
		}
	}
}

// settle judges what is there when a command has ended or been killed, by the kernel, by packets and
// by list, and detaches it.
func (b *bed) settle(v victim, status int) {
	b.t.Helper()
	s, sets := b.visible(v.name)
	m := b.probe()
	switch {
	case !slices.Contains(v.may, m):
		b.trace("%s was killed, and packets meet %v; there is %+v", v.name, m, s)
	case status == 0 && m != v.may[len(v.may)-1]:
		b.t.Errorf("%s: the status is 0, and packets meet %v", v.name, m)
	case sets > 1 && !v.twofold && v.name != "list":
		b.trace("%s has left %+v", v.name, s)
	case m != untouched && sets == 0:
		b.t.Errorf("packets meet %v, and there is %+v", m, s)
	}
	if sets == 0 && b.random.IntN(4) > 0 { // nothing to list, mostly
		b.files()
		return
	}
	all := b.list()
	if want := min(sets, 1); len(all) != want {
		b.t.Errorf("%s: list says %+v of %+v", v.name, all, s)
	}
	for _, l := range all {
		if l.Missing != "" && !v.twofold {
			b.t.Errorf("%s: list says %+v of %+v", v.name, l, s)
		}
		if l.Missing != "" {
			halves.Add(1)
		}
	}
	b.clean()
}

// halves are rule sets of which a kill has left one of the two programs.
var halves atomic.Int64

// offlineFiles makes the files of commands: a capture file of many packets, and files of rules. It
// gives what the capture file becomes.
func (b *bed) offlineFiles() []byte {
	b.t.Helper()
	b.must(os.WriteFile(filepath.Join(b.folder, "rules"), []byte(newRules+"\n"), 0o600))
	b.must(os.WriteFile(filepath.Join(b.folder, "two"), []byte(newReplies+"\n"), 0o600))
	b.must(os.WriteFile(filepath.Join(b.folder, "in.pcap"), captureFile(20000), 0o600))
	b.does("-q", "-r", "in.pcap", "-w", "out.pcap", newRules)
	out, err := os.ReadFile(filepath.Join(b.folder, "out.pcap"))
	b.must(err)
	b.must(os.Remove(filepath.Join(b.folder, "out.pcap")))
	if len(out) != len(captureFile(20000)) || bytes.Equal(out, captureFile(20000)) {
		b.t.Fatal("the capture file was not rewritten")
	}
	return out
}

// captureFile is a file of pcap with so many datagrams to port 443.
func captureFile(packets int) []byte {
	packet := slices.Concat(
		[]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0},
		[]byte{0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0xf6, 0xc3, 192, 0, 2, 1, 192, 0, 2, 2},
		[]byte{0x30, 0x39, 0x01, 0xbb, 0, 16, 0, 0}, make([]byte, 8))
	o := binary.LittleEndian
	b := o.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = o.AppendUint32(o.AppendUint32(b, 65535), 1) // Ethernet
	for n := range packets {
		for _, v := range []uint32{1700000000, uint32(n), uint32(len(packet)), uint32(len(packet))} {
			b = o.AppendUint32(b, v)
		}
		b = append(b, packet...)
	}
	return b
}

// wholeOrNot finds the file of -w as it is to be or not at all, and that of -r as it was.
func (b *bed) wholeOrNot(whole []byte) {
	b.t.Helper()
	name := filepath.Join(b.folder, "out.pcap")
	got, err := os.ReadFile(name)
	if err == nil && !bytes.Equal(got, whole) {
		b.trace("a part of the file of -w is there: %d bytes of %d", len(got), len(whole))
	}
	if err == nil {
		b.must(os.Remove(name))
	}
	in, err := os.ReadFile(filepath.Join(b.folder, "in.pcap"))
	if err != nil || !bytes.Equal(in, captureFile(20000)) {
		b.trace("the file of -r has changed: %v", err)
	}
}
