package csource

import (
	"fmt"
	"reflect"
	"strings"

	"repacket/internal/plan"
)

// entry is the program's function: it finds out which headers are there and
// goes to the function of that class of packets.
func (w *writer) entry(pl *plan.Program, o Options) string {
	head := fmt.Sprintf("SEC(%q)\nint %s(struct xdp_md *ctx)\n{\n", o.section(), ProgramName)
	if pl.Alike {
		return head + w.alike(pl.NoIP) + "}\n"
	}
	var l4 strings.Builder
	for _, ch := range pl.L4 {
		title := ch.Proto.Header().Title + " packets"
		fmt.Fprintf(&l4, "\tif (carries(ip, l4, end, %s, sizeof(struct %s)))\n\t\treturn %s;\n",
			w.protocol(ch.Proto), w.structure(ch.Proto), w.class(ch, ch.Proto.String()+"_packet", title))
	}
	plain, noIP := w.others(pl)
	return head + w.locals(len(pl.L4) > 0) + "\tif (!l3)\n\t\treturn " + noIP + ";\n" +
		w.pointers(len(pl.L4) > 0) + l4.String() + "\treturn " + plain + ";\n}\n"
}

// others writes what is done with packets that have none of the layer-4
// headers, and with those that have no IPv4 header.
func (w *writer) others(pl *plan.Program) (plain, noIP string) {
	if reflect.DeepEqual(pl.NoIP.Steps, pl.IP.Steps) {
		call := w.class(pl.NoIP, "other_packet", "All other packets")
		return call, call
	}
	title := "IPv4 packets"
	if len(pl.L4) > 0 {
		title = "All other IPv4 packets"
	}
	plain = w.class(pl.IP, "ip_packet", title)
	return plain, w.class(pl.NoIP, "packet_without_ip", "Packets without an IPv4 header")
}

// alike is the body of a program that looks at no header.
func (w *writer) alike(ch plan.Chain) string {
	if len(ch.Steps) == 0 {
		return "\t(void)ctx;\n\treturn XDP_PASS;\n"
	}
	return w.chain(ch)
}

// locals declares the variables of the entry and finds the IPv4 header.
func (w *writer) locals(l4 bool) string {
	w.need(findIP)
	text := `	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 l3 = find_ip(data, end);
`
	if w.usesIP(l4) {
		text += "\tstruct ip_header *ip;\n"
	}
	if l4 {
		text += "\tvoid *l4;\n"
	}
	return text + "\n"
}

func (w *writer) usesIP(l4 bool) bool { return l4 || w.needs[ipVariable] }

// pointers sets the pointers to the headers.
func (w *writer) pointers(l4 bool) string {
	text := ""
	if w.usesIP(l4) {
		text = "\tip = data + l3;\n"
	}
	if l4 {
		w.need(carries)
		text += "\tl4 = (void *)ip + header_length(ip);\n"
	}
	return text
}

// class writes the function of a class and returns the call of it, or the
// verdict if nothing is to be done.
func (w *writer) class(ch plan.Chain, name, title string) string {
	if len(ch.Steps) == 0 {
		return "XDP_PASS"
	}
	w.params = map[param]bool{}
	body := w.chain(ch)
	proto := ch.Proto.String()
	declared, given := []string{"struct xdp_md *ctx"}, []string{"ctx"}
	for _, p := range []struct {
		param
		declaration string
	}{{frameOffset, "__u32 l3"}, {ipHeader, "struct ip_header *ip"}, {l4Header, "struct " + proto + "_header *" + proto}} {
		if w.params[p.param] {
			declared, given = append(declared, p.declaration), append(given, string(p.param))
		}
	}
	if w.params[ipHeader] {
		w.need(ipVariable)
	}
	head := flow("static __always_inline int "+name+"(", declared, ",") + ")"
	w.functions = append(w.functions, fmt.Sprintf("/* %s. */\n%s\n{\n%s}\n", title, head, body))
	return name + "(" + strings.Join(given, ", ") + ")"
}

// chain writes the steps of a class.
func (w *writer) chain(ch plan.Chain) string {
	var b strings.Builder
	for _, s := range ch.Steps {
		text := crop(words(w.program.Written[s.Rule]))
		b.WriteString(indented(comment(text), 1) + "\n")
		if s.Cond == nil {
			b.WriteString(indented(w.act(s), 1) + "\n")
			return b.String()
		}
		fmt.Fprintf(&b, "\tif (%s) {\n%s\n\t}\n\n", w.cond(s.Cond).layout(width("\tif (")), indented(w.act(s), 2))
	}
	b.WriteString("\treturn XDP_PASS;\n")
	return b.String()
}
