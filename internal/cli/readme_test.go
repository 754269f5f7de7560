package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestReadmeCheck: what the README shows of check is what check says.
func TestReadmeCheck(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, ok := strings.Cut(string(page), "$ repacket check ")
	if !ok {
		t.Fatal("the README shows no check")
	}
	words, want, _ := strings.Cut(shown, "\n")
	want, _, _ = strings.Cut(want, "```")
	var out, errs bytes.Buffer
	env := System()
	env.Args = append([]string{"check"}, strings.Fields(words)...)
	env.Stdout, env.Stderr = &out, &errs
	if status := Run(env); status != 0 || errs.Len() > 0 {
		t.Errorf("check ends with %d: %s", status, errs.String())
	}
	if out.String() != want {
		t.Errorf("check says\n%s, the README\n%s", out.String(), want)
	}
}
