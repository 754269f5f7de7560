package journal

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Log is the system's log; nil takes lines and drops them.
type Log struct {
	fd     int
	native bool
}

// Open connects to the journal, else to syslog. It is nil where neither answers.
func Open() *Log { return open(journalSocket, syslogSocket) }

func open(journal, syslog string) *Log {
	for _, socket := range []string{journal, syslog} {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil
		}
		if unix.Connect(fd, &unix.SockaddrUnix{Name: socket}) == nil {
			return &Log{fd, socket == journal}
		}
		_ = unix.Close(fd)
	}
	return nil
}

// Write writes a line, if the log takes it now. Control characters in it are shown as such, and
// values longer than 4 KiB are cut off.
func (l *Log) Write(p Priority, message string, fields ...Field) {
	if l == nil {
		return
	}
	line := plain(p, message, os.Getpid(), time.Now())
	if l.native {
		line = native(p, message, fields)
	}
	_, _ = unix.Write(l.fd, line) // it is lost: nobody who could be told waits for it
}

// Close closes the connection.
func (l *Log) Close() {
	if l != nil {
		_ = unix.Close(l.fd)
	}
}
