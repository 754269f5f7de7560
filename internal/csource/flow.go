package csource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// FlowsMap is the name of the map with the flows that rules track (semantics.md 5.5): an
// LRU_HASH, which the program of the rules and that of their replies share. Programs that
// track none do not have it.
const FlowsMap = "repacket_flows"

// FlowSize and TrackedSize are the sizes in bytes of its keys and of its values.
const (
	FlowSize    = 48
	TrackedSize = FlowSize + 4
)

// EntriesPerFlow is how many entries it has for each flow: what the flow was, by what it is since, and
// that by what it was.
const EntriesPerFlow = 2

// ScratchMap is the name of the map, a PERCPU_ARRAY of one entry, in which a program that has
// FlowsMap makes flows; ScratchSize is the size of its value.
const (
	ScratchMap  = "repacket_scratch"
	ScratchSize = 2 * TrackedSize
)

// flowStruct is what functions that know flows need: the structures and the map.
const flowStruct = "struct flow"

// flows are the structures and the map, if they are needed.
func (w *writer) flows() string {
	if !w.needs[flowStruct] {
		return ""
	}
	return fmt.Sprintf(`/* What packets of a flow have in common. */
struct flow {
	__be32 source[4]; /* of IPv4 the first word alone */
	__be32 dest[4];
	__be16 source_port;
	__be16 dest_port;
	__be16 identifier; /* of an ICMP message */
	__u16 message;     /* 0x100 and its type */
	__be16 vlan;
	__be16 cvlan;
	__u16 tags;        /* how many */
	__u8 ip6;
	__u8 protocol;
};

/* Added to the tags of a key: the flow is as it arrived. */
enum { AS_IT_ARRIVED = 0x100 };

/* A flow, and the rule that rewrote it. */
struct tracked {
	struct flow flow;
	__u32 rule;
};

_Static_assert(sizeof(struct tracked) == sizeof(struct flow) + 4, "no padding");

/*
 * The flows that rules have rewritten as they arrived, by what they look like since, and that
 * by what they were: two entries each. The program of the rules and that of their replies have to
 * be given the same map: "bpftool prog load" takes "map name %[1]s pinned FILE". Where
 * it is full, the kernel evicts flows that have been idle. Unlike Repacket's own table it
 * knows no idle time-outs, counts no evictions, and does not notice where an entry that is being
 * read is given to another flow.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, %[3]d);
	__type(key, struct flow);
	__type(value, struct tracked);
} %[1]s SEC(".maps");

/* The flows of the packet at hand: a few of them would be too much for the stack. */
struct scratch {
	struct tracked now;
	struct tracked left;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} %[2]s SEC(".maps");
`, FlowsMap, ScratchMap, EntriesPerFlow*65536)
}

// Where flows are: as a packet arrived and as it leaves, and what the flow that a packet
// answers held.
const (
	arrivedFlow = "flows->now.flow"
	leftFlow    = "flows->left.flow"
	heldFlow    = leftFlow
)

// owner is what entries name a rule by.
func (w *writer) owner(ruleIndex int) int {
	if w.options.Owners == nil {
		return ruleIndex
	}
	return int(w.options.Owners[ruleIndex])
}

// scratch are the lines that find the room for flows, all zeros.
func (w *writer) scratch() []string {
	w.need("scratch")
	return []string{"struct scratch *flows = scratch();", "", "if (!flows)", "\treturn XDP_PASS;"}
}

// flowOf are the lines that make the flow of a packet, or of the one that an ICMP error
// quotes, in a place of zeros. If belongs is not empty, it is a condition without
// which there is no flow.
func (w *writer) flowOf(f plan.TrackedFlow, name string) (lines []string, belongs string) {
	w.needs[flowStruct] = true
	l4 := field.Unquoted(f.L4)
	add := func(function, args string) { w.need(function); lines = append(lines, function+"("+args+");") }
	if field.Unquoted(f.L3) == field.IP6 {
		add("flow_ip6", "&"+name+", "+w.header(f.L3))
	} else {
		add("flow_ip", "&"+name+", "+w.header(f.L3))
	}
	if w.on == field.Ethernet {
		w.use(frameOffset)
		add("flow_vlans", "ctx, l3, &"+name)
	}
	switch l4 {
	case field.TCP, field.UDP:
		l4 := w.header(f.L4)
		add("flow_ports", fmt.Sprintf("&%s, %s, %s->src, %s->dest", name, w.protocol(field.Unquoted(f.L4)), l4, l4))
	case field.ICMP, field.ICMP6:
		w.need("flow_message")
		belongs = fmt.Sprintf("flow_message(ctx, &%s, %s, %s)", name, w.protocol(l4), w.header(f.L4))
	}
	return lines, belongs
}

