package rule

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The largest files of rows that are read: what is larger is rejected, so that
// no file takes the memory of the machine.
const (
	// MaxFile is the longest file of rows, in bytes.
	MaxFile = 1 << 30
	maxRow  = 4 << 20 // bytes, comments before it included
)

// rowReader reads the rows of a CSV file (RFC 4180). Blanks around values,
// empty lines and lines that begin with # do not count, nor does a byte order
// mark.
type rowReader struct {
	csv       *csv.Reader
	file      io.Reader
	limit     int64
	all, part int64 // bytes that were read: of the file, and for the next row
}

func newRowReader(file io.Reader) *rowReader {
	r := &rowReader{file: file, limit: MaxFile}
	buffered := bufio.NewReaderSize((*limited)(r), 64<<10)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3)
	}
	r.csv = csv.NewReader(buffered)
	r.csv.Comment, r.csv.ReuseRecord, r.csv.FieldsPerRecord, r.csv.TrimLeadingSpace = '#', true, -1, true
	return r
}

// limited ends a file that is too long, or that has too long a row.
type limited rowReader

var (
	errLongFile = errors.New("the file is larger than 1 GiB")
	errLongRow  = errors.New("the row is longer than 4 MiB: is a quote never closed?")
)

func (g *limited) Read(p []byte) (int, error) {
	switch {
	case g.all > g.limit:
		return 0, errLongFile
	case g.part > maxRow:
		return 0, errLongRow
	}
	n, err := g.file.Read(p)
	g.all, g.part = g.all+int64(n), g.part+int64(n)
	return n, err
}

// next is the next row, its values trimmed, and the line of the file where it
// begins, from 1; the error is io.EOF behind the last. The row is valid until
// the next call.
func (r *rowReader) next() (row []string, line int, err error) {
	for {
		row, err = r.csv.Read()
		r.part = 0
		var malformed *csv.ParseError
		switch {
		case errors.As(err, &malformed):
			return nil, malformed.StartLine, quoting(malformed.Err)
		case err != nil:
			return nil, 0, err
		}
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		if len(row) > 1 || row[0] != "" {
			line, _ = r.csv.FieldPos(0)
			return row, line, nil
		}
	}
}

// rows guesses how many rows the file has, once the given number is read; 0 if
// its size is not known.
func (r *rowReader) rows(read int) int {
	file, ok := r.file.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return 0
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	const spare = 50 // one row in so many
	return int(float64(min(info.Size(), r.limit)) / float64(r.csv.InputOffset()) * float64(read+read/spare))
}

// quoting says what is wrong with quotes, the only thing that can be.
func quoting(err error) error {
	if errors.Is(err, csv.ErrBareQuote) {
		return errors.New(`a quote stands inside a value that does not begin with one`)
	}
	return errors.New(`a quote is never closed, or something stands behind it; inside of quotes a quote is ""`)
}

// noise is the first character of names of columns that no text has, if there
// is one.
func noise(names []string) string {
	for _, r := range strings.Join(names, "") {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return fmt.Sprintf("%q", r)
		}
	}
	return ""
}
