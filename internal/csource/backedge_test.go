package csource

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/test/rulegen"
)

// fallsBack finds an instruction from which a program falls back into one that
// it is already in the middle of: a loop that closes without a jump. Linux 6.1
// rejects that ("back-edge from insn", check_cfg in kernel/bpf/verifier.c), and
// clang lays loops out so where it likes to.
func fallsBack(insns asm.Instructions) error {
	at := map[asm.RawInstructionOffset]asm.Instruction{}
	var starts []asm.RawInstructionOffset
	for it := insns.Iterate(); it.Next(); {
		at[it.Offset] = *it.Ins
		if it.Ins.Symbol() != "" {
			starts = append(starts, it.Offset)
		}
	}
	const inside, done = 1, 2
	state := map[asm.RawInstructionOffset]int{}
	var visit func(from asm.RawInstructionOffset) error
	follow := func(from, to asm.RawInstructionOffset, byJump bool) error {
		switch {
		case state[to] == inside && !byJump:
			return fmt.Errorf("back-edge from insn %d to %d, which is no jump: %v", from, to, at[from])
		case state[to] == 0:
			return visit(to)
		}
		return nil
	}
	visit = func(from asm.RawInstructionOffset) error {
		state[from] = inside
		defer func() { state[from] = done }()
		ins := at[from]
		next := from + asm.RawInstructionOffset(ins.Size()/asm.InstructionSize)
		op := ins.OpCode.JumpOp()
		jumps := ins.OpCode.Class().IsJump() && op != asm.Call
		if jumps && op == asm.Exit {
			return nil
		}
		if !jumps || op != asm.Ja {
			if err := follow(from, next, jumps); err != nil {
				return err
			}
		}
		if jumps {
			return follow(from, next+asm.RawInstructionOffset(ins.Offset), true)
		}
		return nil
	}
	for _, s := range starts {
		if err := visit(s); err != nil {
			return err
		}
	}
	return nil
}

// TestLoopsClose: what clang makes is laid out so that Linux 6.1 takes it.
func TestLoopsClose(t *testing.T) {
	r := rand.New(rand.NewPCG(*seed, 5))
	texts := append([]string{}, found...)
	for _, list := range []map[string]string{golden, goldenAtTC} {
		for _, text := range list {
			texts = append(texts, text)
		}
	}
	for range *programs / 2 {
		texts = append(texts, rulegen.Program(r))
	}
	for i, text := range texts {
		p, err := rule.Check(text)
		if err != nil {
			continue
		}
		o := Options{Hook: Hook(i % 2), Fragments: i%4 < 2, Interfaces: map[string]int{elsewhere: 9, "eth1": 3}}
		source := Print(p, plan.Build(p, field.Ethernet), o)
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object(t, source)))
		if err != nil {
			t.Fatal(err)
		}
		if err := fallsBack(spec.Programs[ProgramName].Instructions); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
