package hook

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

var (
	actProbe = action{"ask the kernel what it has", []capability{capBPF, capNetAdmin}, "BPF", "4.4", false}
	actSee   = action{"inspect all programs on %s", []capability{capNetAdmin, capSysAdmin}, "BPF programs found by number", "4.13", false}
)

// probes try each feature. Their errors are nil, ebpf.ErrNotSupported where it
// is missing, or why that cannot be told.
var probes = [...]func() error{
	XDPPrograms:  func() error { return tryLoad(ebpf.XDP, 0) },
	TCPrograms:   func() error { return tryLoad(ebpf.SchedCLS, 0) },
	TCX:          probeTCX,
	XDPLinks:     probeXDPLinks,
	XDPFragments: func() error { return tryLoad(ebpf.XDP, unix.BPF_F_XDP_HAS_FRAGS) },
	Loop:         func() error { return features.HaveProgramHelper(ebpf.XDP, asm.FnLoop) },
	JIT:          probeJIT,
}

// Has tries whether the kernel has a feature, and leaves everything as it was.
// It takes CAP_BPF and CAP_NET_ADMIN; the error is PrivilegeError.
func Has(f Feature) (bool, error) {
	err := probes[f]()
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		return false, nil
	}
	return false, explain(err, actProbe, newAttempt("", run.In, run.Auto))
}

func probeTCX() error {
	there, err := HasTCX()
	if err == nil && !there {
		return ebpf.ErrNotSupported
	}
	return err
}

// loadProbe loads a program that lets every packet pass.
func loadProbe(kind ebpf.ProgramType, flags uint32) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "repacket_probe", Type: kind, License: "MIT", Flags: flags,
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 2), // XDP_PASS; tc never runs it
			asm.Return(),
		},
	})
}

// probeXDPLinks asks for what is never granted, a link to native XDP of the
// loopback: a kernel with such links looks at the driver before it refuses.
func probeXDPLinks() error {
	prog, err := loadProbe(ebpf.XDP, 0)
	if err != nil {
		return err
	}
	defer func() { _ = prog.Close() }()
	const loopback = 1
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: loopback, Flags: link.XDPDriverMode})
	switch {
	case err == nil:
		return l.Close()
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EINVAL):
		return ebpf.ErrNotSupported
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, errNotSupported),
		errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST): // something is on it
		return nil
	}
	return err
}

// tryLoad loads a program where the kernel knows the kind and the flags.
// (The library's own probe would remember the answer after privileges change.)
func tryLoad(kind ebpf.ProgramType, flags uint32) error {
	prog, err := loadProbe(kind, flags)
	if errors.Is(err, unix.EINVAL) {
		return ebpf.ErrNotSupported
	}
	if err != nil {
		return err
	}
	return prog.Close()
}

// probeJIT looks whether a program has been compiled. Unlike the switch this
// is to be seen in every network namespace.
func probeJIT() error {
	prog, err := loadProbe(ebpf.XDP, 0)
	if err != nil {
		return err
	}
	defer func() { _ = prog.Close() }()
	info, err := prog.Info()
	if err != nil {
		return err
	}
	_, err = info.JitedSize()
	return err
}

// TakesFragments reports whether the native XDP of an interface takes packets in
// several buffers. Before Linux 6.3 no driver tells.
func TakesFragments(on Iface) Support {
	bits, told := xdpFeatures([]Iface{on})[on.Index]
	switch {
	case !told:
		return Unknown
	case bits&xdpFragments != 0:
		return Supported
	}
	return Missing
}

// Programs lists what is on the hooks of one interface for a direction, in the
// order in which they run, as far as that is to be seen. It takes no privilege:
// where something is not to be seen, what is comes beside a PrivilegeError. Of a
// program that cannot be opened the number is there, and at clsact the name of
// the filter.
func Programs(ifindex int, dir run.Direction) ([]Program, error) {
	d, err := deviceByIndex(ifindex)
	if errors.Is(err, unix.ENODEV) || ifindex <= 0 {
		return nil, &NoInterfaceError{Index: ifindex, Err: err}
	}
	if err != nil {
		return nil, explain(err, actSee, newAttempt("", dir, run.Auto))
	}
	all, err := candidates(d, dir)
	var seen []Program
	for _, a := range all {
		a.Interface, a.Ifindex, a.Direction = d.Name, d.Index, dir
		opened := a.open()
		switch {
		case errors.Is(opened, errGone), errors.Is(opened, errStale):
			continue
		case opened != nil && err == nil:
			err = opened
		}
		if a.ProgramName == "" {
			a.ProgramName = a.filter.name
		}
		seen = append(seen, a)
	}
	if err != nil {
		err = explain(err, actSee, newAttempt(d.Name, dir, run.Auto))
	}
	return seen, err
}

// candidates are the programs by number, unopened. The error is the kernel's
// first; what others tell is there beside it.
func candidates(d device, dir run.Direction) (all []Program, first error) {
	if dir == run.In {
		for _, s := range d.slots {
			all = append(all, Program{Hook: s.mode, ProgramID: s.program})
		}
	}
	tcx, _, first := queryTCX(d.Index, dir)
	for _, id := range tcx.programs {
		all = append(all, Program{Hook: run.TC, Way: ByTCX, ProgramID: uint32(id)})
	}
	l, err := newInspection()
	if err != nil {
		return all, errors.Join(first, err)
	}
	defer l.close()
	kind := l.qdiscs[d.Index]
	if kind == "" || kind == ingress && dir == run.Out {
		return all, first
	}
	filters, err := l.conn.filters(d.Index, dir)
	for _, f := range filters {
		if f.program != 0 {
			all = append(all, Program{Hook: run.TC, Way: ByClsact, ProgramID: f.program, filter: f})
		}
	}
	if first == nil {
		first = err
	}
	return all, first
}
