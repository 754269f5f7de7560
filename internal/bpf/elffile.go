package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
)

// object is an ELF file in the making.
type object struct {
	sections      []section // section 0, which is empty, aside
	names         *stringTable
	local, global []elf.Sym64
	relocations   []relocation
}

// section is a section of an object.
type section struct {
	name       string
	kind       elf.SectionType
	flags      elf.SectionFlag
	link, info uint32
	entry      uint64 // the size of an entry, if it has such
	data       []byte
}

// relocation is a place in the program that a loader fills in.
type relocation struct {
	off    int
	symbol string // "" is that of a section
}

// bits adds a section of a program's own.
func (o *object) bits(name string, flags elf.SectionFlag, data []byte) {
	o.sections = append(o.sections, section{name: name, kind: elf.SHT_PROGBITS, flags: flags, data: data})
}

// symbol names the start of the section that was added last.
func (o *object) symbol(name string, bind elf.SymBind, kind elf.SymType, size int) {
	o.symbolAt(name, bind, kind, 0, size)
}

// symbolAt names a place in the section that was added last.
func (o *object) symbolAt(name string, bind elf.SymBind, kind elf.SymType, at, size int) {
	s := elf.Sym64{
		Name:  o.names.add(name),
		Info:  elf.ST_INFO(bind, kind),
		Shndx: uint16(len(o.sections)),
		Value: uint64(at),
		Size:  uint64(size),
	}
	if bind == elf.STB_LOCAL {
		o.local = append(o.local, s)
		return
	}
	o.global = append(o.global, s)
}

// relocationType is R_BPF_64_64: the address in a load of 64 bits.
const relocationType = 1

// tables adds the relocations of the program's section, the symbols and the
// names.
func (o *object) tables(program string) {
	symbols := slices.Concat([]elf.Sym64{{}}, o.local, o.global)
	names := uint32(len(o.sections) + 3)
	var relocations []elf.Rel64
	for _, r := range o.relocations {
		relocations = append(relocations, elf.Rel64{Off: uint64(r.off), Info: elf.R_INFO(o.find(symbols, r.symbol), relocationType)})
	}
	o.sections = append(o.sections,
		section{
			name: ".rel" + program, kind: elf.SHT_REL, link: names - 1, info: o.number(program),
			entry: 16, data: encode(relocations),
		},
		section{
			name: ".symtab", kind: elf.SHT_SYMTAB, link: names, info: uint32(1 + len(o.local)),
			entry: elf.Sym64Size, data: encode(symbols),
		},
		section{name: ".strtab", kind: elf.SHT_STRTAB},
	)
	for _, s := range o.sections {
		o.names.add(s.name)
	}
	o.sections[names-1].data = o.names.data
}

// find is the number of a symbol.
func (o *object) find(symbols []elf.Sym64, name string) uint32 {
	at := o.names.add(name)
	return uint32(1 + slices.IndexFunc(symbols[1:], func(s elf.Sym64) bool { return s.Name == at }))
}

// number is the number of a section.
func (o *object) number(name string) uint32 {
	return uint32(1 + slices.IndexFunc(o.sections, func(s section) bool { return s.name == name }))
}

// bytes is the file: header, sections, table of sections. Everything in it
// begins at a multiple of eight bytes.
func (o *object) bytes() []byte {
	const headerSize, align = 64, 8
	headers := []elf.Section64{{}}
	var body bytes.Buffer
	for _, s := range o.sections {
		headers = append(headers, elf.Section64{
			Name: o.names.add(s.name), Type: uint32(s.kind), Flags: uint64(s.flags),
			Off: uint64(headerSize + body.Len()), Size: uint64(len(s.data)),
			Link: s.link, Info: s.info, Addralign: align, Entsize: s.entry,
		})
		body.Write(s.data)
		body.Write(make([]byte, -len(s.data)&(align-1)))
	}
	head := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_BPF), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(headerSize + body.Len()), Ehsize: headerSize,
		Shentsize: uint16(binary.Size(elf.Section64{})), Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1),
	}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	head.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	head.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	return slices.Concat(encode(head), body.Bytes(), encode(headers))
}

// stringTable is a table of strings that end with a zero byte; places in it
// stand for them.
type stringTable struct {
	data  []byte
	known map[string]uint32
	base  uint32 // the place of data[0]
}

func newStringTable() *stringTable {
	return &stringTable{data: []byte{0}, known: map[string]uint32{"": 0}}
}

// add is the place of a string.
func (t *stringTable) add(s string) uint32 {
	if at, ok := t.known[s]; ok {
		return at
	}
	at := t.base + uint32(len(t.data))
	t.data = append(append(t.data, s...), 0)
	t.known[s] = at
	return at
}

// encode writes values of fixed size as they stand in a file.
func encode(v any) []byte {
	out, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic("bpf: " + err.Error()) // a type without a fixed size
	}
	return out
}
