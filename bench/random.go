package main

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/engine"
)

// randomPart shows what a million rows cost if each packet asks for another one,
// beside a bare look-up in the kernel's own hash table.
func randomPart(o options, million *engine.Loaded, frame []byte) (string, error) {
	bare, err := bareLookup()
	if err != nil {
		return "", err
	}
	defer bare.close()
	idle, err := nothing()
	if err != nil {
		return "", err
	}
	defer idle.close()
	entrants := []*entrant{
		behindRandom("nothing", idle.prog),
		behindRandom("a look-up alone, in a kernel's hash table", bare.prog),
		behindRandom("1,000,000 rows", million.Program),
	}
	if err := measure(entrants, frame, o.rounds); err != nil {
		return "", err
	}
	t := table{words: 1}
	t.add("", "median", "lowest", "highest", "over nothing")
	for i, e := range entrants {
		cells := append([]any{e.name}, spreadOf(e.ns)...)
		if i > 0 {
			cells = append(cells, over(e.ns, entrants[0].ns))
		}
		t.add(cells...)
	}
	return fmt.Sprintf("The same with another one of the 1,000,000 addresses in every packet, so that little of what is\nlooked up is in the caches; the address is put in before, which \"nothing\" does too.\n\n%s", &t), nil
}

// behindRandom is a program behind one that puts a random address of those that
// rules look for into the packet.
func behindRandom(name string, p *ebpf.Program) *entrant {
	return &entrant{name: name, load: func() (*program, error) {
		next, err := ebpf.NewMap(&ebpf.MapSpec{
			Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1,
			Contents: []ebpf.MapKV{{Key: uint32(0), Value: p}},
		})
		if err != nil {
			return nil, err
		}
		return loadCode(randomAddress(next), countNothing, next)
	}}
}

// sourceAt is where the source address of the frame is, in bytes.
const sourceAt = 14 + 12

// million is how many addresses there are to choose from.
const million = 1_000_000

// randomAddress writes spread(n) for a random n, and goes on with the program in
// the map.
func randomAddress(next *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetPrandomU32.Call(),
		asm.Mod.Imm32(asm.R0, million),
		asm.Mul.Imm32(asm.R0, addressStep),
		asm.Add.Imm32(asm.R0, lookedForSource),
		asm.HostTo(asm.BE, asm.R0, asm.Word),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), // xdp_md.data
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word), // xdp_md.data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, sourceAt+4),
		asm.JGT.Reg(asm.R4, asm.R3, "out"),
		asm.StoreMem(asm.R2, sourceAt, asm.R0, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, next.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), // XDP_ABORTED
		asm.Return(),
	}
}

// bareLookup looks the source address up in a hash table of the kernel's, and
// does nothing with what it finds.
func bareLookup() (*program, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: million})
	if err != nil {
		return nil, err
	}
	keys, values := make([][4]byte, million), make([]uint32, million)
	for i := range keys {
		binary.BigEndian.PutUint32(keys[i][:], spread(i))
		values[i] = uint32(i)
	}
	if _, err := m.BatchUpdate(keys, values, nil); err != nil {
		return nil, err
	}
	return loadCode(asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, sourceAt+4),
		asm.JGT.Reg(asm.R4, asm.R3, "out"),
		asm.LoadMem(asm.R4, asm.R2, sourceAt, asm.Word),
		asm.StoreMem(asm.R10, -4, asm.R4, asm.Word),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R4, asm.R0, 0, asm.Word),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("out"), // XDP_PASS
		asm.Return(),
	}, countNothing, m)
}
