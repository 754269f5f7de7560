package hook

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// bpfKind is the kind of filters that are BPF programs.
const bpfKind = "bpf"

// ourHandle is the handle of our filters, one for all: so of two processes that
// attach in the same moment the kernel refuses one.
const ourHandle = 0x7270

// madeMark ends the names of our filters on a qdisc that one of ours made. It
// is handed on from filter to filter, so that the last one of ours knows to
// remove the qdisc, whoever made it.
const madeMark = "+clsact"

// stub is an inert program that runs the one in the slot, if there is one. The
// slot is emptied by the kernel when the last descriptor of its map goes, even
// though the stub still uses the map.
func stub(slot *ebpf.Map) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name:    StubName,
		Type:    ebpf.SchedCLS,
		License: "MIT",
		Instructions: asm.Instructions{
			asm.LoadMapPtr(asm.R2, slot.FD()), // R1 is the packet still
			asm.Mov.Imm(asm.R3, 0),
			asm.FnTailCall.Call(),
			asm.Mov.Imm(asm.R0, -1), // TC_ACT_UNSPEC: ask the next filter
			asm.Return(),
		},
	}
}

// newStub makes a stub with a program in its slot.
func newStub(prog *ebpf.Program) (stubbed *ebpf.Program, slot *ebpf.Map, err error) {
	slot, err = ebpf.NewMap(&ebpf.MapSpec{
		Name:       SlotMapName,
		Type:       ebpf.ProgramArray,
		KeySize:    4,
		ValueSize:  4,
		MaxEntries: 1,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make the slot: %w", err)
	}
	if err = slot.Put(uint32(0), prog); err != nil {
		err = fmt.Errorf("fill the slot: %w", err)
	} else if stubbed, err = ebpf.NewProgram(stub(slot)); err != nil {
		err = fmt.Errorf("load the stub: %w", err)
	}
	if err != nil {
		return nil, nil, errors.Join(err, slot.Close())
	}
	return stubbed, slot, nil
}

// stubHandle is a program in the slot of a stub in a clsact filter.
type stubHandle struct {
	at   attachPoint
	conn *tcConn
	// slot must not be opened by anybody for longer than a look: the kernel
	// empties it with the last descriptor.
	slot    *ebpf.Map
	program uint32 // the number of the one in it
	filter  filter
	closed  sync.Once
}

// linkClsact puts a stub into a clsact filter and a program into the stub.
func linkClsact(at attachPoint, prog *ebpf.Program) (Handle, error) {
	id, err := idOf(prog)
	if err != nil {
		return nil, explainOn(at, err, actLink)
	}
	stubbed, slot, err := newStub(prog)
	if err != nil {
		return nil, explainOn(at, err, actLink)
	}
	defer func() { _ = stubbed.Close() }() // the filter holds it
	conn, err := newTCConn()
	if err != nil {
		return nil, errors.Join(explainOn(at, err, actLink), slot.Close())
	}
	f, err := conn.addOurs(at, stubbed, StubName)
	if err != nil {
		conn.close()
		return nil, errors.Join(explainClsact(at, err, actLink), slot.Close())
	}
	return &stubHandle{at: at, conn: conn, slot: slot, program: id, filter: f}, nil
}

func (h *stubHandle) Update(prog *ebpf.Program) error {
	id, err := idOf(prog)
	if err != nil {
		return explainOn(h.at, err, actReplace)
	}
	if err := lost(h, h.at); err != nil {
		return err
	}
	if err := h.slot.Put(uint32(0), prog); err != nil {
		return explainOn(h.at, fmt.Errorf("fill the slot: %w", err), actReplace)
	}
	h.program = id
	return nil
}

// Lost looks at the filter and at the slot. Filters can be deleted and changed by anybody,
// and go with their qdisc.
func (h *stubHandle) Lost() (Loss, error) {
	f, there, err := h.conn.inPlace(h.at, h.filter)
	switch {
	case err != nil:
		return Loss{}, fmt.Errorf("inspect the filter on interface %d: %w", h.at.ifindex, err)
	case !there:
		return h.conn.without(h.at)
	case f.program != h.filter.program:
		return Loss{Replaced, f.program}, nil
	}
	var id uint32
	err = h.slot.Lookup(uint32(0), &id)
	switch {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return Loss{How: Detached}, nil
	case err != nil:
		return Loss{}, fmt.Errorf("read the slot: %w", err)
	case id != h.program:
		return Loss{Replaced, id}, nil
	}
	return Loss{}, nil
}

// Privileged: a filter is removed by netlink.
func (h *stubHandle) Privileged() bool { return true }

// Here looks at the interface of the calling thread's network namespace; h.conn goes on
// to see that of the run.
func (h *stubHandle) Here() (bool, error) {
	conn, err := newTCConn()
	if err != nil {
		return false, explainOn(h.at, err, actQuery)
	}
	defer conn.close()
	there, err := conn.has(h.at, h.filter)
	return there, explainOn(h.at, err, actQuery)
}

// Close removes the filter. Where that fails, the emptied slot still leaves the
// packets alone.
func (h *stubHandle) Close() error {
	var err error
	h.closed.Do(func() {
		defer h.conn.close()
		if err = h.conn.removeOurs(h.at, h.filter); errors.Is(err, unix.ENOENT) {
			err = nil
		}
		err = errors.Join(err, h.slot.Close())
	})
	return err
}

// addClsactFilter puts a program into a clsact filter. undo is as that of attachAt.
func addClsactFilter(at attachPoint, prog *ebpf.Program) (undo func() error, err error) {
	conn, err := newTCConn()
	if err != nil {
		return nil, explainOn(at, err, actAttach)
	}
	defer conn.close()
	f, err := conn.addOurs(at, prog, ProgramName)
	if err != nil {
		return nil, explainClsact(at, err, actAttach)
	}
	return func() error {
		conn, err := newTCConn()
		if err != nil {
			return explainOn(at, err, actDetach)
		}
		defer conn.close()
		return explainOn(at, conn.removeOurs(at, f), actDetach)
	}, nil
}

// changeClsact gives the filter another program, or removes it if to is nil.
// The error is EBUSY where the program is a process's own, ENOENT where it is
// gone.
func (a *Program) changeClsact(to *ebpf.Program) error {
	conn, err := newTCConn()
	if err != nil {
		return err
	}
	defer conn.close()
	there, err := conn.has(a.place(), a.filter)
	switch {
	case err != nil:
		return err
	case !there:
		return unix.ENOENT
	case a.filter.program != a.ProgramID: // a stub's
		return unix.EBUSY
	case to == nil:
		return conn.removeOurs(a.place(), a.filter)
	}
	f := a.filter
	if f.program, err = idOf(to); err != nil {
		return err
	}
	return conn.settle(a.place(), f, true, conn.putFilter(a.Ifindex, a.Direction, f, to.FD(), 0))
}

// addOurs adds a filter of ours before the others, and makes the qdisc if there
// is none.
func (c *tcConn) addOurs(at attachPoint, prog *ebpf.Program, name string) (f filter, err error) {
	for range tcxAttempts {
		f, err = c.tryAddOurs(at, prog, name)
		if !errors.Is(err, errQdiscChanged) {
			break
		}
	}
	return f, err
}

// errIngressOnly: the interface has an ingress qdisc where clsact is needed.
var errIngressOnly = errors.New("the ingress qdisc has no egress")

// errNoClsact: the kernel does not know the qdisc or the filter.
var errNoClsact = errors.New("the kernel has no clsact")

// explainClsact explains an error of adding a filter.
func explainClsact(at attachPoint, err error, act action) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		// One of ours came since it was seen that there was none.
		if taken := free(at, act); taken != nil {
			return taken
		}
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("%w: %w", errNoClsact, err)
	}
	return explainOn(at, err, act)
}

