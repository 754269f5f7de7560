package run

import "slices"

// Hook is where in the kernel a program runs.
type Hook uint8

// The hooks. Auto leaves the choice to what the interface is.
const (
	Auto       Hook = iota
	XDP             // native XDP: in the driver, before a socket buffer is made
	GenericXDP      // XDP in the network stack, on socket buffers
	OffloadXDP      // XDP on the network card; only ever found, never asked for
	TC              // the traffic control hooks: tcx, or clsact where the kernel has none
)

var hookNames = [...]string{Auto: "auto", XDP: "xdp", GenericXDP: "xdp-generic", OffloadXDP: "xdp-offload", TC: "tc"}

// Hooks are the words of the hooks that can be asked for.
func Hooks() []string { return []string{"auto", "xdp", "xdp-generic", "tc"} }

// ParseHook reads the word of a hook that can be asked for.
func ParseHook(word string) (h Hook, ok bool) {
	if !slices.Contains(Hooks(), word) {
		return Auto, false
	}
	return Hook(slices.Index(hookNames[:], word)), true
}

// String is the hook's word on the command line.
func (h Hook) String() string { return hookNames[h] }

// MarshalText is the hook's word, as in JSON.
func (h Hook) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// IsXDP reports whether it is one of XDP.
func (h Hook) IsXDP() bool { return h == XDP || h == GenericXDP || h == OffloadXDP }

// Title is what people call the hook.
func (h Hook) Title() string {
	return [...]string{Auto: "", XDP: "native XDP", GenericXDP: "generic XDP", OffloadXDP: "offloaded XDP", TC: "tc"}[h]
}

// Direction says which packets of an interface a program sees.
type Direction uint8

// The directions.
const (
	In          Direction = iota // packets that arrive
	Out                          // packets that leave
	NoDirection                  // packets of a capture file, which does not say
)

// ParseDirection reads a direction's word.
func ParseDirection(word string) (d Direction, ok bool) {
	switch word {
	case "in":
		return In, true
	case "out":
		return Out, true
	}
	return In, false
}

// String is the direction's word on the command line.
func (d Direction) String() string { return [...]string{In: "in", Out: "out", NoDirection: ""}[d] }

// MarshalText is the direction's word, as in JSON.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Other is the opposite direction.
func (d Direction) Other() Direction { return Out - d }
