package chaos

import (
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/test/needs"
)

// TestStopped: a command is stopped (SIGSTOP) at a random moment. Others end meanwhile, with a
// documented status, and so does it when it goes on.
func TestStopped(t *testing.T) {
	needs.Kernel(t)
	s := seed(t)
	var stops atomic.Int64
	t.Run("walk", func(t *testing.T) {
		for _, at := range hooks {
			t.Run(at.name, func(t *testing.T) {
				t.Parallel()
				b := newBed(t, at, s)
				for range amount(40, 2, 1) {
					for _, verb := range []string{"attach", "replace", "confirm", "detach"} {
						b.stopped(verb)
						stops.Add(1)
					}
				}
				b.end()
			})
		}
	})
	figures(t, "%d commands stopped while four others end, seed %d", stops.Load(), s)
}

func (b *bed) stopped(verb string) {
	b.t.Helper()
	i := []string{"-i", b.ifname}
	args := append([]string{verb}, i...)
	switch verb {
	case "attach":
		args = b.attachArgs(newReplies)
	case "replace":
		b.attach(oldReplies)
		args = append(args, newReplies)
	case "confirm":
		b.attach(oldRules)
		b.does("replace", "-i", b.ifname, "--revert-after", "1h", newRules)
	case "detach":
		b.attach(oldReplies)
	}
	p := b.start(args...)
	time.Sleep(time.Duration(b.random.IntN(60)) * time.Millisecond) // the random moment
	_ = p.Process.Signal(unix.SIGSTOP)
	others := [][]string{append([]string{"list"}, i...), append([]string{"replace", oldRules}, i...), append([]string{"detach"}, i...), b.attachArgs(oldRules)}
	b.random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	for _, other := range others {
		if status, out := b.run(other...); !slices.Contains(documented, status) {
			b.t.Errorf("%s is stopped, and %q ends with %d: %s", verb, other, status, out)
		}
	}
	_ = p.Process.Signal(unix.SIGCONT)
	if status := p.status(); !slices.Contains(documented, status) {
		b.t.Errorf("%q has been stopped, and ends with %d: %s", args, status, p.out.String())
	}
	b.consistent()
}

// TestStuckReader: a terminal or a pipe that nobody reads holds up neither packets nor other commands nor the
// end of a run.
func TestStuckReader(t *testing.T) {
	needs.Kernel(t)
	readers := map[string]func(t *testing.T) (full *os.File){"terminal": stuckTerminal, "pipe": stuckPipe}
	for _, at := range hooks {
		for name, reader := range readers {
			t.Run(at.name+" "+name, func(t *testing.T) {
				b := newBed(t, at, seed(t))
				p := b.prepare(nil, "-i", b.ifname, "--hook", at.word, "-v", newRules)
				full := reader(t)
				p.Stdout, p.Stderr = full, full
				p.start()
				for deadline := time.Now().Add(patience); b.probe() != byNew; {
					if time.Now().After(deadline) {
						t.Fatal("the run does not begin")
					}
				}
				c, err := b.wire.burst(2000)
				b.must(err)
				b.count(c)
				if c.met[byNew] != 2000 {
					untouchedPackets.Add(int64(c.met[untouched]))
					t.Errorf("packets meet %+v", c)
				}
				if status, out := b.run("attach", "-i", b.ifname, "--hook", at.word, oldRules); status != 5 {
					t.Errorf("attach ends with %d: %s", status, out)
				}
				b.must(p.Process.Signal(unix.SIGINT))
				if status := p.status(); !slices.Contains([]int{0, 1}, status) {
					t.Errorf("the run ends with %d", status)
				}
				b.awaitNone()

				// The reader has no room left, so attach cannot say what it has to; others can work, and
				// when it is killed nothing holds them up.
				p = b.prepare(nil, b.attachArgs(newRules)...)
				p.Stdout, p.Stderr = full, full
				p.start()
				b.does("list")
				b.does("detach", "-i", b.ifname)
				_ = p.Process.Kill()
				p.status()
				b.end()
			})
		}
	}
	figures(t, "%d commands whose reader is stuck", 2*len(hooks)*len(readers))
}

// stuckPipe is a pipe that nobody reads.
func stuckPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return w
}

// stuckTerminal is a terminal whose other end is not read.
func stuckTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		t.Fatal(errno)
	}
	f := os.NewFile(slave, "terminal")
	t.Cleanup(func() { f.Close() })
	return f
}
