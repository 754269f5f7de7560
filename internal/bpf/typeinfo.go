package bpf

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// mapsSection is where loaders look for the definitions of maps. A definition
// is in the types alone (BTF): a structure whose members are pointers, of
// which only the types count. In the section are as many zero bytes.
const (
	mapsSection = ".maps"
	mapSize     = 4 * 8
)

// countersMap is the section's type: the map of the counters of so many rules.
func countersMap(rules int) *btf.Datasec {
	signed := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	word := &btf.Int{Name: "unsigned long long", Size: 8}
	number := func(n int) btf.Type { // the length of an array
		return &btf.Pointer{Target: &btf.Array{Index: signed, Type: signed, Nelems: uint32(n)}}
	}
	counter := &btf.Struct{Name: "counter", Size: CounterSize, Members: []btf.Member{
		{Name: "packets", Type: word},
		{Name: "bytes", Type: word, Offset: 64},
	}}
	definition := &btf.Struct{Size: mapSize, Members: []btf.Member{
		{Name: "type", Type: number(int(ebpf.PerCPUArray))},
		{Name: "max_entries", Type: number(rules), Offset: 64},
		{Name: "key", Type: &btf.Pointer{Target: &btf.Int{Name: "unsigned int", Size: 4}}, Offset: 128},
		{Name: "value", Type: &btf.Pointer{Target: counter}, Offset: 192},
	}}
	variable := &btf.Var{Name: CountersName, Type: definition, Linkage: btf.GlobalVar}
	return &btf.Datasec{Name: mapsSection, Size: mapSize, Vars: []btf.VarSecinfo{{Type: variable, Size: mapSize}}}
}

// typeInfo is the contents of .BTF, the types and all strings, and of .BTF.ext.
func (p *Program) typeInfo(rules int) (types, more []byte, err error) {
	b, err := btf.NewBuilder([]btf.Type{countersMap(rules)}, nil)
	if err != nil {
		return nil, nil, err
	}
	parts := p.parts()
	for _, part := range parts {
		for i := range part.functions {
			f := &part.functions[i]
			if f.id, err = b.Add(f.of); err != nil {
				return nil, nil, err
			}
		}
	}
	types, err = b.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
	if err != nil {
		return nil, nil, err
	}
	const stringsLength = 20 // where the header says how long the strings are, which come last
	length := binary.LittleEndian.Uint32(types[stringsLength:])
	strings := &stringTable{known: map[string]uint32{}, base: length}
	more = p.extended(parts, strings)
	binary.LittleEndian.PutUint32(types[stringsLength:], length+uint32(len(strings.data)))
	return append(types, strings.data...), more, nil
}

// part is a section of instructions and the functions in it.
type part struct {
	section    string
	start, end int // the first instruction, and that behind the last
	functions  []function
}

// parts are the program itself and, where there are any, its functions.
func (p *Program) parts() []part {
	whole := len(p.Instructions)
	program := part{section: p.sectionName(), end: whole, functions: []function{{name: ProgramName, of: programFunction()}}}
	if len(p.functions) == 0 {
		return []part{program}
	}
	program.end = p.functions[0].at
	return []part{program, {section: ".text", start: program.end, end: whole, functions: p.functions}}
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

// extended is the contents of .BTF.ext: which function starts where, and the
// notes as lines of source. Their numbers are those of the rules, from 1.
func (p *Program) extended(parts []part, strings *stringTable) []byte {
	functions := encode(uint32(binary.Size(functionInfo{})))
	lines := encode(uint32(binary.Size(lineInfo{})))
	at := newLister(p.Instructions).at
	for _, part := range parts {
		var list []lineInfo
		for i := part.start; i < part.end; i++ {
			n := p.Notes[i]
			if i > part.start && n == p.Notes[i-1] {
				continue
			}
			list = append(list, lineInfo{
				Offset: uint32(at[i]-at[part.start]) * asm.InstructionSize,
				File:   strings.add("rules"), Text: strings.add(n.Text), Line: uint32(n.Rule+1) << 10,
			})
		}
		name := strings.add(part.section)
		functions = append(functions, encode(sectionHeader{name, uint32(len(part.functions))})...)
		for _, f := range part.functions {
			functions = append(functions, encode(functionInfo{uint32(at[f.at]-at[part.start]) * asm.InstructionSize, f.id})...)
		}
		lines = append(append(lines, encode(sectionHeader{name, uint32(len(list))})...), encode(list)...)
	}
	header := extendedHeader{
		Magic: 0xeb9f, Version: 1, Length: uint32(binary.Size(extendedHeader{})),
		FunctionsLength: uint32(len(functions)),
		LinesAt:         uint32(len(functions)), LinesLength: uint32(len(lines)),
	}
	return append(append(encode(header), functions...), lines...)
}
