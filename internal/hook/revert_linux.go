package hook

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/run"
)

// found are the maps that were found at a program, of which there may be two of a name.
type found struct {
	counters, flows []uint32
	limits, untils  []word
	before, revert  uint32
	told            uint32
	deadline        uint64
}

// words adds a map of one word.
func (f *found) words(to *[]word, id uint32, m *ebpf.Map) error {
	w := word{id: id}
	err := m.Lookup(uint32(0), &w.value)
	*to = append(*to, w)
	return err
}

// assign gives the maps of the program to its rules: where it goes back, to those that act and
// to those that do not.
func (a *Program) assign(f found) error {
	r := a.Meta.Revert
	if r == nil || f.revert == 0 {
		a.act(maps{only(f.counters, 0), f.before, only(f.flows, 0), onlyWord(f.limits, 0), onlyWord(f.untils, 0)})
		return nil
	}
	now, err := Jiffies()
	if err != nil {
		return err
	}
	own := maps{only(f.counters, r.Counters), f.before, 0, onlyWord(f.limits, r.Limit), onlyWord(f.untils, r.Until)}
	if a.Meta.Flows > 0 { // the table may be that of the rules before
		if own.flows = only(f.flows, r.Flows); own.flows == 0 {
			own.flows = r.Flows
		}
	}
	old := maps{counters: r.Counters, flows: r.Flows, limit: numbered(f.limits, r.Limit), until: numbered(f.untils, r.Until)}
	a.Revert = &Reverting{Deadline: f.deadline, Now: now, cell: f.revert, told: f.told, Other: r.Old}
	if !a.Revert.Over() {
		a.resting = old
		a.act(own)
		return nil
	}
	a.Revert.Other, a.Meta = a.Meta, a.Meta.back()
	a.resting = own
	a.act(old)
	return nil
}

// act says which maps are those of the rules that act.
func (a *Program) act(m maps) { a.maps, a.Tickets, a.Until = m, m.limit.value, m.until.value }

// back are the metadata behind the deadline.
func (m Meta) back() Meta {
	old := m.Revert.Old
	old.Version, old.Interface, old.Ifindex, old.Direction, old.Hook = m.Version, m.Interface, m.Ifindex, m.Direction, m.Hook
	old.PID, old.PIDSpace, old.Foreground, old.Start = m.PID, m.PIDSpace, m.Foreground, m.Start
	old.Replies, old.RepliesOf = m.Replies, m.RepliesOf
	if old.Flows > 0 && m.Flows > 0 { // what the others have entered keeps its owners
		old.NextOwner = max(old.NextOwner, m.NextOwner)
	}
	return old
}

// only is the number that is not that of another map, or 0.
func only(ids []uint32, other uint32) uint32 {
	i := slices.IndexFunc(ids, func(id uint32) bool { return id != other })
	if i < 0 {
		return 0
	}
	return ids[i]
}

func onlyWord(words []word, other uint32) word {
	i := slices.IndexFunc(words, func(w word) bool { return w.id != other })
	if i < 0 {
		return word{}
	}
	return words[i]
}

// numbered is the word of a number.
func numbered(words []word, id uint32) word {
	i := slices.IndexFunc(words, func(w word) bool { return w.id == id })
	if i < 0 {
		return word{}
	}
	return words[i]
}

// Resting opens the counters of the rules of a program that goes back which do not act now, or
// is nil.
func (a *Program) Resting() (*ebpf.Map, error) { return a.openMap(a.resting.counters) }

// Deadline opens the word with the deadline of a program that goes back.
func (a *Program) Deadline() (*ebpf.Map, error) {
	if a.Revert == nil {
		return nil, fmt.Errorf("the program on %s does not go back", a.Interface)
	}
	return a.openMap(a.Revert.cell)
}

// LabelFormer binds the counters of the rules before to a program that goes back.
func LabelFormer(prog *ebpf.Program, counters *ebpf.Map) error {
	if err := prog.BindMap(counters); err != nil {
		return explain(err, actLabel, newAttempt("", run.In, run.Auto))
	}
	return nil
}

// LabelTold binds a word to a program that goes back, for FirstTold.
func LabelTold(prog *ebpf.Program) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: ToldMapName, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return ExplainLoad(fmt.Errorf("make the word for who is told: %w", err))
	}
	defer func() { _ = m.Close() }() // the program holds it
	if err := prog.BindMap(m); err != nil {
		return explain(err, actLabel, newAttempt("", run.In, run.Auto))
	}
	return nil
}

