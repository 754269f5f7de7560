package csource

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// param is a parameter of a routine.
type param string

// The parameters. Headers that are not here are handed over under their names.
const (
	ctxParam    param = "ctx"
	frameEnd    param = "end"
	inside      param = "at"       // what the link's header carries
	insideType  param = "type"     // and its type
	outerType   param = "eth_type" // at tc, that of the frame and
	outerTCI    param = "tci"      // the outer VLAN tag, which may be offloaded
	frameOffset param = "l3"       // where the IP header begins in the frame
	ipHeader    param = "ip"
	ip6Header   param = "ip6"
	l4Offset    param = "l4_offset"     // at tc, where the layer-4 header begins in the frame
	otherCheck  param = "other"         // the checksum of a protocol without fields
	neverZero   param = "nonzero_other" // whether one of 0 is sent as 0xffff
	addressAt   param = "elsewhere"     // from the IP header to an address of the pseudo-header that stands behind it
	wayParam    param = "way"           // from the IPv6 header to the layer-4 header
)

// declarations are those of the parameters, in order.
var declarations = sync.OnceValue(func() []declaration {
	out := []declaration{
		{ctxParam, "struct xdp_md *ctx"},
		{inside, "void *at"},
		{frameEnd, "void *end"},
		{insideType, "__be16 type"},
		{outerType, "__be16 eth_type"},
		{outerTCI, "__be16 tci"},
		{frameOffset, "__u32 l3"},
		{wayParam, "__u32 way"},
		{addressAt, "__u32 elsewhere"},
		{l4Offset, "__u32 l4_offset"},
		{otherCheck, "__be16 *other"},
		{neverZero, "int nonzero_other"},
	}
	for _, p := range field.AllProtocols() {
		name := variable(p)
		out = append(out, declaration{param(name), "struct " + structureName(p) + " *" + name})
	}
	return out
})

type declaration struct {
	param
	text string
}

// routine is a function of the program: of a class of packets, or on the way
// to it.
type routine struct {
	params map[param]bool
	body   string
	// uses are the classes of packets that it is for, if it is a chain.
	uses  []plan.Class
	name  string
	title string
	// text is that of a function which is written already.
	text string
}

// routineOf gives the routine with that body, a new one if there is none yet.
func (w *writer) routineOf(body string) *routine {
	for _, r := range w.routines {
		if r.text == "" && r.body == body {
			return r
		}
	}
	r := &routine{params: w.params, body: body}
	w.routines = append(w.routines, r)
	return r
}

// given are the parameters of a routine that is called, as they are named where
// it is called.
type given map[param]string

// callOf writes the call of a routine, or the verdict if nothing is to be done.
func (w *writer) callOf(r *routine, g given) string {
	if r == nil {
		return "XDP_PASS"
	}
	var args []string
	for _, d := range declarations() {
		if !r.params[d.param] {
			continue
		}
		arg, ok := g[d.param]
		if !ok {
			arg = string(d.param)
			w.use(d.param)
		}
		args = append(args, arg)
	}
	return r.name + "(" + strings.Join(args, ", ") + ")"
}

// mostParams is how many parameters a function can have that is really called,
// and longBody how long is one that should be: jumps reach so far only.
const (
	mostParams = 5
	longBody   = 5000
)

// written is the routine's function, which is called so often.
func (r *routine) written(calls int) string {
	if r.text != "" {
		return r.text
	}
	how := "__always_inline"
	if (calls > 1 || len(r.body) > longBody) && len(r.params) <= mostParams {
		how = "__noinline"
	}
	var params []string
	for _, d := range declarations() {
		if r.params[d.param] {
			params = append(params, d.text)
		}
	}
	head := flow("static "+how+" int "+r.name+"(", params, ",") + ")"
	return fmt.Sprintf("/* %s. */\n%s\n{\n%s}\n", r.title, head, r.body)
}

// written are the functions of the routines; main calls some of them.
func (w *writer) written(main string) []string {
	bodies := main
	for _, r := range w.routines {
		bodies += r.body
	}
	var out []string
	for _, r := range w.routines {
		out = append(out, r.written(strings.Count(bodies, "return "+r.name+"(")))
	}
	return out
}

// chain gives the routine of a chain, nil if nothing is done there.
func (w *writer) chain(c *plan.Chain, use plan.Class) {
	if c == nil || len(c.Steps) == 0 {
		return
	}
	r := w.chains[c]
	if r == nil {
		w.params = map[param]bool{ctxParam: true}
		r = w.routineOf(w.steps(c))
		w.chains[c] = r
	}
	if !slices.Contains(r.uses, use) {
		r.uses = append(r.uses, use)
	}
}

// steps writes the steps of a chain.
func (w *writer) steps(c *plan.Chain) string {
	var b strings.Builder
	for _, s := range c.Steps {
		text := crop(words(w.program.Written[s.Rule]))
		b.WriteString(indented(comment(text), 1) + "\n")
		if s.Answers != nil {
			b.WriteString(w.answering(s))
			continue
		}
		if s.Cond == nil {
			b.WriteString(indented(w.act(s), 1) + "\n")
			return b.String()
		}
		fmt.Fprintf(&b, "\tif (%s) {\n%s\n\t}\n\n", w.cond(s.Cond).layout(width("\tif (")), indented(w.act(s), 2))
	}
	b.WriteString("\treturn XDP_PASS;\n")
	return b.String()
}
