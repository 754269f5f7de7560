package testnet

import (
	"fmt"

	"repacket/internal/lab"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Tagging puts VLAN tags on all that leaves an interface.
type Tagging struct {
	program *ebpf.Program
	hook    *tcHook
}

// PushVLAN tags all that leaves the interface of that name in the namespace,
// with the tags in their order on the wire. The outer tag travels beside the
// frame, as a device with VLAN offload would leave it; with TxVLAN (TxSVLAN)
// off, in it.
func PushVLAN(ns *lab.Namespace, name string, tags ...Tag) (*Tagging, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "lab_push_vlan", Type: ebpf.SchedCLS, License: "MIT",
		Instructions: pushProgram(tags),
	})
	if err != nil {
		return nil, fmt.Errorf("tag what leaves %s: %w", name, err)
	}
	hook, err := attachTC(ns, name, program, Out)
	if err != nil {
		program.Close()
		return nil, fmt.Errorf("tag what leaves %s: %w", name, err)
	}
	return &Tagging{program, hook}, nil
}

// pushProgram drops a packet that cannot be tagged.
func pushProgram(tags []Tag) asm.Instructions {
	const drop = 2 // TC_ACT_SHOT
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	for i := len(tags) - 1; i >= 0; i-- {
		code = append(code,
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, int32(bigEndian(tags[i].TPID))),
			asm.Mov.Imm(asm.R3, int32(tags[i].TCI)),
			asm.FnSkbVlanPush.Call(),
			asm.JNE.Imm(asm.R0, 0, "drop"))
	}
	code = append(code, asm.Mov.Imm(asm.R0, nextProgram), asm.Return())
	if len(tags) > 0 {
		code = append(code, asm.Mov.Imm(asm.R0, drop).WithSymbol("drop"), asm.Return())
	}
	return code
}

// Close lets frames leave as they are again.
func (t *Tagging) Close() error {
	err := t.hook.Close()
	t.program.Close()
	return err
}
