package csource

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// label is what a routine is called: a part of its name and of its title.
type label struct{ name, title string }

// nameChains names the routines of the chains after the packets that they are
// for, as shortly as they can be told apart.
func (w *writer) nameChains(pl *plan.Program) {
	var list []*routine
	for _, r := range w.routines {
		if len(r.uses) == 0 {
			continue
		}
		base := baseLabel(r.uses, pl)
		r.name, r.title = base.name, base.title
		list = append(list, r)
	}
	for _, qualify := range []func([]plan.Class) label{byNetwork, byTags, byWay, byOption, byQuote, byQuotedSum} {
		for _, same := range sameNames(list) {
			labels := map[label]bool{}
			for _, r := range same {
				labels[qualify(r.uses)] = true
			}
			if len(labels) == 1 {
				continue
			}
			for _, r := range same {
				l := qualify(r.uses)
				r.name, r.title = r.name+l.name, r.title+l.title
			}
		}
	}
	for _, same := range sameNames(list) {
		for i, r := range same[1:] {
			r.name = fmt.Sprintf("%s_%d", r.name, i+2)
		}
	}
}

// sameNames are the routines by their names.
func sameNames(list []*routine) [][]*routine {
	var out [][]*routine
next:
	for _, r := range list {
		for i := range out {
			if out[i][0].name == r.name {
				out[i] = append(out[i], r)
				continue next
			}
		}
		out = append(out, []*routine{r})
	}
	return out
}

// baseLabel names packets by their innermost header.
func baseLabel(uses []plan.Class, pl *plan.Program) label {
	var headers []field.Protocol
	bare := slices.ContainsFunc(uses, func(c plan.Class) bool { return c.L4 == field.None })
	for _, c := range uses {
		p := c.L4
		if bare {
			p = c.L3
		}
		if p == field.None {
			return otherLabel(uses, pl)
		}
		if !slices.Contains(headers, p) {
			headers = append(headers, p)
		}
	}
	slices.Sort(headers)
	var names, titles []string
	for _, p := range headers {
		names = append(names, p.String())
		titles = append(titles, p.Header().Title)
	}
	title := strings.Join(titles, " and ") + " packets"
	if bare && headers[0] != field.ARP && tellsTransport(pl) {
		title = "All other " + title
	}
	return label{strings.Join(names, "_or_") + "_packet", title}
}

// otherLabel names packets without any header that is told apart.
func otherLabel(uses []plan.Class, pl *plan.Program) label {
	if tellsNetwork(pl) {
		return label{"other_packet", "All other packets"}
	}
	l := byTags(uses)
	return label{strings.TrimPrefix(l.name+"_packet", "_"), "Packets" + l.title}
}

func tellsNetwork(pl *plan.Program) bool {
	return slices.ContainsFunc(pl.Levels, func(l plan.Level) bool { return l.ARP != nil || l.IP != nil || l.IP6 != nil })
}

func tellsTransport(pl *plan.Program) bool {
	return slices.ContainsFunc(pl.Levels, func(l plan.Level) bool {
		return l.IP != nil && len(l.IP.L4) > 0 || l.IP6 != nil && len(l.IP6.L4) > 0
	})
}

// only gives the one value that all uses have, if they do.
func only[T comparable](uses []plan.Class, of func(plan.Class) T) (v T, ok bool) {
	v = of(uses[0])
	for _, c := range uses[1:] {
		if of(c) != v {
			return v, false
		}
	}
	return v, true
}

func byNetwork(uses []plan.Class) label {
	p, ok := only(uses, func(c plan.Class) field.Protocol { return c.L3 })
	if !ok || p == field.None || uses[0].L4 == field.None {
		return label{}
	}
	return label{"_over_" + p.String(), " over " + p.Header().Title}
}

func byTags(uses []plan.Class) label {
	least, most := uses[0].Tags, uses[0].Tags
	for _, c := range uses {
		least, most = min(least, c.Tags), max(most, c.Tags)
	}
	switch {
	case most == 0:
		return label{"_untagged", " without a VLAN tag"}
	case least == 2:
		return label{"_twice_tagged", " with two VLAN tags"}
	case least == 1 && most == 1:
		return label{"_once_tagged", " with one VLAN tag"}
	case least == 1:
		return label{"_tagged", " with VLAN tags"}
	}
	return label{}
}

func byWay(uses []plan.Class) label {
	way, ok := only(uses, func(c plan.Class) plan.Way { return c.Way })
	direct := slices.ContainsFunc(uses, func(c plan.Class) bool { return c.Way == plan.Direct })
	switch {
	case direct:
		return label{}
	case ok && way == plan.Routed && uses[0].L3 == field.IP:
		return label{"_source_routed", " with a source route that has hops left"}
	case ok && way == plan.Routed:
		return label{"_routed", " behind a routing header with segments left"}
	case !slices.ContainsFunc(uses, func(c plan.Class) bool { return !c.Way.Homed() }):
		return label{"_homed", " with the option Home Address"}
	}
	return label{"_extended", " behind extension headers"}
}

func byOption(uses []plan.Class) label {
	mss, _ := only(uses, func(c plan.Class) bool { return c.MSS })
	odd, same := only(uses, func(c plan.Class) bool { return c.Odd })
	plain := slices.ContainsFunc(uses, func(c plan.Class) bool { return !c.MSS })
	switch {
	case plain || !mss:
		return label{}
	case !same:
		return label{"_with_mss", " with the option MSS"}
	case odd:
		return label{"_with_odd_mss", " with the option MSS at an odd place"}
	}
	return label{"_with_even_mss", " with the option MSS at an even place"}
}
