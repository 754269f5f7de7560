package rule

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/spelling"
	"repacket/internal/syntax"
)

// The most rows of all files of a program, those of files that a rule before has read,
// for each row that was read once and at all events, the most cells of a file, and the
// most columns of one that a rule takes.
const (
	maxRows    = 16_000_000
	maxAgain   = 16
	leastAgain = 1_000_000
	maxCells   = 4 * maxRows
	maxColumns = 1000
)

// sheet is the file of a rule with from: its first row names the columns, each
// other one is a rule. Messages count rows as editors count lines, so that the
// names are row 1 and the first rule mostly row 2.
type sheet struct {
	c    *checker
	file string // as written
	at   Span   // of its name in the rule
	rows *Rows
	// columns are where the places of rows.Cells stand, the first one where
	// several read a column in the same way; from is the column of the file of
	// each.
	columns []syntax.ColumnNode
	from    []int
	// cells finds the place in rows.Cells by where the column's word begins.
	cells map[int]int
	// width is the number of columns of the file, and lines are the lines of it
	// where the rows begin.
	width int
	lines []int32
	// probe keeps what is wrong with a cell.
	probe report
	// equal: some rows test for the same, and that has been said.
	equal bool
	// again: a rule before has read the file.
	again bool
}

// read reads the rows of a rule with from.
func (c *checker) read(r syntax.RuleNode) {
	c.sheet = nil
	if r.File.Text == "" || c.err != nil {
		return
	}
	s := &sheet{c: c, file: c.source[r.File.At.Start:r.File.At.End], at: r.File.At, cells: map[int]int{}}
	s.rows = &Rows{File: s.file}
	name := path.Clean(s.file)
	s.again = c.filesRead[name]
	c.filesRead[name] = true
	for _, n := range r.Columns {
		s.cells[n.At.Start] = s.cellOf(n)
		if len(s.columns) > maxColumns {
			s.fail(n.At, "", "more than %s columns are too many", spelling.Thousands(maxColumns))
			return
		}
	}
	file := s.open()
	if file == nil {
		return
	}
	defer file.Close()
	in := newRowReader(file)
	if s.names(in); c.err == nil {
		s.body(in)
	}
	if c.err == nil {
		c.sheet = s
		if r.Replies != NoReplies {
			c.lines[s.rows] = s.lines
		}
		s.twice()
	}
}

// cellOf is the place in rows.Cells for a column: one that is there, if it is
// read in the same way.
func (s *sheet) cellOf(n syntax.ColumnNode) int {
	f := n.Ref.Fields[0]
	at := slices.IndexFunc(s.columns, func(o syntax.ColumnNode) bool {
		g := o.Ref.Fields[0]
		return n.Name == o.Name && n.Use == o.Use && f.Kind == g.Kind && f.Width == g.Width && slices.Equal(f.Names, g.Names)
	})
	if at < 0 {
		at = len(s.columns)
		s.columns = append(s.columns, n)
		s.rows.Cells = append(s.rows.Cells, Cells{Column: n.Name, Compare: n.Compare()})
	}
	return at
}

// cell is the place in Rows.Cells of a column's word.
func (s *sheet) cell(word syntax.Token) int {
	if s == nil { // the rule is wrong already
		return 0
	}
	return s.cells[word.At.Start]
}

func (s *sheet) fail(at Span, hint, format string, args ...any) {
	s.c.fail(at, hint, "%s: %s", s.file, fmt.Sprintf(format, args...))
}

// open opens the file; it is nil where that cannot be.
func (s *sheet) open() io.ReadCloser {
	if s.c.open == nil {
		s.fail(s.at, "", "no file can be read here")
		return nil
	}
	file, err := s.c.open(s.file)
	if err != nil {
		s.unreadable(err)
		return nil
	}
	return file
}

// unreadable is the error for a file that cannot be opened or read.
func (s *sheet) unreadable(err error) {
	hint := ""
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		if err = path.Err; path.Path != s.file {
			hint = "looked for as " + path.Path
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no such file")
	}
	s.fail(s.at, hint, "%s", err)
}

// names finds the columns by the first row of the file.
func (s *sheet) names(in *rowReader) {
	names, line, err := in.next()
	switch {
	case errors.Is(err, io.EOF):
		s.fail(s.at, "the first row names the columns", "the file is empty")
	case err != nil:
		s.malformed(line, err)
	case len(names) == 1 && strings.Contains(names[0], "\t"):
		s.fail(s.at, "part them with commas", "its columns are parted by tabs")
	case noise(names) != "":
		s.fail(s.at, "a CSV file is text, in UTF-8", "the names of the columns have a character %s in them", noise(names))
	}
	s.width = len(names)
	for _, n := range s.columns {
		at := slices.Index(names, n.Name)
		switch {
		case s.c.err != nil:
		case at < 0:
			s.missing(n, names)
		case slices.Contains(names[at+1:], n.Name):
			s.fail(n.At, "give them names of their own", "two columns are named %s", n.Name)
		}
		s.from = append(s.from, at)
	}
}

