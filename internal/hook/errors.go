package hook

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/run"
)

// onInterface names an interface, and the direction where it is not the usual
// one.
func onInterface(name string, dir run.Direction) string {
	if dir == run.Out {
		return name + " (out)"
	}
	return name
}

// TakenError is returned when another program is in the way. On XDP that is any,
// in the slot of the same or of the other mode. At tc several programs have
// room, so there it is another one of ours, on whichever hook it is.
type TakenError struct {
	Interface string
	Direction run.Direction
	// Hook, ProgramID and ProgramName tell which program it is; they are zero
	// where that cannot be seen (any more).
	Hook        run.Hook
	ProgramID   uint32
	ProgramName string
	// Tool and Dispatches are those of the Program.
	Tool       Tool
	Dispatches int
	Ours       bool // it is a program of this tool
	Replies    bool // it rewrites the replies of rules for the other direction
	// PID is the process that holds it there, where it is ours and in the
	// foreground; else 0.
	PID int
	// Elsewhere: the process is in another PID namespace.
	Elsewhere bool
	// Also are more programs of this tool for the same direction, where there should
	// be one. It happens when an attach is killed while another one comes to the
	// direction's other hook.
	Also []*TakenError
	Err  error
}

func (e *TakenError) Error() string {
	where := onInterface(e.Interface, e.Direction)
	switch {
	case len(e.Also) > 0:
		return fmt.Sprintf("%s is taken by %d sets of rules (%s) where there should be one: an attach was interrupted", where, 1+len(e.Also), e.programs())
	case e.Elsewhere:
		return fmt.Sprintf("%s is taken: repacket runs there in the foreground, in another PID namespace (process %d there)", where, e.PID)
	case e.PID != 0:
		return fmt.Sprintf("%s is taken: repacket runs there in the foreground (process %d)", where, e.PID)
	case e.Replies:
		return fmt.Sprintf("%s is taken: repacket rewrites the replies of the rules on %s packets there (%s program %d)",
			where, map[run.Direction]string{run.In: "incoming", run.Out: "outgoing"}[e.Direction.Other()], e.Hook, e.ProgramID)
	case e.Ours:
		return fmt.Sprintf("%s is taken: repacket is attached there (%s program %d)", where, e.Hook, e.ProgramID)
	case e.Hook == run.TC:
		return fmt.Sprintf("%s is taken: another program came to its tc hook at the same time", where)
	case e.ProgramID == 0:
		return fmt.Sprintf("%s is taken: an XDP program was there, or is on the interface above it", where)
	case e.ProgramName == PeerName:
		return fmt.Sprintf("%s is taken: repacket at the other end of this veth needs a program of its own here (%d)", where, e.ProgramID)
	case e.ProgramName == "":
		return fmt.Sprintf("%s is taken by an %s program (%d)", where, e.Hook, e.ProgramID)
	case e.Tool != UnknownTool:
		return fmt.Sprintf("%s is taken by %s", where, e.Tool.describe(e.Hook.String(), e.ProgramName, e.ProgramID, e.Dispatches))
	}
	return fmt.Sprintf("%s is taken by another %s program, %s (%d)", where, e.Hook, e.ProgramName, e.ProgramID)
}

