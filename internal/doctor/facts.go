package doctor

import (
	"strings"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// System is where facts come from.
type System interface {
	// ReadFile reads a file of /proc or /sys.
	ReadFile(path string) ([]byte, error)
	// PageSize is in bytes.
	PageSize() int
	// Has tries whether the kernel has a feature.
	Has(hook.Feature) (bool, error)
	Interface(name string) (hook.Iface, error)
	Interfaces() ([]hook.Iface, error)
	// Programs is what is on an interface, as far as it is to be seen.
	Programs(ifindex int, dir run.Direction) ([]hook.Program, error)
	// TakesFragments reports whether native XDP takes packets in several buffers.
	TakesFragments(on hook.Iface) hook.Support
	// Switches are the offloads of an interface by the kernel's names.
	Switches(iface string) (map[string]Switch, error)
	Channels(iface string) (Channels, error)
}

// Switch is an offload.
type Switch struct {
	On bool
	// Fixed: the driver does not let it be changed.
	Fixed bool
}

// Channels are the queues of an interface, as they are and as there can be.
// Combined ones receive and transmit.
type Channels struct{ Rx, Tx, Combined, MaxRx, MaxTx, MaxCombined int }

// Seen is a fact, or why it is not to be seen.
type Seen[T any] struct {
	Value T
	Err   error
}

func see[T any](value T, err error) Seen[T] { return Seen[T]{value, err} }

// Facts are what the checks know. The part below Iface is about one interface.
type Facts struct {
	Page  int // bytes
	Files map[string]Seen[string]
	Has   map[hook.Feature]Seen[bool]

	Iface     hook.Iface
	Fragments hook.Support
	Switches  Seen[map[string]Switch]
	Channels  Seen[Channels]
	Programs  map[run.Direction]Seen[[]hook.Program]
	In, Out   Seen[hook.Choice]
	// Peer is the other end of a veth, if it is in this network namespace.
	Peer         hook.Iface
	PeerSwitches Seen[map[string]Switch]
	PeerChannels Seen[Channels]
}

// Files that the checks look at.
const (
	releaseFile      = "/proc/sys/kernel/osrelease"
	unprivilegedFile = "/proc/sys/kernel/unprivileged_bpf_disabled"
	jitFile          = "/proc/sys/net/core/bpf_jit_enable"
	statusFile       = "/proc/thread-self/status"
	mountsFile       = "/proc/thread-self/mounts"
	lockdownFile     = "/sys/kernel/security/lockdown"
	possibleFile     = "/sys/devices/system/cpu/possible"
)

// gather looks at the machine.
func gather(s System) Facts {
	f := Facts{Page: s.PageSize(), Files: map[string]Seen[string]{}, Has: map[hook.Feature]Seen[bool]{}}
	for _, path := range []string{
		releaseFile, unprivilegedFile, jitFile, statusFile, mountsFile, lockdownFile, possibleFile,
	} {
		text, err := s.ReadFile(path)
		f.Files[path] = see(strings.TrimSpace(string(text)), err)
	}
	for _, feature := range []hook.Feature{
		hook.XDPPrograms, hook.TCPrograms, hook.TCX, hook.XDPLinks, hook.XDPFragments, hook.Loop, hook.JIT,
	} {
		f.Has[feature] = see(s.Has(feature))
	}
	return f
}

// of are the facts of an interface beside those of the machine.
func (f Facts) of(s System, on hook.Iface) *Facts {
	f.Iface = on
	f.Fragments = s.TakesFragments(on)
	f.Switches = see(s.Switches(on.Name))
	f.Channels = see(s.Channels(on.Name))
	need := hook.Need{Sums: true}
	f.In = see(hook.Choose(run.Auto, run.In, on, need))
	f.Out = see(hook.Choose(run.Auto, run.Out, on, need))
	f.Programs = map[run.Direction]Seen[[]hook.Program]{}
	for _, dir := range []run.Direction{run.In, run.Out} {
		f.Programs[dir] = see(s.Programs(on.Index, dir))
	}
	if on.Peer == 0 || on.PeerElsewhere {
		return &f
	}
	all, _ := s.Interfaces() // without them the peer is not to be seen
	for _, i := range all {
		if i.Index == on.Peer {
			f.Peer = i
			f.PeerSwitches = see(s.Switches(i.Name))
			f.PeerChannels = see(s.Channels(i.Name))
		}
	}
	return &f
}

// file is what a file holds.
func (f *Facts) file(path string) (string, error) {
	seen := f.Files[path]
	return seen.Value, seen.Err
}

// native reports whether rules for packets that arrive go to native XDP here, or
// are there already.
func (f *Facts) native() bool {
	if f.In.Err == nil && f.In.Value.Hook == run.XDP {
		return true
	}
	for _, a := range f.Programs[run.In].Value {
		if a.Ours && a.Hook == run.XDP {
			return true
		}
	}
	return false
}

// grade is a warning where rules are at native XDP, else a note.
func (f *Facts) grade() Level {
	if f.native() {
		return Warning
	}
	return Note
}
