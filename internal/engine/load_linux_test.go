package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// loads notes how the kernel is asked to load programs while a test runs.
func loads(t *testing.T) *[]ebpf.ProgramOptions {
	var asked []ebpf.ProgramOptions
	was := newProgram
	newProgram = func(spec *ebpf.ProgramSpec, o ebpf.ProgramOptions) (*ebpf.Program, error) {
		asked = append(asked, o)
		return was(spec, o)
	}
	t.Cleanup(func() { newProgram = was })
	return &asked
}

// TestTooComplexIsAskedOnce: the verifier takes seconds to give up on these rules.
// It is asked once, and not again for a log.
func TestTooComplexIsAskedOnce(t *testing.T) {
	var text strings.Builder
	for i := range 165 {
		fmt.Fprintf(&text, "if tcp_mss %d ip_ttl lt %d then tcp_mss atmost %d tcp_check fix\n", 500+7*i, i+20, i+9)
	}
	asked := loads(t)
	_, err := Load(checked(t, text.String()), LoadOptions{Fragments: true})
	var complex *TooComplexError
	if !errors.As(err, &complex) {
		t.Errorf("got %v", err)
	}
	if want := []ebpf.ProgramOptions{{LogLevel: ebpf.LogLevelStats}}; !slices.EqualFunc(*asked, want, sameLog) {
		t.Errorf("asked %+v", *asked)
	}
}

func sameLog(a, b ebpf.ProgramOptions) bool {
	return a.LogDisabled == b.LogDisabled && a.LogLevel == b.LogLevel
}

// TestRefusalsAreExplained: a program that the verifier finds wrong is refused with
// its log; that takes asking once more.
func TestRefusalsAreExplained(t *testing.T) {
	asked := loads(t)
	_, err := loadProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: license,
		Instructions: asm.Instructions{asm.LoadMem(asm.R0, asm.R1, 0, asm.DWord), asm.LoadMem(asm.R0, asm.R0, 0, asm.Byte), asm.Return()},
	})
	var refusal *ebpf.VerifierError
	if !errors.As(err, &refusal) || !strings.Contains(strings.Join(refusal.Log, "\n"), "invalid") {
		t.Errorf("got %v", err)
	}
	if want := []ebpf.ProgramOptions{{LogLevel: ebpf.LogLevelStats}, {LogLevel: ebpf.LogLevelBranch}}; !slices.EqualFunc(*asked, want, sameLog) {
		t.Errorf("asked %+v", *asked)
	}
}
