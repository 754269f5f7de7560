package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sample = `package p

const at = 12 // bytes

func f(c *compiler, b []byte, n int) bool {
	if n < 4 && !c.ok {
		return false
	}
	for _, x := range b {
		if x == 0x0c {
			continue
		}
		c.fold(int(x))
	}
	c.Emit(
		asm.Mov.Imm(value, 1),
		asm.HostTo(asm.BE, temp, asm.Half),
	)
	c.About("words " + c.words(7))
	c.list = make([]byte, 9)
	c.Emit(asm.LoadMem(asm.R1, asm.R10, slot, asm.DWord))
	c.Jump(no, asm.JGT.Imm(value, swapped(typeIPv4, 2), ""))
	return binary.BigEndian.Uint16(b) == 0 || "a"+"b" != ""
}
`

// TestFaults holds every fault of a small file, by kind.
func TestFaults(t *testing.T) {
	t.Parallel()
	found, err := faultsIn("p/p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, m := range found {
		text := m.text
		if text == "" {
			text = "(nothing)"
		}
		got[m.kind] = append(got[m.kind], sample[m.start:m.end]+" -> "+text)
	}
	if diff := cmp.Diff(map[string][]string{
		kindConstant: {
			"12 -> 13", "12 -> 11", "4 -> 5", "4 -> 3", "1 -> 2", "1 -> 0",
			"2 -> 3", "2 -> 1", "0 -> 1", "0 -> -1",
		},
		kindMask:       {"0x0c -> 0x8", "0x0c -> 0x18"},
		kindComparison: {"< -> <=", "< -> >=", "== -> !=", "== -> !=", "!= -> =="},
		kindCondition: {
			"n < 4 && !c.ok -> (n < 4 && !c.ok) || true", "n < 4 && !c.ok -> (n < 4 && !c.ok) && false",
			"&& -> ||", "! -> (nothing)", "false -> true",
			"x == 0x0c -> (x == 0x0c) || true", "x == 0x0c -> (x == 0x0c) && false", "|| -> &&",
		},
		kindStatement: {
			`c.Emit(
		asm.Mov.Imm(value, 1),
		asm.HostTo(asm.BE, temp, asm.Half),
	) -> (nothing)`,
			"c.list = make([]byte, 9) -> (nothing)", "c.Emit(asm.LoadMem(asm.R1, asm.R10, slot, asm.DWord)) -> (nothing)",
			`c.Jump(no, asm.JGT.Imm(value, swapped(typeIPv4, 2), "")) -> (nothing)`,
			"c.fold(int(x)) -> (nothing)", "continue -> break",
		},
		kindInstruction: {
			"asm.Mov.Imm(value, 1),\n\t\t -> (nothing)", ",\n\t\tasm.HostTo(asm.BE, temp, asm.Half) -> (nothing)",
		},
		kindJump:     {"JGT -> JGE"},
		kindSize:     {"Half -> Byte"},
		kindRegister: {"value -> temp", "temp -> value", "value -> temp"},
		kindOrder:    {"BE -> LE", "swapped(typeIPv4, 2) -> int32(typeIPv4)", "BigEndian -> LittleEndian"},
	}, got, cmp.Transformer("sorted", func(s []string) []string { return slices.Sorted(slices.Values(s)) })); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
}

// TestEndlessLoopIsNoticed: by the CPU time it takes, and what ends is not.
func TestEndlessLoopIsNoticed(t *testing.T) {
	t.Parallel()
	b := &bench{tmp: t.TempDir()}
	for script, want := range map[string]bool{"while :; do :; done": true, "exit 0": false} {
		failure, err := b.execute(t.Context(), "test/mutants", within(time.Second, "sh", "-c", script))
		if err != nil || (failure != "") != want {
			t.Errorf("%s: %q, %v", script, failure, err)
		}
	}
}

// TestFaultsAreFiles: each fault changes the file, leaves one that can be
// parsed, and has a text of its own.
func TestFaultsAreFiles(t *testing.T) {
	t.Parallel()
	found, err := faultsIn("p/p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range found {
		after := m.apply([]byte(sample))
		if _, err := parser.ParseFile(token.NewFileSet(), "", after, 0); err != nil || string(after) == sample {
			t.Errorf("%s: %v\n%s", m, err, after)
		}
		if seen[m.String()] {
			t.Errorf("twice: %s", m)
		}
		seen[m.String()] = true
	}
}

