package hook

// Feature is something that kernels have or lack.
type Feature uint8

// The features.
const (
	XDPPrograms  Feature = iota // programs for XDP can be loaded
	TCPrograms                  // programs for tc can be loaded
	TCX                         // tc's hooks that take links; else clsact has to do
	XDPLinks                    // XDP that goes with its process
	XDPFragments                // XDP for packets in several buffers
	Loop                        // the helper bpf_loop
	JIT                         // programs are compiled, not interpreted
)

var featureNames = [...]string{
	XDPPrograms: "XDP programs", TCPrograms: "tc programs", TCX: "tcx", XDPLinks: "XDP links",
	XDPFragments: "multi-buffer XDP", Loop: "bpf_loop", JIT: "JIT",
}

func (f Feature) String() string { return featureNames[f] }