// errQdiscChanged: somebody adds or removes the qdisc at the same time.
var errQdiscChanged = errors.New("the qdisc changes all the time")

func (c *tcConn) tryAddOurs(at attachPoint, prog *ebpf.Program, name string) (filter, error) {
	kind, err := c.qdisc(at.ifindex)
	if err != nil {
		return filter{}, err
	}
	made := false
	switch {
	case kind == ingress && at.dir == run.Out:
		return filter{}, errIngressOnly
	case kind == "":
		if err := c.makeClsact(at.ifindex); errors.Is(err, unix.EEXIST) {
			return filter{}, errQdiscChanged
		} else if err != nil {
			return filter{}, fmt.Errorf("add a clsact qdisc: %w", err)
		}
		kind, made = clsact, true
	}
	f, err := c.addFirst(at, kind, made, prog, name)
	if err == nil {
		return f, nil
	}
	if made {
		c.tidy(at.ifindex)
	} else if now, look := c.qdisc(at.ifindex); look == nil && now != kind {
		return filter{}, errQdiscChanged
	}
	return filter{}, err
}

// addFirst adds a filter of ours before the others of a qdisc.
func (c *tcConn) addFirst(at attachPoint, qdisc string, made bool, prog *ebpf.Program, name string) (filter, error) {
	id, err := idOf(prog)
	if err != nil {
		return filter{}, err
	}
	here, err := c.filters(at.ifindex, at.dir)
	if err != nil {
		return filter{}, err
	}
	there := []filter(nil)
	if qdisc == clsact {
		if there, err = c.filters(at.ifindex, 1-at.dir); err != nil {
			return filter{}, err
		}
	}
	if made || slices.ContainsFunc(here, marked) || slices.ContainsFunc(there, marked) {
		name += madeMark
	}
	f := filter{
		kind: bpfKind, pref: headPref(here), protocol: etherAll,
		handle: ourHandle, program: id, name: name,
	}
	err = c.settle(at, f, true, c.putFilter(at.ifindex, at.dir, f, prog.FD(), unix.NLM_F_CREATE|unix.NLM_F_EXCL))
	if err != nil {
		return filter{}, fmt.Errorf("add a clsact filter: %w", err)
	}
	return f, nil
}