// missing is the error for a column that is not there.
func (s *sheet) missing(n syntax.ColumnNode, names []string) {
	hint := "its first row names the columns: " + syntax.Crop(strings.Join(names, ", "))
	if near := syntax.Nearest(n.Name, names); near != "" {
		hint = "did you mean @" + near + "?"
	}
	if len(names) == 1 && strings.ContainsAny(names[0], ";\t") {
		hint = "commas stand between the columns of a CSV file"
	}
	s.fail(n.At, hint, "there is no column %s", syntax.Crop(n.Name))
}

// malformed is the error for a row that cannot be read; line is its place, or 0.
func (s *sheet) malformed(line int, err error) {
	switch {
	case errors.Is(err, errLongFile), errors.Is(err, errLongRow):
		s.fail(s.at, "", "%s", err)
	case line == 0:
		s.unreadable(err)
	default:
		s.fail(s.at, "", "row %s: %s", spelling.Thousands(line), err)
	}
}

// body reads all rows behind the names.
func (s *sheet) body(in *rowReader) {
	for {
		row, line, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			if s.rows.Len == 0 {
				s.fail(s.at, "each row behind the names is a rule", "there are no rows behind the names of the columns")
			}
			return
		case err != nil:
			s.malformed(line, err)
		case len(row) != s.width:
			s.fail(s.at, "a value with a comma in it stands in quotes", "row %s has %s for %s",
				spelling.Thousands(line), count(len(row), "value"), count(s.width, "column"))
		case s.c.rows == maxRows, s.rows.Len*len(s.columns) >= maxCells:
			s.fail(s.at, "", "more than %s rows are too many", spelling.Thousands(s.c.rows))
		case s.again && s.c.rowsAgain >= max(leastAgain, maxAgain*(s.c.rows-s.c.rowsAgain)):
			s.fail(s.at, "one rule, with or in its condition, reads the file once",
				"more than %s rows of files that rules before have read are too many", spelling.Thousands(s.c.rowsAgain))
		default:
			s.row(row, line)
		}
		if s.rows.Len == enough {
			s.reserve(min(in.rows(enough), maxRows))
		}
		if s.c.err != nil {
			return
		}
	}
}

// enough rows tell how many there are in all.
const enough = 1000

// reserve makes room for all rows at once.
func (s *sheet) reserve(rows int) {
	s.lines = slices.Grow(s.lines, max(0, rows-len(s.lines)))
	for i := range s.rows.Cells {
		c := &s.rows.Cells[i]
		c.Lo = slices.Grow(c.Lo, max(0, rows-len(c.Lo)))
		if c.Hi != nil {
			c.Hi = slices.Grow(c.Hi, max(0, rows-len(c.Hi)))
		}
	}
}

// row adds a row.
func (s *sheet) row(row []string, line int) {
	for i, n := range s.columns {
		s.rows.Cells[i].add(s.value(n, row[s.from[i]], line), s.rows.Len)
	}
	s.lines = append(s.lines, int32(line))
	s.rows.Len++
	s.c.rows++
	if s.again {
		s.c.rowsAgain++
	}
}

// add puts in the cell of the row behind the last one, of which row is the place.
func (c *Cells) add(cell field.Range, row int) {
	if cell.Lo != cell.Hi && c.Hi == nil {
		c.Hi = append(make([]field.Value, 0, cap(c.Lo)), c.Lo[:row]...)
	}
	c.Lo = append(c.Lo, cell.Lo)
	if c.Hi != nil {
		c.Hi = append(c.Hi, cell.Hi)
	}
}

// value reads the value of a column in a row that begins at a line as if it
// stood in the rule.
func (s *sheet) value(n syntax.ColumnNode, text string, line int) field.Range {
	out := s.probe.cell(n, text)
	if s.probe.err != nil {
		hint := s.probe.err.Hint
		if strings.Contains(text, ",") {
			hint = "a cell holds one value, one range or one prefix; a list takes a row for each"
		}
		s.fail(n.At, hint, "row %s, column %s: %s", spelling.Thousands(line), n.Name, s.probe.err.Msg)
	}
	return out
}

// cell is what a text stands for at the place of a column.
func (r *report) cell(n syntax.ColumnNode, text string) field.Range {
	f, name := n.Ref.Fields[0], n.Ref.Name.Text
	text = strings.ToLower(text)
	l := literal{report: r, f: f, name: name, text: text, word: text}
	if text == "" {
		r.fail(n.At, "", "%s needs a value", name)
		return field.Range{}
	}
	single := func(v field.Value) field.Range { return field.Range{Lo: v, Hi: v} }
	switch n.Use {
	case "item":
		return l.item()
	case "set":
		a := Action{Field: f}
		if l.newValue(&a); a.Op == operand.Prefix {
			return field.Range{Lo: a.Value, Hi: a.Value.Or(field.Ones(f.Width - a.Bits))}
		}
		return single(a.Value)
	}
	o, worded := operand.ByWord(n.Use)
	if !worded {
		o, worded = operand.BySign(n.Use)
	}
	if worded {
		return single(l.argument(o))
	}
	return l.compare(n.Use, n.At)
}

// count is a number and what is counted: 1 row, 2 rows.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return spelling.Thousands(n) + " " + what
}
