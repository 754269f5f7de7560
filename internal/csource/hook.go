package csource

import "strings"

// Hook is where in the kernel a program runs.
type Hook uint8

// The hooks.
const (
	XDP Hook = iota
	TC       // tcx, or cls_bpf in direct action mode, in either direction
)

// Options say what a program is written for.
type Options struct {
	Hook Hook
	// Fragments makes an XDP program take packets in several buffers (native
	// mode with a large MTU).
	Fragments bool
	// Interfaces are the indexes of the interfaces that rules redirect to, by
	// name. A program that misses one does not compile.
	Interfaces map[string]int
	// HandedDraws makes the program take its random numbers from DrawsMap, and
	// draw none itself. That is for tests.
	HandedDraws bool
	// Owners are what entries of FlowsMap name the rules by, in the order of rules as
	// written; nil: their place, from 0.
	Owners []uint16
}

// section is the ELF section by which loaders know what the program is.
func (o Options) section() string {
	switch {
	case o.Hook == TC:
		return "tc"
	case o.Fragments:
		return "xdp.frags"
	}
	return "xdp"
}

// tcWords are the words of the hook tc for those of XDP.
var tcWords = strings.NewReplacer(
	"struct xdp_md", "struct __sk_buff",
	"bpf_xdp_get_buff_len(ctx)", "ctx->len",
	"bpf_xdp_load_bytes", "bpf_skb_load_bytes",
	"XDP_PASS", "TC_ACT_UNSPEC",
	"XDP_DROP", "TC_ACT_SHOT",
	"return XDP_TX;", "return bpf_redirect(ctx->ifindex, 0);",
)

// words are a text for the hook; it is written for XDP.
func (o Options) words(text string) string {
	if o.Hook == TC {
		return tcWords.Replace(text)
	}
	return text
}
