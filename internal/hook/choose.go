package hook

import (
	"errors"
	"fmt"
	"strings"

	"repacket/internal/run"
)

// Need is what rules ask of a hook beside changing bytes.
type Need struct {
	// Sums: a rule changes what a checksum of TCP, UDP or ICMP covers.
	Sums bool
}

// Choice is where to attach.
type Choice struct {
	Hook run.Hook
	// Why is a line that says what was chosen and why, as in "tc: eth1 is a
	// veth, where XDP would switch segmentation offload off".
	Why string
	// Warnings say what will happen that may not be wanted.
	Warnings []run.Advice
	asked    question
}

// question is what a choice depends on.
type question struct {
	want run.Hook
	dir  run.Direction
	on   Iface
	need Need
}

// row is a line of the table of choices.
type row struct {
	when   func(question) bool
	choose run.Hook
	why    string // see words
}

// rows is the table of choices: the first row that holds is taken.
//
// XDP in native mode is taken where it is real and harmless: where the driver
// has it, and where packets do not come from within this machine. There they
// are not segmented and summed yet, and XDP would see what never was on a wire.
var rows = []row{
	{asks(run.TC), run.TC, "as asked"},
	{asks(run.XDP), run.XDP, "as asked"},
	{asks(run.GenericXDP), run.GenericXDP, "as asked"},
	{leaves, run.TC, "XDP sees only packets that arrive"},
	{has(RawIPLink), run.TC, "{name} has no Ethernet header, and so no native XDP"},
	{is("veth"), run.TC, "{name} is a veth, where XDP would switch segmentation offload off"},
	{isTap, run.TC, "{name} is a tap, where XDP could not see checksums that are finished later"},
	{native(Supported), run.XDP, "the driver of {name}{driver} has native XDP"},
	{both(native(Missing), software), run.TC, "{name} is {kind}, which has no native XDP"},
	{both(native(Missing), driven), run.TC, "the driver of {name}{driver} has no native XDP"},
	{native(Missing), run.TC, "{name} has no native XDP"},
	{always, run.TC, "whether {name}{driver} has native XDP is not known here (to try: --hook xdp)"},
}

// caution is a line of the table of warnings.
type caution struct {
	when          func(question, run.Hook) bool
	message, hint string // see words
}

const leaveItOut = "leave out --hook, or --hook tc"

// cautions is the table of warnings: all lines that hold are told.
var cautions = []caution{
	{
		func(q question, m run.Hook) bool { return m == run.XDP && q.on.Kind == "veth" },
		"{name} is a veth: while native XDP is on it, segmentation offload is off, which halves the speed of TCP", leaveItOut,
	},
	{
		func(q question, m run.Hook) bool { return m.IsXDP() && offloadsChecksums(q.on, m) && q.need.Sums },
		"{name} is {kind}: packets that were on no wire yet may carry checksums that are finished later, which XDP cannot see; rewritten and sent on, they are wrong", leaveItOut,
	},
	{
		func(q question, m run.Hook) bool {
			return m == run.GenericXDP && q.on.Native == Supported && q.on.Kind == ""
		},
		"generic XDP is slower than native XDP, which the driver of {name}{driver} has", "leave out --hook, or --hook xdp",
	},
	{
		func(q question, m run.Hook) bool {
			return m == run.GenericXDP && (q.on.Native != Supported || q.on.Kind != "")
		},
		"generic XDP copies large packets into one piece, which makes it slower than tc", leaveItOut,
	},
}

// Choose says where rules for an interface and a direction go. Auto chooses;
// another mode is taken as it is, with warnings. The errors are EgressXDPError,
// and UnsupportedError where no hook sees packets that rules can be held against.
func Choose(want run.Hook, dir run.Direction, on Iface, need Need) (Choice, error) {
	if on.Link == OtherLink {
		return Choice{}, &UnsupportedError{
			Interface: on.Name, Hook: want,
			Reason: on.Name + " carries neither Ethernet nor bare IP: its packets begin with a header that is not known here",
		}
	}
	if dir == run.Out && want.IsXDP() {
		return Choice{}, &EgressXDPError{Interface: on.Name, Hook: want}
	}
	q := question{want, dir, on, need}
	for _, r := range rows {
		if r.when(q) {
			return q.choice(r.choose, q.words(r.why)), nil
		}
	}
	panic("hook: the last row of the table holds always")
}

// Instead is what to choose when the kernel has refused a choice with this
// error: tc where the driver refuses native XDP, generic XDP where the kernel
// has no tc. ok is false where the mode was asked for, and where nothing is
// left or would help.
func (c Choice) Instead(err error) (instead Choice, ok bool) {
	var refused *UnsupportedError
	if c.asked.want != run.Auto || !errors.As(err, &refused) {
		return Choice{}, false
	}
	switch {
	case c.Hook == run.XDP:
		return c.asked.choice(run.TC, refused.Error()), true
	case c.Hook == run.TC && c.asked.dir == run.In:
		return c.asked.choice(run.GenericXDP, refused.Error()), true
	}
	return Choice{}, false
}

func (q question) choice(m run.Hook, why string) Choice {
	c := Choice{Hook: m, Why: m.String() + ": " + why, asked: q}
	for _, w := range cautions {
		if w.when(q, m) {
			c.Warnings = append(c.Warnings, run.Advice{Message: q.words(w.message), Hint: q.words(w.hint)})
		}
	}
	return c
}

// words puts the interface's own words into a text.
func (q question) words(text string) string {
	kind := q.on.Kind
	switch {
	case isTap(q):
		kind = "tap"
	case q.on.Link == LoopbackLink:
		kind = "loopback"
	case kind == "":
		kind = "virtio interface" // else no text asks
	}
	driver := ""
	if q.on.Driver != "" {
		driver = fmt.Sprintf(" (%s)", q.on.Driver)
	}
	article := "a "
	if strings.ContainsAny(kind[:1], "aeiou") {
		article = "an "
	}
	return strings.NewReplacer("{name}", q.on.Name, "{kind}", article+kind, "{driver}", driver).Replace(text)
}

// offloadsChecksums reports whether packets of local senders come through an interface
// with checksums that are not finished. Native XDP switches that off in
// virtio_net.
func offloadsChecksums(i Iface, m run.Hook) bool {
	switch i.Kind {
	case "veth", "netkit", "tun", "bridge", "macvlan", "ipvlan", "ifb":
		return true
	case "":
		return i.Link == LoopbackLink || i.Driver == "virtio_net" && m == run.GenericXDP
	}
	return false
}

func always(question) bool     { return true }
func leaves(q question) bool   { return q.dir == run.Out }
func isTap(q question) bool    { return q.on.Kind == "tun" && q.on.Ethernet }
func software(q question) bool { return q.on.Kind != "" }
func driven(q question) bool   { return q.on.Driver != "" }

func asks(m run.Hook) func(question) bool { return func(q question) bool { return q.want == m } }

func has(t LinkType) func(question) bool { return func(q question) bool { return q.on.Link == t } }

func is(kind string) func(question) bool { return func(q question) bool { return q.on.Kind == kind } }

func native(s Support) func(question) bool { return func(q question) bool { return q.on.Native == s } }

func both(a, b func(question) bool) func(question) bool {
	return func(q question) bool { return a(q) && b(q) }
}
