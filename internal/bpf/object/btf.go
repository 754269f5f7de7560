package object

import (
	"encoding/binary"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"repacket/internal/bpf/assembler"
)

// A definition of a map is in the types alone: a structure whose members are
// pointers, of which only the types count. In the section are as many zero
// bytes.
const mapSize = 4 * 8

// variable is the section with the definition of the map.
func (m Map) variable(name string) *btf.Datasec {
	number := func(n int) btf.Type { // the length of an array
		signed := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
		return &btf.Array{Index: signed, Type: signed, Nelems: uint32(n)}
	}
	definition := &btf.Struct{Size: mapSize}
	for i, member := range []btf.Member{
		{Name: "type", Type: number(m.Type)},
		{Name: "max_entries", Type: number(m.Entries)},
		{Name: "key", Type: m.Key},
		{Name: "value", Type: m.Value},
	} {
		member.Type, member.Offset = &btf.Pointer{Target: member.Type}, btf.Bits(64*i)
		definition.Members = append(definition.Members, member)
	}
	variable := &btf.Var{Name: name, Type: definition, Linkage: btf.GlobalVar}
	return &btf.Datasec{Name: mapsSection, Size: mapSize, Vars: []btf.VarSecinfo{{Type: variable, Size: mapSize}}}
}

// The records of .BTF.ext, as the kernel's documentation of BTF has them.
type (
	extendedHeader struct {
		Magic                            uint16
		Version, Flags                   uint8
		Length                           uint32
		FunctionsAt, FunctionsLength     uint32
		LinesAt, LinesLength             uint32
		RelocationsAt, RelocationsLength uint32 // none; readers that know of them want them said
	}
	sectionHeader struct{ Name, Records uint32 }
	functionInfo  struct {
		Offset uint32 // in bytes
		Type   btf.TypeID
	}
	lineInfo struct {
		Offset, File, Text, Line uint32 // the line's number stands above the lower 10 bits
	}
)

// typeInfo is the contents of .BTF, the types and all strings, and of .BTF.ext:
// which function starts where, and the notes as lines of source. Their numbers
// are those of the rules, from 1.
func typeInfo(p *assembler.Program, section string, m Map) (types, extended []byte, err error) {
	b, err := btf.NewBuilder([]btf.Type{m.variable(p.MapName)}, nil)
	if err != nil {
		return nil, nil, err
	}
	intern := func(s string) (at uint32) {
		if err == nil {
			at, err = stringOffset(b, s)
		}
		return at
	}
	at := p.Offsets()
	functions, lines := encode(uint32(binary.Size(functionInfo{}))), encode(uint32(binary.Size(lineInfo{})))
	add := func(section string, start, end int, of ...assembler.Function) {
		offset := func(i int) uint32 { return uint32(at[i]-at[start]) * asm.InstructionSize }
		var starts []functionInfo
		for _, f := range of {
			id, failed := b.Add(f.Type)
			if failed != nil {
				err = failed
			}
			starts = append(starts, functionInfo{offset(f.At), id})
		}
		var list []lineInfo
		for i := start; i < end; i++ {
			if n := p.Notes[i]; i == start || n != p.Notes[i-1] {
				list = append(list, lineInfo{offset(i), intern("rules"), intern(n.Text), uint32(n.Rule+1) << 10})
			}
		}
		functions = append(append(functions, encode(sectionHeader{intern(section), uint32(len(starts))})...), encode(starts)...)
		lines = append(append(lines, encode(sectionHeader{intern(section), uint32(len(list))})...), encode(list)...)
	}
	end := len(p.Instructions)
	if len(p.Functions) > 0 {
		end = p.Functions[0].At
	}
	add(section, 0, end, assembler.Function{Type: p.Type()})
	if len(p.Functions) > 0 {
		add(textSection, end, len(p.Instructions), p.Functions...)
	}
	if err != nil {
		return nil, nil, err
	}
	header := encode(extendedHeader{
		Magic: 0xeb9f, Version: 1, Length: uint32(binary.Size(extendedHeader{})),
		FunctionsLength: uint32(len(functions)),
		LinesAt:         uint32(len(functions)), LinesLength: uint32(len(lines)),
	})
	types, err = b.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
	return types, append(append(header, functions...), lines...), err
}

// stringOffset is where a string stands among those of the types. The library
// adds strings for lines of source alone, so it is given one.
func stringOffset(b *btf.Builder, s string) (uint32, error) {
	var line lineInfo
	_, lines, err := btf.MarshalExtInfos(asm.Instructions{asm.Return().WithSource(asm.Comment(s))}, b)
	if err == nil {
		_, err = binary.Decode(lines, binary.LittleEndian, &line)
	}
	return line.Text, err
}