// flowsOf are the lines that make the flow of a packet which a step rewrites, as it arrived and as it
// leaves. From then on the new addresses are in memory.
func (w *writer) flowsOf(s plan.Step) []string {
	if s.Track == nil {
		return nil
	}
	lines := append(w.scratch(), fmt.Sprintf("flows->now.rule = %d;", w.owner(s.Rule)))
	arrived, belongs := w.flowOf(*s.Track, arrivedFlow)
	lines = append(lines, arrived...)
	if belongs != "" {
		lines = append(lines, "int belongs = "+belongs+";", "")
	}
	lines = append(lines, "flows->left = flows->now;")
	lines = append(lines, w.asRewritten(s)...)
	for _, f := range written(s.Writes) {
		for _, name := range []string{"ip6_src", "ip6_dest"} {
			if address := field.MustByName(name); f.Proto == field.IP6 && address.Bit <= f.Bit && f.Bit < address.Bit+address.Width {
				at, _ := inFlow(memberOf(pieces(address)[0]))
				w.inMemory[address] = leftFlow + "." + strings.TrimSuffix(at, "[0]")
			}
		}
	}
	return lines
}

// enter are the lines that enter the flow, before the first store. Where another client's flow looks
// the same, the packet passes.
func (w *writer) enter(s plan.Step) []string {
	if s.Track == nil {
		return nil
	}
	w.need("track")
	cond := "!track(flows)"
	if _, belongs := w.flowOf(*s.Track, arrivedFlow); belongs != "" {
		cond = "belongs && " + cond
	}
	return []string{"if (" + cond + ") /* it would look like another client's */", "\treturn XDP_PASS;", ""}
}

// asRewritten are the lines that change a flow as the step changes the packet.
func (w *writer) asRewritten(s plan.Step) []string {
	var lines []string
	done := map[field.Protocol]bool{}
	for _, e := range s.Exchanges {
		src, dest := e.Swap.Fields()
		one, isOne := inFlow(memberOf(pieces(src)[0]))
		other, isOther := inFlow(memberOf(pieces(dest)[0]))
		if done[e.Swap.Proto] || !isOne || !isOther {
			continue
		}
		done[e.Swap.Proto] = true
		w.need("swap")
		lines = append(lines, fmt.Sprintf("swap(&%[1]s.%[2]s, &%[1]s.%[3]s, %[4]d);", leftFlow, one, other, src.Size()))
	}
	fields, values := w.valuesOf(s.Writes)
	for _, g := range groups(fields) {
		if at, ok := inFlow(g.member); ok {
			lines = append(lines, w.writeTo(leftFlow+"."+at, g, func(f *field.Field) content { return values[f] }))
		}
	}
	return lines
}

// inFlow is the member of a flow that has what a member of a header has; ok is false if
// there is none.
func inFlow(m *member) (name string, ok bool) {
	switch field.Unquoted(m.proto) {
	case field.IP, field.IP6:
		for _, end := range []struct{ prefix, name string }{{"src", "source"}, {"dest", "dest"}} {
			if rest, is := strings.CutPrefix(m.name, end.prefix); is && (rest == "" || rest[0] == '[') {
				return end.name + cmp.Or(rest, "[0]"), true
			}
		}
	case field.TCP, field.UDP:
		name, ok = map[string]string{"src": "source_port", "dest": "dest_port"}[m.name]
	case field.ICMP:
		return "identifier", m.name == "id"
	}
	return name, ok
}

// answering writes a step that acts on packets which answer a flow of its rule, or on
// ICMP errors that quote a packet of one.
func (w *writer) answering(s plan.Step) string {
	function := "answers"
	switch {
	case s.Answers.Reply:
		function = "was_answered"
	case s.Answers.L3.IsQuoted():
		function = "restore"
	}
	w.need(function)
	lines, belongs := w.flowOf(*s.Answers, heldFlow)
	found := fmt.Sprintf("%s(&%s, %d)", function, heldFlow, w.owner(s.Rule))
	if belongs != "" {
		found = all([]expr{atom(belongs), atom(found)}).layout(width("\t\tif ("))
	}
	act := indented("if ("+found+") {\n"+indented(w.act(s), 1)+"\n}", 2)
	head := "\t{\n"
	if s.Cond != nil {
		head = "\tif (" + w.cond(s.Cond).layout(width("\tif (")) + ") {\n"
	}
	made := indented(strings.Join(slices.Concat(w.scratch(), lines), "\n"), 2)
	return head + made + "\n" + act + "\n\t}\n\n"
}

// restored writes what a field held in the flow that was found. An address of an ICMP
// error is restored where it is that of the end of the quoted packet.
func (w *writer) restored(s plan.Step, f *field.Field) string {
	if s.Answers.L3.IsQuoted() && field.Unquote(f) == nil {
		src, dest := rule.Swap{Proto: f.Proto}.Fields()
		end := field.Quoted(dest)
		if f == dest {
			end = field.Quoted(src)
		}
		if f.Width > 64 {
			w.need("same")
			return fmt.Sprintf("same(%[1]s, %s, %d) ?\n\t%s :\n\t%[1]s", w.address(f), w.address(end), f.Size(), w.held(end))
		}
		return fmt.Sprintf("%s == %s ?\n\t%s :\n\t%s", w.whole(f), w.whole(end), w.held(end), w.whole(f))
	}
	return w.held(f)
}

// held writes what a field held in the flow that was found: as a number or, of IPv6 addresses, where
// it is.
func (w *writer) held(f *field.Field) string {
	m := memberOf(pieces(f)[0])
	at, ok := inFlow(m)
	if !ok {
		panic("csource: " + f.Name + " says nothing about a flow")
	}
	if f.Width > 64 {
		return heldFlow + "." + strings.TrimSuffix(at, "[0]")
	}
	return m.host(heldFlow + "." + at)
}