// TestFaultIsKnownByItsText: the text in the list names the place and the
// lines, and a line that moves keeps it.
func TestFaultIsKnownByItsText(t *testing.T) {
	t.Parallel()
	const want = "p/p.go at\n- const at = 12 // bytes\n+ const at = 13 // bytes"
	for _, src := range []string{sample, strings.Replace(sample, "const", "\n\n// at is a place.\nconst", 1)} {
		found, err := faultsIn("p/p.go", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(found, func(m mutant) bool { return m.String() == want }) {
			t.Errorf("missing:\n%s", want)
		}
	}
}

// TestSampleIsMixedAndSteady: the first of a sample are of all kinds, the same
// each time, others for another seed; and a new fault moves no other one.
func TestSampleIsMixedAndSteady(t *testing.T) {
	t.Parallel()
	found, err := faultsIn("p/p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	first := mixed(found, 1)
	kinds := map[string]bool{}
	for _, m := range first[:10] {
		kinds[m.kind] = true
	}
	if len(first) != len(found) || len(kinds) != 10 {
		t.Errorf("%d of %d faults, of which the first 10 are of the kinds %v", len(first), len(found), kinds)
	}
	backwards := slices.Clone(found)
	slices.Reverse(backwards)
	if !slices.Equal(first, mixed(backwards, 1)) || slices.Equal(first, mixed(found, 2)) {
		t.Error("the order depends on something else than the seed and the faults")
	}
}

func TestParseSurvivors(t *testing.T) {
	t.Parallel()
	got, err := parseSurvivors("# remark\n\na/b.go f\n- x < 1\n+ x <= 1\nnever 1,\nas f is called\n\n# remark\na/b.go g\n- y\n+ (nothing)\nonly faster\n")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a/b.go f\n- x < 1\n+ x <= 1": "never 1, as f is called",
		"a/b.go g\n- y\n+ (nothing)":  "only faster",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
	for _, wrong := range []string{"a\n- b\n+ c\n", "a\nb\nc\nd\n", "a\n- b\n+ c\nd\n\na\n- b\n+ c\nd\n"} {
		if _, err := parseSurvivors(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

// TestReport: what is not as the list says is an error, and so is a share of
// noticed faults that is too small.
func TestReport(t *testing.T) {
	t.Parallel()
	a, b := mutant{file: "p/a.go", before: "a", after: "b"}, mutant{file: "p/b.go", before: "a", after: "b"}
	noticed, not := verdict{outcome: killed, by: "p", took: time.Second}, verdict{outcome: survived}
	for _, test := range []struct {
		name   string
		listed map[mutant]string
		a, b   verdict
		times  int // that b is tried
		errs   string
	}{
		{"all noticed", nil, noticed, noticed, 1, ""},
		{"not noticed and not listed", nil, not, noticed, 99, "1 are not as"},
		{"not noticed and listed", map[mutant]string{a: "rare"}, not, noticed, 99, ""},
		{"noticed and listed", map[mutant]string{a: "rare"}, noticed, noticed, 1, "1 are not as"},
		{"listed and gone", map[mutant]string{{file: "p/c.go"}: "rare"}, noticed, noticed, 1, "1 are not as"},
		{"listed, of another package", map[mutant]string{{file: "q/c.go"}: "rare"}, noticed, noticed, 1, ""},
		{"too few noticed", map[mutant]string{a: "rare"}, not, noticed, 9, "fewer than 95"},
		{"too few noticed, but the others change nothing", map[mutant]string{b: "same: only slower"}, verdict{outcome: killed}, not, 9, ""},
		{"none compiles", nil, verdict{outcome: senseless}, verdict{outcome: senseless}, 1, "no fault was tried"},
	} {
		var out bytes.Buffer
		r := &report{out: &out, listed: map[string]string{}}
		for m, reason := range test.listed {
			r.listed[m.String()] = reason
		}
		r.begin(target{pkg: "p"}, []mutant{a, b})
		r.add(a, test.a)
		for range test.times {
			r.add(b, test.b)
		}
		r.done()
		err := r.end()
		if (err == nil) != (test.errs == "") || err != nil && !strings.Contains(err.Error(), test.errs) {
			t.Errorf("%s: %v, want %q\n%s", test.name, err, test.errs, out.String())
		}
	}
}

// TestListedFaultsHaveATarget: no fault is on the list for ever because its
// file is not looked at any more.
func TestListedFaultsHaveATarget(t *testing.T) {
	t.Parallel()
	listed, err := readSurvivors("../..")
	if err != nil {
		t.Fatal(err)
	}
	for fault := range listed {
		if !slices.ContainsFunc(targets, func(of target) bool { return of.has(fault) }) {
			t.Errorf("in no target: %s", fault)
		}
	}
}

// TestJudgesRun: the tests that targets name are there under these names, and so are
// the files.
func TestJudgesRun(t *testing.T) {
	t.Parallel()
	const root = "../.."
	named := regexp.MustCompile(`^\^Test\(?([\w|]+)\)?\$$`)
	for _, of := range targets {
		for _, name := range slices.Concat(of.files, of.except) {
			if _, err := os.Stat(filepath.Join(root, of.pkg, name)); err != nil {
				t.Error(err)
			}
		}
		for _, j := range of.judges {
			names := named.FindStringSubmatch(j.run)
			if names == nil {
				continue
			}
			tests := testsOf(t, filepath.Join(root, j.pkg))
			for name := range strings.SplitSeq(names[1], "|") {
				if !slices.Contains(tests, "Test"+name) {
					t.Errorf("%s has no Test%s", j.pkg, name)
				}
			}
		}
	}
}

// testsOf are the names of the tests in a directory.
func testsOf(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files of tests, %v", dir, len(files), err)
	}
	var out []string
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllSubmatch(src, -1) {
			out = append(out, string(m[1]))
		}
	}
	return out
}
