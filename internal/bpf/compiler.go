package bpf

import (
	"maps"
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// uses is what a program needs beyond the plain way.
type uses struct {
	sums     bool // some rule makes a whole sum
	pseudo   bool // and with a pseudo-header
	options  bool // some rule asks for TCP's MSS
	quotes   bool // some rule asks for what ICMP errors quote
	verdicts bool // some rule does not let the packet pass
	redirect bool // a helper sends the packet of some rule
	draws    bool // some rule asks for a random number
	flows    bool // some rule asks for the hash of a flow
	tracks   bool // some rule tracks flows
	// originals says that flows are looked up by what they were: only then their index is worth its time.
	originals bool
	acts      bool // there is a rule at all
	scratch   int  // bytes that values are worked out in
	searches  int  // of ordered tables
}

func usesOf(p *plan.Program, hook abi) uses {
	u := uses{draws: p.Draws > 0}
	for _, ch := range p.Chains() {
		u.acts = u.acts || len(ch.Acting()) > 0
		for _, s := range ch.Acting() {
			u.flows = u.flows || s.Flow != nil
			u.originals = u.originals || s.Answers != nil && s.Answers.Reply
			u.tracks = u.tracks || s.Track != nil || s.Answers != nil
			u.scratch = max(u.scratch, (s.Scratch()+7)&^7)
			u.verdicts = u.verdicts || s.Verdict != rule.Pass
			u.redirect = u.redirect || hook.redirects(s.Verdict)
			u.sums = u.sums || slices.ContainsFunc(s.Sums, func(sum plan.Sum) bool { return sum.Op != plan.Adjust })
			u.pseudo = u.pseudo || slices.ContainsFunc(s.Sums, func(sum plan.Sum) bool {
				return sum.Op != plan.Adjust && sum.Check.Proto != field.IP && sum.Check.Proto != field.ICMP
			})
			if s.Lookup != nil && s.Lookup.Table.Kind == plan.Ordered {
				u.searches++
			}
		}
	}
	for _, l := range p.Levels {
		for _, n := range []*plan.Network{l.IP, l.IP6} {
			u.options = u.options || n.Any(plan.Leaf.Scans)
			u.quotes = u.quotes || n.Any(plan.Leaf.Quotes)
		}
	}
	return u
}

// compiler lays a program out: what is common first, each chain once.
type compiler struct {
	*code
	entries map[location]*entry
	queue   []location // chains that may still have to be emitted
}

// location is where a chain is: once for each place of the first tag, if it looks
// at the link.
type location struct {
	*plan.Chain
	offloaded bool
}

// entry is where a chain begins.
type entry struct {
	assembler.Label
	placed bool // it has been emitted
}

func newCompiler(p *plan.Program, o Options) *compiler {
	return newCompilerIn(assembler.New(ProgramName, CountersName), p, o)
}

// newCompilerIn is newCompiler for a program in which there may be more than what it emits.
func newCompilerIn(a *assembler.Assembler, p *plan.Program, o Options) *compiler {
	at := abis[o.Hook]
	c := &code{
		Assembler: a, frame: assembler.NewFrame(slots),
		plan: p, opt: o, abi: at, use: usesOf(p, at), functions: map[string]func(){},
		flowFunctions: map[string]func(){}, skips: map[Reason]assembler.Label{},
		reg: registers{ctx: asm.R1, l3: asm.R2, end: asm.R3, l4: asm.R4},
	}
	if o.Timed {
		c.reg.ctx = asm.R6
	}
	if c.use.sums || c.use.options || c.use.quotes || c.use.draws || c.use.tracks || at.calls || o.Record != nil || p.Tests != nil {
		c.reg = registers{ctx: asm.R6, l3: asm.R7, l4: asm.R8, end: asm.R9}
	}
	c.pass, c.count = c.NewLabel(), c.NewLabel()
	c.abort = c.pass
	if o.Record != nil {
		c.abort = c.NewLabel()
	}
	c.hook = emitterFor(c)
	return &compiler{code: c, entries: map[location]*entry{}}
}

// program emits everything. It is false if it gave up, since that would be too much.
func (c *compiler) program() bool {
	c.body()
	c.behind()
	return c.Len() <= mostEmitted
}

// body emits what runs by itself.
func (c *compiler) body() {
	c.prologue()
	if c.plan.Blind() {
		c.enter(c.plan.Levels[0].Other)
	} else {
		(&parser{c}).packet()
	}
	c.epilogue()
	for len(c.rest) > 0 || len(c.queue) > 0 {
		if len(c.rest) > 0 {
			next := c.rest[0]
			c.rest = c.rest[1:]
			next()
			continue
		}
		next := c.queue[0]
		c.queue = c.queue[1:]
		if !c.entries[next].placed {
			c.context, c.frame.Phase = context{offloaded: next.offloaded}, parsing
			c.enter(next.Chain)
		}
	}
	c.abandon()
}

// behind emits the functions that the body calls. Nothing but functions stands behind them.
func (c *compiler) behind() {
	for _, name := range []string{chunkFunction, optionFunction, routeFunction, homeFunction, beginFunction, endFunction, whyFunction} {
		if emit := c.functions[name]; emit != nil {
			of := functionType(name)
			of.Name = c.prefix + name
			c.Function(of)
			emit()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.flowFunctions)) {
		c.ForRule(assembler.NoRule)
		c.flowFunctions[name]()
	}
}

// prologue gives up at the deadline and loads the packet's ends.
func (c *compiler) prologue() {
	c.About("packet")
	if c.reg.ctx != asm.R1 {
		c.Emit(asm.Mov.Reg(c.reg.ctx, asm.R1))
	}
	if c.opt.Timed {
		c.About("deadline")
		c.Call(asm.FnKtimeGetCoarseNs)
		c.Emit(asm.LoadMapValue(asm.R1, c.opt.Deadline, 0), asm.LoadMem(asm.R1, asm.R1, 0, asm.DWord))
		c.Jump(c.pass, asm.JGE.Reg(value, asm.R1, ""))
	}
	if !c.plan.Blind() {
		c.About("packet")
		c.ends()
		c.hook.linearize()
	}
}

// entry is the label of a chain, which is emitted behind all else unless it is
// entered before; an empty one is the way out.
func (c *compiler) entry(ch *plan.Chain) assembler.Label {
	if len(ch.Steps) == 0 {
		return c.pass
	}
	at := location{ch, c.offloaded && ch.OnLink()}
	if c.entries[at] == nil {
		c.entries[at] = &entry{Label: c.NewLabel()}
		c.queue = append(c.queue, at)
	}
	return c.entries[at].Label
}

// enter goes on with a chain, and emits it here if that has not been done.
func (c *compiler) enter(ch *plan.Chain) {
	l := c.entry(ch)
	to := c.entries[location{ch, c.offloaded && ch.OnLink()}]
	if l == c.pass || to.placed || !c.Reached(l) {
		c.Goto(l)
		return
	}
	to.placed = true
	c.BindLoop(l)
	before, phase := c.context, c.frame.Phase
	c.chain, c.frame.Phase = ch, matching
	c.hook.begin()
	if slices.ContainsFunc(ch.Steps, func(s plan.Step) bool { return s.Why != nil }) {
		c.hook.countAhead()
	}
	for i, s := range ch.Steps {
		if c.Len() > mostEmitted {
			break // a program that is not finished
		}
		next := c.pass
		if i < len(ch.Steps)-1 {
			next = c.NewLabel()
		}
		c.step(s, next)
		if next != c.pass {
			c.Bind(next)
		}
	}
	if n := len(ch.Steps); ch.Steps[n-1].Why != nil {
		c.Goto(c.pass)
	}
	c.ForRule(assembler.NoRule)
	c.context, c.frame.Phase = before, phase
}

// step emits a step of the chain at hand, and goes to next if it does not act.
func (c *compiler) step(s plan.Step, next assembler.Label) {
	c.frame.Phase = matching
	c.ForRule(s.Rule)
	if k, ok := c.Known().(held); ok && k.host {
		// The verifier would carry one more range of values for each rule
		// behind, and could prune none of them: quadratic.
		c.Forget()
	}
	switch {
	case s.Why != nil:
		reasons{c.code}.find(s.Why)
	case len(s.Select) > 0:
		tables{c.code}.choose(s.Select, next)
	case s.Lookup != nil:
		tables{c.code}.lookup(s, next)
	default:
		conditions{c.code}.branch(s.Cond, next, false)
		if s.Answers != nil {
			flows{c.code}.find(s, next)
		}
		c.hook.act(s)
	}
}

// Registers in which the packet's length and, at tc, the number of packets that
// it stands for outlive the call that finds the counter. The context is not
// needed behind it.
const (
	packetLength = asm.R6
	segments     = asm.R7
)

// epilogue counts the packet, whose rule is on the stack, and passes it on.
func (c *compiler) epilogue() {
	c.About("count")
	c.frame.Phase = counting
	if c.use.acts { // other chains stand behind
		c.BindLoop(c.count)
	} else {
		c.Bind(c.count)
	}
	add := c.hook.measure()
	c.Call(asm.FnMapLookupElem, assembler.Map(c.opt.Counters), c.address(slotRule))
	c.Jump(c.pass, asm.JEq.Imm(asm.R0, 0, ""))
	c.Emit(asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord), add, asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord))
	c.Emit(asm.LoadMem(asm.R1, asm.R0, 8, asm.DWord), asm.Add.Reg(asm.R1, packetLength), asm.StoreMem(asm.R0, 8, asm.R1, asm.DWord))
	if c.use.verdicts {
		c.About("verdict")
		c.Emit(asm.LoadMem(asm.R0, asm.R10, c.frameOffset(slotVerdict), asm.Word))
		if c.use.redirect {
			redirect := c.NewLabel()
			c.Jump(redirect, asm.JEq.Imm32(asm.R0, c.abi.verdicts[rule.ToInterface], ""))
			c.Exit()
			c.Bind(redirect)
			c.Call(asm.FnRedirect, c.content(slotRedirect), assembler.Imm(0))
		}
		c.Exit()
	}
	c.BindLoop(c.pass)
	c.About("pass")
	c.Emit(asm.Mov.Imm32(asm.R0, c.abi.verdicts[rule.Pass]))
	c.Exit()
}

// abandon stands behind all rewrites and lets a packet pass whose record has begun.
func (c *compiler) abandon() {
	if c.opt.Record == nil {
		return
	}
	c.frame.Phase = storing
	c.Bind(c.abort)
	recorder{c.code}.discard()
	c.Goto(c.pass)
}

// fieldWindows are those of a field, most significant first.
func fieldWindows(f *field.Field) []plan.Window { return plan.Compute{Field: f}.Windows() }
