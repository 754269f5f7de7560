package object

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
)

// file is an ELF file in the making.
type file struct {
	sections    []section // section 0, which is empty, aside
	names       *stringTable
	symbols     []elf.Sym64 // local ones first
	relocations []relocation
}

type section struct {
	elf.Section64
	name string
	data []byte
}

// relocation is a place in the program that a loader fills in.
type relocation struct {
	off    int
	symbol string // "" is that of a section
}

// section adds a section of a program's own.
func (f *file) section(name string, flags elf.SectionFlag, data []byte) {
	f.sections = append(f.sections, section{elf.Section64{Type: uint32(elf.SHT_PROGBITS), Flags: uint64(flags)}, name, data})
}

// symbol names a place in the section that was added last.
func (f *file) symbol(name string, bind elf.SymBind, kind elf.SymType, at, size int) {
	f.symbols = append(f.symbols, elf.Sym64{
		Name: f.names.add(name), Info: elf.ST_INFO(bind, kind), Shndx: uint16(len(f.sections)), Value: uint64(at), Size: uint64(size),
	})
}

// bytes is the file: header, sections, table of sections. To the sections it
// adds the relocations of the program's, the symbols and the names. Everything
// begins at a multiple of eight bytes.
func (f *file) bytes(program string) []byte {
	const headerSize, align, relocationType = 64, 8, 1 // R_BPF_64_64: the address in a load of 64 bits
	symbols := append([]elf.Sym64{{}}, f.symbols...)
	isGlobal := func(s elf.Sym64) bool { return elf.ST_BIND(s.Info) == elf.STB_GLOBAL }
	var relocations []elf.Rel64
	for _, r := range f.relocations {
		name := f.names.add(r.symbol)
		symbol := 1 + slices.IndexFunc(symbols[1:], func(s elf.Sym64) bool { return s.Name == name })
		relocations = append(relocations, elf.Rel64{Off: uint64(r.off), Info: elf.R_INFO(uint32(symbol), relocationType)})
	}
	number := 1 + slices.IndexFunc(f.sections, func(s section) bool { return s.name == program })
	names := uint32(len(f.sections) + 3)
	f.sections = append(f.sections,
		section{elf.Section64{Type: uint32(elf.SHT_REL), Link: names - 1, Info: uint32(number), Entsize: 16}, ".rel" + program, encode(relocations)},
		section{elf.Section64{Type: uint32(elf.SHT_SYMTAB), Link: names, Info: uint32(slices.IndexFunc(symbols, isGlobal)), Entsize: elf.Sym64Size}, ".symtab", encode(symbols)},
		section{elf.Section64{Type: uint32(elf.SHT_STRTAB)}, ".strtab", nil},
	)
	for i := range f.sections {
		f.sections[i].Name = f.names.add(f.sections[i].name)
	}
	f.sections[names-1].data = f.names.data
	headers := []elf.Section64{{}}
	var body bytes.Buffer
	for _, s := range f.sections {
		s.Off, s.Size, s.Addralign = uint64(headerSize+body.Len()), uint64(len(s.data)), align
		headers = append(headers, s.Section64)
		body.Write(s.data)
		body.Write(make([]byte, -len(s.data)&(align-1)))
	}
	head := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_BPF), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(headerSize + body.Len()), Ehsize: headerSize,
		Shentsize: uint16(binary.Size(elf.Section64{})), Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1),
	}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS], head.Ident[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	head.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	return slices.Concat(encode(head), body.Bytes(), encode(headers))
}

// stringTable is a table of strings that end with a zero byte; places in it
// stand for them.
type stringTable struct {
	data  []byte
	known map[string]uint32
}

func newStringTable() *stringTable {
	return &stringTable{data: []byte{0}, known: map[string]uint32{"": 0}}
}

// add is the place of a string.
func (t *stringTable) add(s string) uint32 {
	if _, ok := t.known[s]; !ok {
		t.known[s] = uint32(len(t.data))
		t.data = append(append(t.data, s...), 0)
	}
	return t.known[s]
}

// encode writes values of fixed size as they stand in a file.
func encode(v any) []byte {
	out, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic("object: " + err.Error()) // a type without a fixed size
	}
	return out
}
