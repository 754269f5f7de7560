package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"repacket/test/kernels/job"
)

// record is a listener that writes down what it is told.
type record []string

func (r *record) release(name string) { *r = append(*r, "release "+name) }
func (r *record) begin(pkg string)    { *r = append(*r, "begin "+pkg) }
func (r *record) output(line string)  { *r = append(*r, fmt.Sprintf("output %q", line)) }
func (r *record) end(result string)   { *r = append(*r, "end "+result) }

func TestListen(t *testing.T) {
	t.Parallel()
	const good = "\x01release 6.1.0-9\n\x01begin a\nPASS\n\x01end exit status 1\n"
	told := []string{"release 6.1.0-9", "begin a", `output "PASS\n"`, "end exit status 1"}
	for _, c := range []struct{ text, err string }{
		{good + "\x01done\n", ""},
		{good, "the virtual machine ended before its tests did"},
		{good + "\x01done", "the virtual machine ended before its tests did"}, // cut off
		{good + "\x01broken load /a.ko: file exists\n", "in the virtual machine: load /a.ko: file exists"},
	} {
		var got record
		err := listen(t.Context(), strings.NewReader(c.text), nil, &got)
		if !slices.Equal(got, told) {
			t.Errorf("%q: told %q, want %q", c.text, got, told)
		}
		if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%q: error %v, want %q", c.text, err, c.err)
		}
	}
}

// TestListenCompiles: a compilation is answered with one line, which has what
// clang wrote.
func TestListenCompiles(t *testing.T) {
	t.Parallel()
	var answer bytes.Buffer
	text := "\x01compile " + `{"Args":["-c","a.c","-o","a.o"],"Files":{"a.c":"aW50IHg7"}}` + "\n\x01done\n" // int x;
	if err := listen(t.Context(), strings.NewReader(text), &answer, &record{}); err != nil {
		t.Fatal(err)
	}
	var got job.Compiled
	if err := json.Unmarshal(answer.Bytes(), &got); err != nil || strings.Count(answer.String(), "\n") != 1 {
		t.Fatalf("answered %q, %v", answer.String(), err)
	}
	if got.Status != 0 || len(got.Files) != 1 || !bytes.HasPrefix(got.Files["a.o"], []byte("\x7fELF")) {
		t.Errorf("compiled: %+v", got)
	}
}

// TestListenCompilesInAFolder: nothing outside is written.
func TestListenCompilesInAFolder(t *testing.T) {
	t.Parallel()
	text := "\x01compile " + `{"Files":{"../a.c":""}}` + "\n\x01done\n"
	if err := listen(t.Context(), strings.NewReader(text), &bytes.Buffer{}, &record{}); err == nil {
		t.Error("a file outside is no error")
	}
}

func TestConsoleFault(t *testing.T) {
	t.Parallel()
	console := filepath.Join(t.TempDir(), "console")
	for text, want := range map[string]string{
		"[    1.0] Spectre V1 : Mitigation\n[    2.0] Warning: unmaintained\n":        "",
		"[    1.0] a\n[    2.0] Kernel panic - not syncing: Oops\n[   3.0] b\n":       "the kernel said: [    2.0] Kernel panic - not syncing: Oops",
		"[    1.0] WARNING: CPU: 0 PID: 7 at net/core/dev.c:1 f+0x1/0x2\n":            "the kernel said: [    1.0] WARNING: CPU: 0 PID: 7",
		"[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000010\n": "the kernel said: [    1.0] BUG: kernel NULL",
	} {
		if err := os.WriteFile(console, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := consoleFault(console)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
