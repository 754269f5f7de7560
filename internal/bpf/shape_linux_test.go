package bpf_test

import (
	"testing"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/plan"
)

func compiled(t *testing.T, text string) asm.Instructions {
	t.Helper()
	ins, err := bpf.Compile(plan.Build(checked(t, text), field.Ethernet), bpf.Options{})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return ins
}

// TestShort counts by hand what a condition or an action takes in addition to the
// program without it. Every packet pays for each instruction.
func TestShort(t *testing.T) {
	for _, test := range []struct {
		without, with string
		more          int
	}{
		// Load and compare.
		{"if udp", "if udp_dest 443", 2},
		{"if udp", "if udp_src 5 udp_dest 6", 2},
		// A comparison for each value.
		{"if udp", "if udp_dest 53,443", 3},
		{"if udp", "if udp_dest ne 53,443", 3},
		// Load, swap, a comparison for each end that is not the field's own.
		{"if udp", "if udp_dest 8000-8099", 4},
		{"if udp", "if udp_dest ge 8000", 3},
		{"if udp", "if udp_dest le 100", 3},
		// A prefix is compared like a value, by the bytes that it has.
		{"if ip", "if ip_src 10.20.0.0/16", 2},
		// Load, swap, above or in the upper range, equal to the lower, and two jumps.
		{"if udp", "if udp_dest 443,8000-8099", 7},
		// The same, and the upper range reaches to the top: neither above nor its jump.
		{"if udp", "if udp_dest 443,8000-65535", 4},
		// Load and test the bits; if they have to be on, a jump.
		{"if tcp", "if tcp_syn off", 2},
		{"if tcp", "if tcp_syn off tcp_fin off", 2},
		{"if tcp", "if tcp_syn on", 3},
		// Load, mask and compare.
		{"if tcp", "if tcp_syn on tcp_ack on", 3},
		{"if ip", "if ip_dscp 46", 3},
		// Load and compare twice.
		{"if udp", "if udp_dest 53 or udp_src 53", 4},
		// The value is still there: compare, leave the rule's number, jump.
		{"if udp_dest 53", "if udp_dest 53 else if udp_dest 54", 3},
		// One and two stores.
		{"if udp", "if udp then udp_check 5", 1},
		{"if udp", "if udp then udp_src 7 udp_dest 8 udp_len 9 udp_check 0", 2},
		{"if ip", "if ip then ip_check 5 ip_ttl 64", 2},
		// Load, mask out, put in, store; all off or all on is one less.
		{"if ip", "if ip then ip_check 5 ip_dscp 1", 5},
		{"if ip", "if ip then ip_check 5 ip_dscp 0", 4},
		{"if ip", "if ip then ip_check 5 ip_dscp 63", 4},
		// Load, add, borrow in 3, store; store.
		{"if ip_ttl 63", "if ip_ttl 63 then ip_ttl 64", 7},
		// Load, is it that already, negate, start, fold in 4; load, subtract, borrow in 3, store; store.
		{"if ip", "if ip then ip_ttl 64", 15},
		// The same, and a shift: the byte is the lower of its word.
		{"if ip", "if ip then ip_tos 64", 16},
		// The old value of a bit is known once it is compared, which takes a jump
		// more; load, add, borrow in 3, store; load, mask out, store.
		{"if ip", "if ip then ip_flag_df off", 12},
		// Load, is there one, add, fold the last carry in 3, store; store.
		{"if udp_dest 53", "if udp_dest 53 then udp_dest 5353", 8},
		// The same, with the old value's load, its addition and a fold in 4.
		{"if udp", "if udp then udp_dest 8080", 14},
	} {
		without, with := len(compiled(t, test.without)), len(compiled(t, test.with))
		if with-without != test.more {
			t.Errorf("%q takes %d instructions, %d more than %q; want %d more", test.with, with, with-without, test.without, test.more)
		}
	}
}

// TestFirstGuard: where only layer 4 is asked for, its header is asked for at
// once, so that most packets need one guard.
func TestFirstGuard(t *testing.T) {
	for text, want := range map[string]int64{
		"if udp":                  14 + 20 + 8,
		"if tcp":                  14 + 20 + 20,
		"if tcp else if icmp":     14 + 20 + 8,
		"if udp else if ip":       14 + 20 + 8,
		"if udp else if not ip":   14 + 20 + 8,
		"if ip_ttl 9 else if all": 14 + 20,
	} {
		got := int64(-1)
		for _, i := range compiled(t, text) {
			if i.OpCode.ALUOp() == asm.Add && i.OpCode.Source() == asm.ImmSource {
				got = i.Constant
				break
			}
		}
		if got != want {
			t.Errorf("%s: the first guard asks for %d bytes, want %d", text, got, want)
		}
	}
}

// TestJumps: no jump goes to the next instruction, and nothing else names a
// place, but for a function's address.
func TestJumps(t *testing.T) {
	for _, test := range proved {
		ins := compiled(t, test.text)
		for i, next := range ins[1:] {
			here := ins[i]
			switch r := here.Reference(); {
			case r == "" || here.Src == asm.PseudoFunc:
			case !here.OpCode.Class().IsJump():
				t.Errorf("%s: instruction %d, %v, names a place", test.name, i, here)
			case here.OpCode.JumpOp() == asm.Ja && r == next.Symbol():
				t.Errorf("%s: instruction %d jumps to the next", test.name, i)
			}
		}
	}
}