// namedOurs reports whether a filter is called as ours are, and whether it says
// that one of ours made the qdisc. Whether it is ours its program tells.
func (f filter) namedOurs() (ours, made bool) {
	name, made := strings.CutSuffix(f.name, madeMark)
	ours = f.kind == bpfKind && f.handle != 0 && (name == StubName || name == ProgramName)
	return ours, ours && made
}

func marked(f filter) bool {
	_, made := f.namedOurs()
	return made
}

// headPref is the preference at which a new BPF filter comes as early as
// possible: a free one, or one of BPF filters alone, among which the kernel
// puts the newest first.
func headPref(filters []filter) uint16 {
	takes := map[uint16]bool{}
	for _, f := range filters {
		if f.chain == 0 {
			takes[f.pref] = f.kind == bpfKind && f.protocol == etherAll
		}
	}
	for pref := uint16(1); ; pref++ {
		if takesNew, used := takes[pref]; !used || takesNew {
			return pref
		}
	}
}

// has reports whether a filter is still there with the same program.
func (c *tcConn) has(at attachPoint, f filter) (bool, error) {
	g, there, err := c.inPlace(at, f)
	return there && g.program == f.program, err
}

// inPlace is the filter that has the place of another one, if there is one.
func (c *tcConn) inPlace(at attachPoint, f filter) (now filter, there bool, err error) {
	kind, err := c.qdisc(at.ifindex)
	if err != nil || kind == "" || kind == ingress && at.dir == run.Out {
		return now, false, err
	}
	all, err := c.filters(at.ifindex, at.dir)
	i := slices.IndexFunc(all, func(g filter) bool { return g.chain == f.chain && g.pref == f.pref && g.handle == f.handle })
	if err != nil || i < 0 {
		return now, false, err
	}
	return all[i], true, nil
}

// removeOurs removes a filter of ours if it is there, and the qdisc if one of
// ours made it and nothing is left in it. The error is ENOENT where the filter
// is not there.
func (c *tcConn) removeOurs(at attachPoint, f filter) error {
	there, err := c.has(at, f)
	if err != nil {
		return err
	}
	if !there {
		return unix.ENOENT
	}
	if err := c.settle(at, f, false, c.deleteFilter(at.ifindex, at.dir, f)); err != nil {
		return err
	}
	if marked(f) {
		c.tidy(at.ifindex)
	}
	return nil
}

// tidy removes a clsact qdisc without filters. Whatever comes in the way twice, a
// qdisc that is left does nothing.
func (c *tcConn) tidy(ifindex int) {
	if c.tryTidy(ifindex) != nil {
		_ = c.tryTidy(ifindex)
	}
}

func (c *tcConn) tryTidy(ifindex int) error {
	if kind, err := c.qdisc(ifindex); err != nil || kind != clsact {
		return err
	}
	for _, dir := range []run.Direction{run.In, run.Out} {
		if left, err := c.filters(ifindex, dir); err != nil || len(left) > 0 {
			return err
		}
	}
	return c.deleteClsact(ifindex)
}
