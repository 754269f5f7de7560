package journal

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// listen makes the socket of a log.
func listen(t *testing.T, name string) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, path
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// parse reads a line as the journal does: NAME=value and a line end, or NAME, a line end, the length
// of the value in 64 bits, the value and a line end.
func parse(t *testing.T, line string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line != "" {
		head, rest, _ := strings.Cut(line, "\n")
		if name, value, ok := strings.Cut(head, "="); ok {
			fields[name], line = value, rest
			continue
		}
		n := binary.LittleEndian.Uint64([]byte(rest[:8]))
		if rest[8+n] != '\n' {
			t.Fatalf("behind %s there is %q", head, rest[8+n:])
		}
		fields[head], line = rest[8:8+n], rest[8+n+1:]
	}
	return fields
}

// TestJournal: what is written arrives, and nothing in it makes a field or a line of its own.
func TestJournal(t *testing.T) {
	conn, path := listen(t, "socket")
	l := open(path, "")
	if l == nil {
		t.Fatal("not connected")
	}
	defer l.Close()
	l.Write(Notice, "one\nMESSAGE=two\x1b[31m", Field{"INTERFACE", "eth1\n_UID=0\n"}, Field{"EMPTY", ""}, Field{"LONG", strings.Repeat("ä", mostBytes)})
	got := parse(t, receive(t, conn))
	want := map[string]string{
		"MESSAGE": "one MESSAGE=two\ufffd[31m", "PRIORITY": "5", "SYSLOG_IDENTIFIER": "repacket", "SYSLOG_FACILITY": "3",
		"INTERFACE": "eth1\n_UID=0\n", "LONG": strings.Repeat("ä", 2046) + "…",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSyslog: where there is no journal, syslog has one line.
func TestSyslog(t *testing.T) {
	conn, path := listen(t, "log")
	l := open(filepath.Join(t.TempDir(), "none"), path)
	if l == nil {
		t.Fatal("not connected")
	}
	defer l.Close()
	l.Write(Warning, "one\n<0>two", Field{"INTERFACE", "eth1"})
	// 28 is daemon (3) times 8, and warning (4).
	if got := receive(t, conn); !regexp.MustCompile(fmt.Sprintf(`^<28>\w{3} [ \d]\d \d\d:\d\d:\d\d repacket\[%d\]: one <0>two$`, os.Getpid())).MatchString(got) {
		t.Errorf("got %q", got)
	}
}

// TestNoLog: without a log lines are dropped.
func TestNoLog(t *testing.T) {
	if l := open(filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "none")); l != nil {
		t.Error("connected to nothing")
	}
	var none *Log
	none.Write(Notice, "lost")
	none.Close()
}

// TestStuckLog: a log that nobody reads holds nobody up, and one that has died neither.
func TestStuckLog(t *testing.T) {
	conn, path := listen(t, "socket")
	l := open(path, "")
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10_000 { // more than any socket has room for
			l.Write(Notice, "line")
		}
		conn.Close()
		l.Write(Notice, "line")
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the writer waits")
	}
}
