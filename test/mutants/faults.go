package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// mutant is one fault: text in the place of the bytes from start to end of a
// file.
type mutant struct {
	file       string // its path in the module, with slashes
	in         string // the function or declaration
	kind       string
	start, end int
	text       string
	before     string // the lines that it is in, every run of blanks one space
	after      string
	nth        int // among those that read the same, from 0
}

// String is what the fault is known by in survivors.txt. It has no line
// number, so that it stays the same when something above it changes.
func (m mutant) String() string {
	s := fmt.Sprintf("%s %s\n- %s\n+ %s", m.file, m.in, m.before, m.after)
	if m.nth > 0 {
		s += fmt.Sprintf(" #%d", m.nth+1)
	}
	return s
}

// faults are all faults that can be put into the code of a package, its tests
// left out.
func faults(root string, t target) ([]mutant, error) {
	names, err := filepath.Glob(filepath.Join(root, t.pkg, "*.go"))
	if err != nil {
		return nil, err
	}
	var out []mutant
	for _, name := range names {
		base := filepath.Base(name)
		if strings.HasSuffix(base, "_test.go") || !t.takes(base) {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		found, err := faultsIn(t.pkg+"/"+base, src)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// finder gathers the faults of a file.
type finder struct {
	file  string
	src   []byte
	set   *token.FileSet
	in    string
	stack bool // within a load or store of the stack
	found []mutant
	seen  map[string]int
}

func faultsIn(file string, src []byte) ([]mutant, error) {
	f := &finder{file: file, src: src, set: token.NewFileSet(), seen: map[string]int{}}
	tree, err := parser.ParseFile(f.set, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range tree.Decls {
		f.in = declared(d)
		ast.Inspect(d, f.visit)
	}
	return f.found, nil
}

// declared is the name of a function, or the first name of a declaration.
func declared(d ast.Decl) string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return d.Name.Name
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				return s.Names[0].Name
			case *ast.TypeSpec:
				return s.Name.Name
			}
		}
	}
	return "-"
}

// replace notes a fault.
func (f *finder) replace(kind string, from, to token.Pos, text string) {
	start, end := f.set.Position(from).Offset, f.set.Position(to).Offset
	left := strings.LastIndexByte(string(f.src[:start]), '\n') + 1
	right := len(f.src)
	if i := strings.IndexByte(string(f.src[end:]), '\n'); i >= 0 {
		right = end + i
	}
	m := mutant{
		file: f.file, in: f.in, kind: kind, start: start, end: end, text: text,
		before: blanks(string(f.src[left:right])),
		after:  blanks(string(f.src[left:start]) + text + string(f.src[end:right])),
	}
	if m.before == m.after {
		return
	}
	if m.after == "" {
		m.after = "(nothing)"
	}
	key := m.String()
	m.nth = f.seen[key]
	f.seen[key]++
	f.found = append(f.found, m)
}

func blanks(s string) string { return strings.Join(strings.Fields(s), " ") }

// text is the source of a node.
func (f *finder) text(n ast.Node) string {
	return string(f.src[f.set.Position(n.Pos()).Offset:f.set.Position(n.End()).Offset])
}

// apply is the file with the fault in it.
func (m mutant) apply(src []byte) []byte {
	return []byte(string(src[:m.start]) + m.text + string(src[m.end:]))
}
