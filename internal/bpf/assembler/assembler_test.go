package assembler

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// TestAssembler holds what becomes of labels and jumps: each program is what a
// person would write down.
func TestAssembler(t *testing.T) {
	one, two := asm.Mov.Imm(asm.R0, 1), asm.Mov.Imm(asm.R0, 2)
	for name, test := range map[string]struct {
		emit func(a *Assembler)
		want string
	}{
		"a jump forward": {func(a *Assembler) {
			l := a.NewLabel()
			a.Emit(one)
			a.Jump(l, asm.JEq.Imm(asm.R1, 7, ""))
			a.Emit(two)
			a.Bind(l)
			a.Exit()
		}, "r0 = 1; if r1 == 0x7 goto 3; r0 = 2; exit"},
		"a jump to the next instruction is left out": {func(a *Assembler) {
			l := a.NewLabel()
			a.Emit(one)
			a.Goto(l)
			a.Bind(l)
			a.Exit()
		}, "r0 = 1; exit"},
		"and what jumps to that one goes on": {func(a *Assembler) {
			l, m := a.NewLabel(), a.NewLabel()
			a.Jump(l, asm.JEq.Imm(asm.R1, 7, ""))
			a.Emit(one)
			a.Bind(l)
			a.Goto(m)
			a.Bind(m)
			a.Exit()
		}, "if r1 == 0x7 goto 2; r0 = 1; exit"},
		"what nothing comes to is left out": {func(a *Assembler) {
			a.Emit(one)
			a.Exit()
			a.Emit(two)
			a.Jump(a.NewLabel(), asm.JEq.Imm(asm.R1, 7, ""))
		}, "r0 = 1; exit"},
		"a loop": {func(a *Assembler) {
			l := a.NewLabel()
			a.BindLoop(l)
			a.Emit(one)
			a.Jump(l, asm.JNE.Imm(asm.R1, 0, ""))
			a.Exit()
		}, "r0 = 1; if r1 != 0x0 goto 0; exit"},
		"loads of 64 bits count twice": {func(a *Assembler) {
			l := a.NewLabel()
			a.Jump(l, asm.JNE.Imm32(asm.R1, 0, ""))
			a.Emit(asm.LoadImm(asm.R2, 9, asm.DWord), StoreLong(asm.R10, -8, 3))
			a.Bind(l)
			a.Exit()
		}, "if w1 != 0x0 goto 4; r2 = 0x9 ll; *(u64 *)(r10 -8) = 3; exit"},
		"what a jump leaves out": {func(a *Assembler) {
			a.SkipIf(asm.JEq.Imm(asm.R1, 7, ""), func() { a.Emit(one, two) })
			a.Exit()
		}, "if r1 == 0x7 goto 3; r0 = 1; r0 = 2; exit"},
		"a compare and exchange, and a call of a function": {func(a *Assembler) {
			a.Emit(CompareExchange(asm.R7, asm.R1))
			a.CallFunction("find", Reg(asm.R6), Imm(1))
			a.Exit()
		}, "r0 = atomic_cmpxchg((u32 *)(r7 +0), r0, r1); r1 = r6; r2 = 1; call find; exit"},
		"a call": {func(a *Assembler) {
			a.Call(asm.FnSkbLoadBytes, Reg(asm.R6), Sum(Memory(asm.R10, -8), 2), Stack(-16), Reg(asm.R4))
			a.Exit()
		}, "r1 = r6; r2 = *(u64 *)(r10 -8); r2 += 2; r3 = r10; r3 += -16; call bpf_skb_load_bytes; exit"},
	} {
		a := New("p", "m")
		test.emit(a)
		var got []string
		for _, line := range strings.Split(strings.TrimSpace(a.Finish().Disassemble(nil)), "\n") {
			_, text, _ := strings.Cut(line, ": ")
			text, _, _ = strings.Cut(text, ";")
			got = append(got, strings.TrimSpace(text))
		}
		if text := strings.Join(got, "; "); text != test.want {
			t.Errorf("%s:\n  %s\nwant\n  %s", name, text, test.want)
		}
	}
}

// TestKnown: what is noted of the registers holds behind a label if it does on
// each way there.
func TestKnown(t *testing.T) {
	jump := asm.JEq.Imm(asm.R1, 7, "")
	for _, test := range []struct {
		atJump, fallsThrough, want any
		loop                       bool
	}{
		{"a", "a", "a", false},
		{"a", "b", nil, false},
		{"a", nil, nil, false},
		{nil, "a", nil, false},
		{"a", "a", nil, true},
	} {
		a := New("p", "m")
		l := a.NewLabel()
		a.Note(test.atJump)
		a.Jump(l, jump)
		a.Note(test.fallsThrough)
		a.Emit(asm.Mov.Imm(asm.R2, 0))
		if test.loop {
			a.BindLoop(l)
		} else {
			a.Bind(l)
		}
		if got := a.Known(); got != test.want {
			t.Errorf("%+v: known is %v", test, got)
		}
	}
	a := New("p", "m")
	l := a.NewLabel()
	a.Note("a")
	a.Jump(l, jump)
	a.Note("b")
	a.Exit()
	a.Bind(l) // by the jump alone
	if got := a.Known(); got != "a" {
		t.Errorf("behind a label that is only jumped to, known is %v, want a", got)
	}
}

// TestNotes: each instruction is listed with what was said last, once, behind the rule that it
// belongs to.
func TestNotes(t *testing.T) {
	a := New("p", "m")
	a.About("start")
	a.Emit(asm.Mov.Imm(asm.R0, 1), asm.Mov.Imm(asm.R0, 2))
	a.ForRule(1)
	a.About("udp_dest 53")
	a.Emit(asm.Mov.Imm(asm.R0, 3))
	a.About("drop")
	a.Emit(asm.Mov.Imm(asm.R0, 4))
	a.ForRule(NoRule)
	a.Exit()
	var want strings.Builder
	for _, line := range [][2]string{{"    0: r0 = 1", "start"}, {"    1: r0 = 2"}, {}, {"; if udp_dest 53 then drop"}, {"    2: r0 = 3", "udp_dest 53"}, {"    3: r0 = 4", "drop"}, {}, {"    4: exit", "drop"}} {
		if line[1] != "" {
			line[0] = fmt.Sprintf("%-50s ; %s", line[0], line[1])
		}
		want.WriteString(line[0] + "\n")
	}
	if diff := cmp.Diff(want.String(), a.Finish().Disassemble([]string{"if udp", "if udp_dest 53 then drop"})); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
}

// TestFunctionTypes: a function for Loop is a callback of bpf_loop,
// long (*callback_fn)(u32 index, void *ctx) in bpf-helpers(7), and one for Invoke has registers
// of 64 bits alone.
func TestFunctionTypes(t *testing.T) {
	for _, test := range []struct {
		is   *btf.Func
		want []int // bytes of the result and of the parameters
	}{
		{LoopFunction("f"), []int{8, 4, 8}},
		{PlainFunction("f", "a", "b"), []int{8, 8, 8}},
	} {
		of := test.is.Type.(*btf.FuncProto)
		list := []btf.Type{of.Return}
		for _, p := range of.Params {
			list = append(list, p.Type)
		}
		var got []int
		for _, is := range list {
			size, err := btf.Sizeof(is)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, size)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("result and parameters take %v bytes, want %v", got, test.want)
		}
	}
}
