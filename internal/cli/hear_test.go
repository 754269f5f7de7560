package cli

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"repacket/internal/run"
)

// stuck is a reader that does not read. It tells when somebody writes.
type stuck chan struct{}

func (s stuck) Write([]byte) (int, error) {
	close(s)
	select {}
}

// TestNobodyReads: a run whose output nobody reads can be stopped all the same,
// by a signal and some patience.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	f := newFake(t, append([]string{"--json"}, rewriteWords...)...)
	f.Patience = time.Millisecond
	writing := make(stuck)
	f.Stdout = writing
	f.start()
	<-writing
	f.send(syscall.SIGINT)
	if got := f.wait(); got != exitFailed {
		t.Errorf("exit status %d, want 1", got)
	}
}

// stuckAt is a reader that reads up to a text.
type stuckAt string

func (s stuckAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), string(s)) {
		select {}
	}
	return len(p), nil
}

// closed is a session that is closed at once.
type closed struct{ run.Session }

func (closed) Close() (run.Counts, error) { return run.Counts{}, nil }

// TestNobodyReadsPackets: neither does a run wait, behind a signal, for somebody who reads the packets that it
// has still to show when its rules are detached.
func TestNobodyReadsPackets(t *testing.T) {
	t.Parallel()
	writing := make(stuck)
	r := &running{
		app: &app{
			env: Env{Patience: time.Millisecond}, out: &output{stdout: writing, stderr: writing},
			shower: &shower{texts: make(chan []byte, 1)},
		},
		ended: make(chan struct{}, 2), session: closed{},
	}
	exited := make(chan int)
	r.env.Exit = func(status int) { exited <- status; select {} }
	r.ending.Store(true)
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGINT
	go r.hear(nil, signals, make(chan os.Signal, 1), nil)
	r.shower.texts <- []byte("a packet\n")
	go func() { _, _ = r.close() }()
	<-writing
	if got := <-exited; got != exitFailed {
		t.Errorf("exit status %d, want 1", got)
	}
}

// TestNobodyReadsTheSummary: a run that has detached its rules ends though nobody reads its summary,
// also where its patience was over before.
func TestNobodyReadsTheSummary(t *testing.T) {
	t.Parallel()
	f := newFake(t, append([]string{"--json"}, rewriteWords...)...)
	f.Patience = time.Millisecond
	f.Stdout = stuckAt("summary")
	f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
	f.kernel.closing = make(chan struct{})
	f.start()
	f.send(syscall.SIGINT)
	<-f.kernel.closing
	f.kernel.closing <- struct{}{}
	if got := f.wait(); got != exitFailed {
		t.Errorf("exit status %d, want 1", got)
	}
}
