package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

// followed is what a suite says of the lines of go test -json.
func followed(lines ...string) (*suite, string) {
	var out strings.Builder
	s := &suite{out: &out, began: time.Now(), ended: time.Now(), beat: time.Hour, expected: map[string]float64{"a": 120, "b": 60}, left: 180}
	s.follow(strings.NewReader(strings.Join(lines, "\n")))
	return s, out.String()
}

func TestFiguresAndPackagesAreShown(t *testing.T) {
	t.Parallel()
	s, out := followed(
		`{"Action":"output","Package":"repacket/a","Test":"TestX","Output":"    x_test.go:5: figure: 12 matches of 3 fields\n"}`,
		`{"Action":"output","Package":"repacket/a","Test":"TestX","Output":"noise\n"}`,
		`{"Action":"pass","Package":"repacket/a","Test":"TestX"}`,
		`{"Action":"pass","Package":"repacket/a","Test":"TestX/sub"}`,
		`{"Action":"pass","Package":"repacket/a","Elapsed":7.2}`,
	)
	want := "  12 matches of 3 fields\n  ok a, 7 s (about 1 min left)\n"
	if out != want {
		t.Errorf("it says\n%s\nwant\n%s", out, want)
	}
	if s.passed != 2 || s.failed != 0 || s.skipped != 0 || s.packages != 1 {
		t.Errorf("counted %+v", s)
	}
}

// What failed is shown whole, what passed is not; a skip is told and counted.
func TestFailuresAndSkipsAreShown(t *testing.T) {
	t.Parallel()
	s, out := followed(
		`{"Action":"output","Package":"repacket/a","Test":"TestGood","Output":"good\n"}`,
		`{"Action":"pass","Package":"repacket/a","Test":"TestGood"}`,
		`{"Action":"output","Package":"repacket/a","Test":"TestBad","Output":"why\n"}`,
		`{"Action":"fail","Package":"repacket/a","Test":"TestBad"}`,
		`{"Action":"output","Package":"repacket/a","Test":"TestNot","Output":"no clang\n"}`,
		`{"Action":"skip","Package":"repacket/a","Test":"TestNot"}`,
		`a line of the compiler`,
		`{"Action":"fail","Package":"repacket/a","Elapsed":1}`,
	)
	want := "  FAIL a TestBad\nwhy\n  SKIPPED a TestNot\nno clang\na line of the compiler\n  FAIL a \n"
	if out != want {
		t.Errorf("it says\n%s\nwant\n%s", out, want)
	}
	if s.passed != 1 || s.failed != 1 || s.skipped != 1 {
		t.Errorf("counted %+v", s)
	}
}

// The suite is never silent for longer than its beat.
func TestSilenceIsBroken(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	said := make(chan string, 1)
	s := &suite{out: writerFunc(func(b []byte) {
		select {
		case said <- string(b):
		default:
		}
	}), began: time.Now(), ended: time.Now(), beat: time.Millisecond, left: 120}
	ended := make(chan struct{})
	go func() { s.follow(r); close(ended) }()
	if got, want := <-said, "  … 0 passed (about 2 min left)\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	w.Close()
	<-ended
}

type writerFunc func(b []byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }
