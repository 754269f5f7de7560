package testnet

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// The places in a record of the program that looks at packets, all 32 bits but
// the data.
const (
	recordLength = 4 * iota
	recordType
	recordProtocol
	recordTagged
	recordTCI
	recordTPID
	recordSegments
	recordSegment
	recordComplete
	recordSum
	recordUnnecessary
	recordSummed
	recordHeader // size of the above
	recordData   = recordHeader
	recordSize   = recordData + skbData
)

// What __sk_buff has (include/uapi/linux/bpf.h), by place.
const (
	ctxLen      = 0
	ctxType     = 4
	ctxProtocol = 16
	ctxTagged   = 20
	ctxTCI      = 24
	ctxTPID     = 28
	ctxSegments = 164
	ctxSegment  = 176
)

// nextProgram is TCX_NEXT and TC_ACT_UNSPEC: go on as if this program were not
// there.
const nextProgram = -1

// loadSkbProgram loads the program that copies packets into the ring.
func loadSkbProgram(ring, lost *ebpf.Map) (*ebpf.Program, error) {
	summed, err := readSummed()
	if err != nil {
		return nil, err
	}
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "lab_skbs",
		Type:         ebpf.SchedCLS,
		License:      "Dual MIT/GPL", // the kernel's own view of a packet is for GPL programs
		Instructions: skbProgram(ring, lost, summed),
	})
}

// skbProgram keeps the context in R6 and the record in R7.
func skbProgram(ring, lost *ebpf.Map, summed asm.Instructions) asm.Instructions {
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMapPtr(asm.R1, ring.FD()),
		asm.Mov.Imm(asm.R2, recordSize),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnRingbufReserve.Call(),
		asm.JEq.Imm(asm.R0, 0, "lost"),
		asm.Mov.Reg(asm.R7, asm.R0),
	}
	for _, field := range [][2]int16{
		{ctxLen, recordLength},
		{ctxType, recordType},
		{ctxProtocol, recordProtocol},
		{ctxTagged, recordTagged},
		{ctxTCI, recordTCI},
		{ctxTPID, recordTPID},
		{ctxSegments, recordSegments},
		{ctxSegment, recordSegment},
	} {
		code = append(code,
			asm.LoadMem(asm.R1, asm.R6, field[0], asm.Word),
			asm.StoreMem(asm.R7, field[1], asm.R1, asm.Word))
	}
	code = append(code, askChecksum()...)
	code = append(code, summed...)
	code = append(code, copyData()...)
	return append(code, countLost(lost)...)
}

// askChecksum asks helpers that change nothing when they add 0 and when they
// query: one succeeds on complete sums only, the other on known good ones only.
func askChecksum() asm.Instructions {
	const query = 0 // BPF_CSUM_LEVEL_QUERY
	return asm.Instructions{
		asm.StoreImm(asm.R7, recordComplete, 0, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnCsumUpdate.Call(),
		asm.JSLT.Imm(asm.R0, 0, "incomplete"),
		asm.StoreImm(asm.R7, recordComplete, 1, asm.Word),
		asm.StoreMem(asm.R7, recordSum, asm.R0, asm.Word),
		asm.StoreImm(asm.R7, recordUnnecessary, 0, asm.Word).WithSymbol("incomplete"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, query),
		asm.FnCsumLevel.Call(),
		asm.JSLT.Imm(asm.R0, 0, "necessary"),
		asm.StoreImm(asm.R7, recordUnnecessary, 1, asm.Word),
		asm.StoreImm(asm.R7, recordSummed, int64(ChecksumUnknown), asm.Word).WithSymbol("necessary"),
	}
}

// copyData copies the packet, cut short, and hands the record over.
func copyData() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R4, asm.R6, ctxLen, asm.Word),
		asm.JLE.Imm(asm.R4, skbData, "short"),
		asm.Mov.Imm(asm.R4, skbData),
		asm.JLT.Imm(asm.R4, 1, "submit").WithSymbol("short"), // for the verifier
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.Add.Imm(asm.R3, recordData),
		asm.FnSkbLoadBytes.Call(),
		asm.Mov.Reg(asm.R1, asm.R7).WithSymbol("submit"),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRingbufSubmit.Call(),
		asm.Mov.Imm(asm.R0, nextProgram),
		asm.Return(),
	}
}

// countLost counts a packet for which there was no room.
func countLost(lost *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word).WithSymbol("lost"),
		asm.LoadMapPtr(asm.R1, lost.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "uncounted"),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, nextProgram).WithSymbol("uncounted"),
		asm.Return(),
	}
}

// readSummed reads ip_summed out of the kernel's own structure, which is what
// the context really is. The kernel's cast to it came with Linux 6.2 only.
func readSummed() (asm.Instructions, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("look up the kernel's types: %w", err)
	}
	var skb *btf.Struct
	if err := spec.TypeByName("sk_buff", &skb); err != nil {
		return nil, err
	}
	bit, size, ok := findMember(skb.Members, "ip_summed")
	if !ok || bit/8 != (bit+size-1)/8 {
		return nil, errors.New("the kernel's sk_buff has no ip_summed inside one byte")
	}
	const read = -8 // on the stack
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, read),
		asm.Mov.Imm(asm.R2, 1),
		asm.Mov.Reg(asm.R3, asm.R6),
		asm.Add.Imm(asm.R3, int32(bit/8)),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R1, asm.RFP, read, asm.Byte),
		asm.RSh.Imm(asm.R1, int32(lowestBit(bit, size))),
		asm.And.Imm(asm.R1, 1<<size-1),
		asm.StoreMem(asm.R7, recordSummed, asm.R1, asm.Word),
	}, nil
}

// lowestBit is a bit field's place in its byte, counted from the least
// significant bit.
func lowestBit(bit, size uint32) uint32 {
	if hostOrder.Uint16([]byte{1, 0}) == 1 {
		return bit % 8
	}
	return 8 - bit%8 - size
}

// findMember finds a bit field, inside nameless structures too: its offset and
// its size in bits.
func findMember(members []btf.Member, name string) (bit, size uint32, ok bool) {
	for _, m := range members {
		if m.Name == name {
			return uint32(m.Offset), uint32(m.BitfieldSize), true
		}
		var inner []btf.Member
		switch t := m.Type.(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if m.Name != "" || inner == nil {
			continue
		}
		if bit, size, ok := findMember(inner, name); ok {
			return uint32(m.Offset) + bit, size, true
		}
	}
	return 0, 0, false
}
