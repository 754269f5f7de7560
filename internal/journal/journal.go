// Package journal writes lines to the system's log: to the journal by its own protocol, else to
// syslog, and where there is neither to nothing. It never waits: a line that the log does not take
// at once is lost. After Open nothing is opened any more, so a process without any right can write.
//
// The library of systemd (go-systemd) waits for a journal that is stuck, and opens files for long
// lines; hence these few lines.
package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Sockets of the two logs.
const (
	journalSocket = "/run/systemd/journal/socket"
	syslogSocket  = "/dev/log"
)

// Priority is how much a line matters, by the numbers of syslog(3).
type Priority int

// The priorities.
const (
	Warning Priority = 4
	Notice  Priority = 5
)

// identifier is what lines are filed under, facility daemon's number in syslog(3).
const (
	identifier = "repacket"
	facility   = 3
)

// mostBytes is the longest value of a field.
const mostBytes = 4 << 10

// Field is something that a line is about. Name has upper-case letters, digits and underscores.
type Field struct{ Name, Value string }

// native is a line by the protocol of the journal (systemd.io/JOURNAL_NATIVE_PROTOCOL): each
// value stands behind its length, so nothing in it can end it.
func native(p Priority, message string, fields []Field) []byte {
	var b bytes.Buffer
	put := func(name, value string) {
		value = printable(value, true)
		b.WriteString(name + "\n")
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
		b.WriteString(value + "\n")
	}
	put("MESSAGE", printable(message, false))
	put("PRIORITY", strconv.Itoa(int(p)))
	put("SYSLOG_IDENTIFIER", identifier)
	put("SYSLOG_FACILITY", strconv.Itoa(facility))
	for _, f := range fields {
		if f.Value != "" {
			put(f.Name, f.Value)
		}
	}
	return b.Bytes()
}

// plain is a line for syslog, as syslog(3) of C libraries writes it. It has no fields.
func plain(p Priority, message string, pid int, now time.Time) []byte {
	return fmt.Appendf(nil, "<%d>%s %s[%d]: %s", facility<<3|int(p), now.Format(time.Stamp), identifier, pid, printable(message, false))
}

// printable is text without what a terminal or a reader of lines would act on, cut off behind
// mostBytes. Ends of lines stay only where they are told to.
func printable(text string, lines bool) string {
	if len(text) > mostBytes {
		cut := mostBytes - len("…")
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && lines:
			return r
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, text)
}