// programs names this program and those beside it.
func (e *TakenError) programs() string {
	var names []string
	for _, t := range append([]*TakenError{e}, e.Also...) {
		name := fmt.Sprintf("%s program %d", t.Hook, t.ProgramID)
		if t.PID != 0 {
			name += fmt.Sprintf(" of process %d", t.PID)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// Hint says how the interface can be made free.
func (e *TakenError) Hint() string {
	switch {
	case len(e.Also) > 0:
		return "detach them first: repacket detach " + run.Target{Interface: e.Interface, Direction: e.Direction}.Flags()
	case e.Elsewhere:
		return "stop it where it runs, as in its container"
	case e.PID != 0:
		return fmt.Sprintf("stop it with Ctrl-C where it runs, or: kill %d", e.PID)
	case e.Replies:
		return "detach both first: repacket detach " + run.Target{Interface: e.Interface, Direction: e.Direction.Other()}.Flags()
	case e.Ours:
		return "detach it first: repacket detach " + run.Target{Interface: e.Interface, Direction: e.Direction}.Flags()
	case e.Hook == run.TC:
		return "try again"
	case e.ProgramName == PeerName:
		return "it passes everything, and goes with the rules at the other end; --hook tc runs behind it"
	case e.ProgramID == 0:
		return "try again, or look at the interfaces with: ip link"
	}
	return fmt.Sprintf("another's program is never replaced; --hook tc runs behind it, and bpftool prog show id %d tells of it", e.ProgramID)
}

func (e *TakenError) Unwrap() error { return e.Err }

// Class is that of an interface that is taken.
func (*TakenError) Class() run.Class { return run.Taken }

// Loss is how a program of a process has come off its interface without the process.
type Loss struct {
	How LossKind
	// ProgramID is the number of the program that is in its place, or 0.
	ProgramID uint32
}

// LossKind is a kind of loss.
type LossKind uint8

// The kinds of loss.
const (
	Kept     LossKind = iota // the program is there
	Removed                  // its interface is not there
	Detached                 // somebody has detached it
	Replaced                 // somebody has put another program in its place
)

// LostError says that others have taken away what a running process had on an interface.
type LostError struct {
	Interface string
	Direction run.Direction
	Hook      run.Hook
	Replies   bool // it rewrote the replies of rules for the other direction
	Loss
}

func (e *LostError) Error() string {
	what, them, their := "the rules on "+e.Interface+" are gone", "them", "their"
	if e.Replies {
		what, them, their = "what rewrites replies on "+e.Interface+" is gone", "it", "its"
	}
	switch {
	case e.How == Removed:
		return what + ": the interface was removed, or moved to another network namespace"
	case e.How == Replaced:
		return fmt.Sprintf("%s: somebody has put program %d in %s place at %s", what, e.ProgramID, their, e.Hook)
	case e.ProgramID != 0:
		return fmt.Sprintf("%s: somebody has detached %s from %s, where program %d is now", what, them, e.Hook, e.ProgramID)
	}
	return fmt.Sprintf("%s: somebody has detached %s from %s", what, them, e.Hook)
}

// Hint says how to find out who it was, or is "".
func (e *LostError) Hint() string {
	switch {
	case e.How == Removed:
		return ""
	case e.ProgramID != 0:
		return fmt.Sprintf("bpftool prog show id %d tells of the other program, which stays", e.ProgramID)
	}
	return "bpftool net shows what is attached now"
}

// UnsupportedError is returned when the kernel, the driver or the interface as it
// is set up cannot do what was asked.
type UnsupportedError struct {
	Interface string
	Hook      run.Hook
	// Reason is the whole message.
	Reason string
	// Since is the first version of Linux that can, such as "5.9", where the
	// kernel is too old; else "".
	Since string
	// TryGeneric: native XDP alone cannot do it; tc can, and generic XDP.
	TryGeneric bool
	// Advice says what else helps, or is "".
	Advice string
	Err    error
}

func (e *UnsupportedError) Error() string { return e.Reason }

// Hint says what to do instead, or is "".
func (e *UnsupportedError) Hint() string {
	var hints []string
	if e.Advice != "" {
		hints = append(hints, e.Advice)
	}
	if e.TryGeneric {
		hints = append(hints, "use tc: --hook "+run.TC.String())
	}
	return strings.Join(hints, ", or ")
}

func (e *UnsupportedError) Unwrap() error { return e.Err }

// Class is that of what the kernel or the interface cannot do.
func (*UnsupportedError) Class() run.Class { return run.Unsupported }

// PrivilegeError is returned when the kernel does not permit something.
type PrivilegeError struct {
	// Doing is what was tried, such as "attach to eth1".
	Doing string
	// Missing are the capabilities that it takes and that the process does not
	// have, such as "CAP_BPF". It is empty where something else is in the way.
	Missing []string
	Err     error
}

func (e *PrivilegeError) Error() string {
	if len(e.Missing) == 0 {
		return fmt.Sprintf("cannot %s: the kernel does not permit it, though no capability is missing", e.Doing)
	}
	verb := "is"
	if len(e.Missing) > 1 {
		verb = "are"
	}
	return fmt.Sprintf("cannot %s: %s %s missing", e.Doing, strings.Join(e.Missing, " and "), verb)
}

// Hint says how the privilege is granted.
func (e *PrivilegeError) Hint() string {
	if len(e.Missing) == 0 {
		return "capabilities of a user namespace do not count"
	}
	// setcap replaces what a file had, so it has to name all that a run takes.
	grant := []string{"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"}
	for _, c := range e.Missing {
		if !slices.Contains(grant, c) {
			grant = append(grant, c)
		}
	}
	return fmt.Sprintf("run it with sudo, or grant it to everybody who may execute the file: setcap %s+ep $(command -v repacket)", strings.ToLower(strings.Join(grant, ",")))
}

func (e *PrivilegeError) Unwrap() error { return e.Err }

// Class is that of a privilege that is missing.
func (*PrivilegeError) Class() run.Class { return run.Privilege }

// NoInterfaceError is returned when there is no such interface.
type NoInterfaceError struct {
	Name  string // "" where it was asked for by number
	Index int
	// Near are the names of interfaces that may have been meant, best first.
	Near []string
	Err  error
}

func (e *NoInterfaceError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("there is no interface with the number %d (any more)", e.Index)
	}
	return fmt.Sprintf("there is no interface %s", e.Name)
}

// Hint names the interfaces that may have been meant, or is "".
func (e *NoInterfaceError) Hint() string {
	if len(e.Near) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(e.Near, " or ") + "?"
}

func (e *NoInterfaceError) Unwrap() error { return e.Err }

// Class is that of a command line that cannot be carried out.
func (*NoInterfaceError) Class() run.Class { return run.Usage }

// NamelessError is returned when what was loaded lacks the name by which list and
// detach know it. It is never attached.
type NamelessError struct {
	What string // such as "the program repacket"
}

func (e *NamelessError) Error() string {
	return "the kernel does not know " + e.What + " by its name, so list and detach would not find the rules"
}

// Hint says what to do instead.
func (*NamelessError) Hint() string { return "try again: the kernel was short of something" }

// NoDefaultRouteError is returned when no interface leads to everywhere.
type NoDefaultRouteError struct{}

func (*NoDefaultRouteError) Error() string {
	return "there is no default route, so no interface to choose"
}

// Hint says what to do instead.
func (*NoDefaultRouteError) Hint() string { return "name the interface: -i IFACE" }

// Class is that of a command line that cannot be carried out.
func (*NoDefaultRouteError) Class() run.Class { return run.Usage }

// NotAttachedError is returned when no program is on the interface for this direction.
type NotAttachedError struct {
	Interface string
	Direction run.Direction
}

func (e *NotAttachedError) Error() string {
	return "nothing is attached to " + onInterface(e.Interface, e.Direction)
}

// EgressXDPError is returned when XDP is asked for packets that leave.
type EgressXDPError struct {
	Interface string
	Hook      run.Hook
}

func (e *EgressXDPError) Error() string {
	return fmt.Sprintf("XDP sees only packets that arrive, not those that leave %s", e.Interface)
}

// Hint says what to do instead.
func (*EgressXDPError) Hint() string { return "leave out --hook, or --hook " + run.TC.String() }

// Class is that of a command line that cannot be carried out.
func (*EgressXDPError) Class() run.Class { return run.Usage }
