package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// ELF writes the program as a relocatable object that loaders read: the
// instructions in section xdp or xdp.frags, the definition of the counters'
// map for so many rules, type information, the license. The notes stand in it
// as lines of source, which bpftool shows. A program that is bound to a limit
// or a deadline cannot be written.
func (p *Program) ELF(rules int) ([]byte, error) {
	o := &object{names: newStringTable()}
	if err := p.code(o); err != nil {
		return nil, fmt.Errorf("write the object: %w", err)
	}
	const license = "Dual MIT/GPL\x00"
	const writable = elf.SHF_ALLOC | elf.SHF_WRITE
	o.bits("license", writable, []byte(license))
	o.symbol("LICENSE", elf.STB_GLOBAL, elf.STT_OBJECT, len(license))
	o.bits(mapsSection, writable, make([]byte, mapSize))
	o.symbol(CountersName, elf.STB_GLOBAL, elf.STT_OBJECT, mapSize)
	types, extended, err := p.typeInfo(rules)
	if err != nil {
		return nil, fmt.Errorf("write the object: %w", err)
	}
	o.bits(".BTF", 0, types)
	o.bits(".BTF.ext", 0, extended)
	o.tables(p.sectionName())
	return o.bytes(), nil
}

// sectionName is what loaders know the kind of the program by.
func (p *Program) sectionName() string {
	if p.fragments {
		return "xdp.frags"
	}
	return "xdp"
}

// code adds the instructions: those of the program itself, and those of its
// functions, which loaders want in .text.
func (p *Program) code(o *object) error {
	var raw bytes.Buffer
	if err := slices.Clone(p.Instructions).Marshal(&raw, binary.LittleEndian); err != nil {
		return err
	}
	at := newLister(p.Instructions).at
	for i, ins := range p.Instructions {
		if ins.OpCode.IsDWordLoad() && ins.Src != asm.R0 {
			if err := o.relocate(raw.Bytes(), at[i]*asm.InstructionSize, ins, p.inText(ins.Reference())); err != nil {
				return err
			}
		}
	}
	const executable = elf.SHF_ALLOC | elf.SHF_EXECINSTR
	program := raw.Bytes()
	if len(p.functions) > 0 {
		end := at[p.functions[0].at] * asm.InstructionSize
		o.bits(".text", executable, program[end:])
		o.symbol("", elf.STB_LOCAL, elf.STT_SECTION, 0)
		for i, f := range p.functions {
			last := len(program)
			if i+1 < len(p.functions) {
				last = at[p.functions[i+1].at] * asm.InstructionSize
			}
			o.symbolAt(f.name, elf.STB_LOCAL, elf.STT_FUNC, at[f.at]*asm.InstructionSize-end, last-at[f.at]*asm.InstructionSize)
		}
		program = program[:end]
	}
	o.bits(p.sectionName(), executable, program)
	o.symbol(ProgramName, elf.STB_GLOBAL, elf.STT_FUNC, len(program))
	return nil
}

// inText is how far into .text the function of a name begins, in bytes.
func (p *Program) inText(name string) uint32 {
	at := newLister(p.Instructions).at
	for _, f := range p.functions {
		if f.name == name {
			return uint32(at[f.at]-at[p.functions[0].at]) * asm.InstructionSize
		}
	}
	return 0
}

// relocate clears the address that the instruction at an offset loads, and
// notes what it is the address of: of a function, the section and the offset
// in it.
func (o *object) relocate(raw []byte, off int, ins asm.Instruction, inText uint32) error {
	const registers, constant = 1, 4 // places in an instruction; the source stands in the upper half
	raw[off+registers] &= 0x0f
	clear(raw[off+constant:][:4])
	switch ins.Src {
	case asm.PseudoMapFD:
		o.relocations = append(o.relocations, relocation{off, CountersName})
	case asm.PseudoFunc:
		binary.LittleEndian.PutUint32(raw[off+constant:], inText)
		o.relocations = append(o.relocations, relocation{off, ""})
	default:
		return errors.New("it has a limit or a deadline, which only a running program can be bound to")
	}
	return nil
}