// FirstTold reports whether nobody was told before that the program went back. Where that is not
// known, somebody was. Of two that ask in the same moment both can be the first.
func (a *Program) FirstTold() bool {
	if !a.Revert.Over() || a.Revert.told == 0 {
		return false
	}
	m, err := a.openMap(a.Revert.told)
	if err != nil {
		return false
	}
	defer func() { _ = m.Close() }()
	var told uint64
	return m.Lookup(uint32(0), &told) == nil && told == 0 && m.Put(uint32(0), uint64(1)) == nil
}

// MapNumber is the kernel's number of a map.
func MapNumber(m *ebpf.Map) (uint32, error) {
	info, err := m.Info()
	if err != nil {
		return 0, explain(fmt.Errorf("inspect a map: %w", err), actLabel, newAttempt("", run.In, run.Auto))
	}
	id, told := info.ID()
	if !told {
		return 0, errors.New("the kernel does not tell the number of a map")
	}
	return uint32(id), nil
}

// Jiffies are those of the kernel now: what programs compare deadlines with.
func Jiffies() (now uint64, err error) {
	_, now, err = onClock(asm.Instructions{asm.Mov.Imm(asm.R0, 0)})
	return now, err
}

// What calling off a deadline has come to.
const (
	calledOff = iota
	tooLate
	calledOffBefore
)

// CallOff sets a deadline to Never, unless that has passed, or passes in this moment; late is
// true then, when it has. It is one store, at a moment when no processor can have seen the
// deadline pass.
func CallOff(cell *ebpf.Map) (late bool, err error) {
	const margin = 2 // jiffies
	answer, _, err := onClock(asm.Instructions{
		asm.LoadMapValue(asm.R1, cell.FD(), 0),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.Mov.Imm(asm.R3, -1),
		asm.Mov.Imm(asm.R4, calledOffBefore),
		asm.JEq.Reg(asm.R2, asm.R3, "answer"),
		asm.Mov.Imm(asm.R4, tooLate),
		asm.Add.Imm(asm.R0, margin),
		asm.JGE.Reg(asm.R0, asm.R2, "answer"),
		asm.Mov.Imm(asm.R4, calledOff),
		asm.StoreMem(asm.R1, 0, asm.R3, asm.DWord),
		asm.Mov.Reg(asm.R0, asm.R4).WithSymbol("answer"),
	})
	if err != nil || answer != tooLate {
		return false, err
	}
	return true, waitFor(cell)
}

// waitFor waits until a deadline that is near has passed.
func waitFor(cell *ebpf.Map) error {
	for {
		var deadline uint64
		if err := cell.Lookup(uint32(0), &deadline); err != nil {
			return fmt.Errorf("read the deadline: %w", err)
		}
		now, err := Jiffies()
		if err != nil || now >= deadline {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// onClock runs instructions in the kernel, once: R0 has the jiffies, and is to have the answer.
func onClock(then asm.Instructions) (answer uint32, now uint64, err error) {
	out, err := ebpf.NewMap(&ebpf.MapSpec{Name: "repacket_now", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return 0, 0, ExplainLoad(fmt.Errorf("make the map for the time: %w", err))
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	clock, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "repacket_clock", Type: ebpf.XDP, License: "Dual MIT/GPL",
		Instructions: slices.Concat(asm.Instructions{
			asm.FnJiffies64.Call(),
			asm.LoadMapValue(asm.R1, out.FD(), 0),
			asm.StoreMem(asm.R1, 0, asm.R0, asm.DWord),
		}, then, asm.Instructions{asm.Return()}),
	})
	if err != nil {
		return 0, 0, ExplainLoad(fmt.Errorf("load the program that tells the time: %w", err))
	}
	defer func() { err = errors.Join(err, clock.Close()) }()
	const shortest = 14
	if answer, err = clock.Run(&ebpf.RunOptions{Data: make([]byte, shortest)}); err != nil {
		return 0, 0, explain(fmt.Errorf("run the program that tells the time: %w", err), actProbe, newAttempt("", run.In, run.Auto))
	}
	if err := out.Lookup(uint32(0), &now); err != nil {
		return 0, 0, fmt.Errorf("read the time: %w", err)
	}
	return answer, now, nil
}
