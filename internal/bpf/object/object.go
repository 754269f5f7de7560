// Package object writes a program as a relocatable ELF object with type
// information (BTF), as loaders of eBPF programs read it.
package object

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"repacket/internal/bpf/assembler"
)

// Map is the map that a program loads by its descriptor; loaders make it.
type Map struct {
	Type       int // as linux/bpf.h has it
	Entries    int
	Key, Value btf.Type
}

const (
	license    = "Dual MIT/GPL\x00"
	writable   = elf.SHF_ALLOC | elf.SHF_WRITE
	executable = elf.SHF_ALLOC | elf.SHF_EXECINSTR
	// textSection is where loaders want functions, mapsSection where they look for
	// the definitions of maps.
	textSection = ".text"
	mapsSection = ".maps"
)

// Write is the object of a program: its instructions in the named section,
// functions in .text, the definition of its map, types, the license. The notes
// stand in it as lines of source, which bpftool shows. A program that reads
// values of maps cannot be written: only a running one is bound to them.
func Write(p *assembler.Program, section string, m Map) ([]byte, error) {
	f := &file{names: newStringTable()}
	if err := f.code(p, section); err != nil {
		return nil, err
	}
	f.section("license", writable, []byte(license))
	f.symbol("LICENSE", elf.STB_GLOBAL, elf.STT_OBJECT, 0, len(license))
	f.section(mapsSection, writable, make([]byte, mapSize))
	f.symbol(p.MapName, elf.STB_GLOBAL, elf.STT_OBJECT, 0, mapSize)
	types, extended, err := typeInfo(p, section, m)
	if err != nil {
		return nil, err
	}
	f.section(".BTF", 0, types)
	f.section(".BTF.ext", 0, extended)
	return f.bytes(section), nil
}

// code adds the instructions of the program itself, and those of its functions.
func (f *file) code(p *assembler.Program, section string) error {
	var raw bytes.Buffer
	if err := slices.Clone(p.Instructions).Marshal(&raw, binary.LittleEndian); err != nil {
		return err
	}
	code, at, starts := raw.Bytes(), p.Offsets(), map[string]int{} // of functions, in .text
	end := len(code)
	if len(p.Functions) > 0 {
		end = at[p.Functions[0].At] * asm.InstructionSize
		f.section(textSection, executable, code[end:])
		f.symbol("", elf.STB_LOCAL, elf.STT_SECTION, 0, 0)
		for i, function := range p.Functions {
			next := len(p.Instructions)
			if i+1 < len(p.Functions) {
				next = p.Functions[i+1].At
			}
			start := at[function.At] * asm.InstructionSize
			starts[function.Type.Name] = start - end
			f.symbol(function.Type.Name, elf.STB_LOCAL, elf.STT_FUNC, start-end, at[next]*asm.InstructionSize-start)
		}
	}
	for i, ins := range p.Instructions {
		if !ins.OpCode.IsDWordLoad() || ins.Src == asm.R0 {
			continue
		}
		// The address that is loaded is cleared, and a relocation says what it is the
		// address of: of a function, the section and the offset in it.
		const registers, constant = 1, 4 // places in an instruction; the source stands in the upper half
		off, symbol, value := at[i]*asm.InstructionSize, p.MapName, 0
		switch ins.Src {
		case asm.PseudoMapFD:
		case asm.PseudoFunc:
			symbol, value = "", starts[ins.Reference()]
		default:
			return errors.New("it has a limit or a deadline, which only a running program can be bound to")
		}
		code[off+registers] &= 0x0f
		binary.LittleEndian.PutUint32(code[off+constant:], uint32(value))
		f.relocations = append(f.relocations, relocation{off, symbol})
	}
	f.section(section, executable, code[:end])
	f.symbol(p.Name, elf.STB_GLOBAL, elf.STT_FUNC, 0, end)
	return nil
}
