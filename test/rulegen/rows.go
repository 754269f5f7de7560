package rulegen

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"

	"repacket/internal/rule"
)

// Files are CSV files by name, in memory.
type Files map[string]string

// Open opens a file for rule.Options.
func (f Files) Open(name string) (io.ReadCloser, error) {
	content, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

// Source is the text of a program and the files that its rules take rows from.
type Source struct {
	Text  string
	Files Files
	// Replies: what is meant is the program for packets of the other direction.
	Replies bool
}

// Check is rule.Check for a text with files. It is an error if there is no program for packets of the
// other direction and that is meant.
func (s Source) Check() (*rule.Program, error) {
	p, err := rule.CheckWith(s.Text, rule.Options{Open: s.Files.Open})
	switch {
	case err != nil || !s.Replies:
		return p, err
	case p.Replies == nil || len(p.Replies.Rules) == 0:
		return nil, errors.New("no rule has replies")
	}
	return p.Replies, nil
}

// Source writes a random program as Program does, but about half of its rules
// take values from the rows of a file.
func (s Style) Source(r *rand.Rand) Source {
	w := &writer{r: r, style: s, files: Files{}}
	w.program()
	return Source{Text: w.b.String(), Files: w.files}
}

// csvTable is a CSV file being written: rows of as many values as there are names.
type csvTable struct {
	names []string
	rows  [][]string
}

// beginRows decides whether a rule takes rows from a file, and how many.
func (w *writer) beginRows() {
	w.table = nil
	if w.files == nil || w.chance(2) {
		return
	}
	most := 6
	if w.style.Rows > 0 {
		most = w.style.Rows
	}
	w.table = &csvTable{rows: make([][]string, 1+w.r.IntN(most))}
}

// cell is a text, or a column of texts.
func (w *writer) cell(text func() string) string {
	if w.table == nil || w.chance(3) {
		return text()
	}
	name := fmt.Sprintf("c%d", len(w.table.names))
	w.table.names = append(w.table.names, name)
	for i := range w.table.rows {
		w.table.rows[i] = append(w.table.rows[i], text())
	}
	return "@" + name
}

// endRows writes from and the file of rule i, if it has columns.
func (w *writer) endRows(i int) {
	if w.table == nil || len(w.table.names) == 0 {
		w.table = nil
		return
	}
	name := fmt.Sprintf("Rows%d.csv", i)
	w.add("from", name)
	w.files[name] = w.csv()
	w.table = nil
}

// csv writes the file as any program might.
func (w *writer) csv() string {
	end := w.oneOf("\n", "\n", "\r\n")
	var b strings.Builder
	b.WriteString(w.oneOf("", "", "", "\ufeff"))
	for _, row := range slices.Concat([][]string{w.table.names}, w.table.rows) {
		if w.chance(20) {
			b.WriteString(w.oneOf("", "# comment") + end)
		}
		for i, text := range row {
			if i > 0 {
				b.WriteString(w.oneOf(",", ",", ", "))
			}
			if w.chance(8) {
				text = `"` + text + `"`
			}
			b.WriteString(text)
		}
		b.WriteString(end)
	}
	return b.String()
}

// ShrinkSource is Shrink for a program with files: it also takes rows out of
// them and makes their values plainer.
func ShrinkSource(s Source, frame []byte, fails func(Source, []byte) bool) (Source, []byte) {
	for {
		before := s.size()
		for name := range s.Files {
			s.Files = s.Files.shrink(name, func(f Files) bool { return fails(Source{s.Text, f, s.Replies}, frame) })
		}
		s.Text, frame = Shrink(s.Text, frame, func(text string, frame []byte) bool { return fails(Source{text, s.Files, s.Replies}, frame) })
		if s.size() >= before {
			return s, frame
		}
	}
}

// size falls when files become shorter or plainer.
func (s Source) size() int {
	n := len(s.Text)
	for _, content := range s.Files {
		n += weigh(content)
	}
	return n
}

// shrink makes one of the files small.
func (f Files) shrink(name string, fails func(Files) bool) Files {
	with := func(lines []string) Files {
		out := Files{}
		for n, content := range f {
			out[n] = content
		}
		out[name] = strings.Join(lines, "\n") + "\n"
		return out
	}
	lines := strings.FieldsFunc(f[name], func(r rune) bool { return r == '\n' || r == '\r' || r == '\ufeff' })
	if !fails(with(lines)) {
		return f // how the lines end matters
	}
	lines = drop(lines, func(l []string) bool { return fails(with(l)) })
	for i := range lines {
		lines = plainerCells(lines, i, func(l []string) bool { return fails(with(l)) })
	}
	return with(lines)
}

// plainerCells makes the values of a line plainer.
func plainerCells(lines []string, i int, fails func([]string) bool) []string {
	for k := range strings.Split(lines[i], ",") {
		cells := strings.Split(lines[i], ",")
		word := strings.Trim(cells[k], `" `)
		if word == "" {
			continue
		}
		for _, plain := range append(plainer(word), word) {
			try := slices.Clone(lines)
			cells[k] = plain
			if try[i] = strings.Join(cells, ","); try[i] != lines[i] && fails(try) {
				lines = try
				break
			}
		}
	}
	return lines
}
