package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"repacket/internal/run"
	"repacket/internal/spelling"
)

// nothing says, where nothing matched, what is known of why.
func (r *report) nothing() {
	if r.file != nil {
		r.nothingInFile()
		return
	}
	t, err := r.traffic()
	if err != nil { // as where the interface is gone
		t.Interface = r.target.Interface
		r.out.status("nothing matched: only packets that %s %s are looked at (-Q %s is for those that %s)",
			goes[r.target.Direction].come, t.Interface, r.target.Direction.Other(), goes[r.target.Direction.Other()].alone)
		return
	}
	r.out.status("nothing matched: %s", whyNothing(t, r.target.Direction))
	for _, hint := range nothingHints(t, r.target.Direction, r.why) {
		r.out.status("  hint: %s", hint)
	}
}

// goes are the words for packets that go in a direction, with and without the interface.
var goes = map[run.Direction]struct{ came, come, alone string }{
	run.In:  {"came in on", "come in on", "come in"},
	run.Out: {"left by", "leave by", "leave"},
}

// whyNothing says which packets there were in the direction of the rules.
func whyNothing(t run.Traffic, d run.Direction) string {
	switch {
	case t.Seen > 0:
		return fmt.Sprintf("%s %s %s, but none that the rules match", packets(t.Seen), goes[d].came, t.Interface)
	case !t.Up:
		return t.Interface + " is down"
	case !t.Carrier:
		return t.Interface + " has no carrier: there is no cable, or the other end is down"
	}
	return fmt.Sprintf("no packets %s %s", goes[d].came, t.Interface)
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

// askWhy is the hint where packets came that no rule matched.
const askWhy = "--why says which test of a rule fails, and on which packets"

// nothingHints say what else may be the reason, and what to do; asked: --why has been.
func nothingHints(t run.Traffic, d run.Direction, asked bool) []string {
	name := spelling.InShell(t.Interface)
	switch up := "ip link set " + name + " up"; {
	case !t.Up && t.Seen > 0:
		return []string{t.Interface + " is down by now: " + up}
	case !t.Up:
		return []string{up}
	}
	var hints []string
	if t.Bridge {
		hints = append(hints, bridged(t))
	}
	if len(t.Unresolved) > 0 {
		hints = append(hints, unresolved(t.Unresolved))
	}
	if t.Other > 0 {
		other := d.Other()
		hints = append(hints, fmt.Sprintf("%s %s %s: -Q %s is for those that %s", packets(t.Other), goes[other].came, t.Interface, other, goes[other].alone))
	}
	if t.Filters && t.Carrier && d == run.In {
		hints = append(hints, fmt.Sprintf("%s is not in promiscuous mode and may accept no packets for other MAC addresses: ip link set %s promisc on", t.Interface, name))
	}
	if t.Seen > 0 && !asked {
		hints = append(hints, askWhy)
	}
	switch {
	case t.Seen > 0:
		hints = append(hints, fmt.Sprintf("to see them: tcpdump -nei %s -Q %s", name, d))
	case t.Other == 0 && t.Carrier && !t.Bridge:
		hints = append(hints, "ip -s link shows on which interfaces packets come and go")
	}
	return hints
}

// someOf is how many names of a kind a hint has at most.
const someOf = 3

// bridged says where the packets of a bridge are seen.
func bridged(t run.Traffic) string {
	if len(t.Ports) == 0 {
		return t.Interface + " is a bridge without ports"
	}
	var flags []string
	for _, port := range t.Ports[:min(someOf, len(t.Ports))] {
		flags = append(flags, "-i "+spelling.InShell(port))
	}
	if len(t.Ports) > someOf {
		flags = append(flags, "…")
	}
	return fmt.Sprintf("%s is a bridge: packets between its ports are seen there, not on %[1]s: %s", t.Interface, strings.Join(flags, " or "))
}

// unresolved says to whom packets do not leave.
func unresolved(hops []netip.Addr) string {
	how := "ARP"
	switch {
	case !slices.ContainsFunc(hops, netip.Addr.Is4):
		how = "neighbor discovery"
	case slices.ContainsFunc(hops, netip.Addr.Is6):
		how = "ARP and neighbor discovery"
	}
	var names []string
	for _, hop := range hops[:min(someOf, len(hops))] {
		names = append(names, hop.String())
	}
	if len(hops) > someOf {
		names = append(names, fmt.Sprintf("%d more", len(hops)-someOf))
	}
	return fmt.Sprintf("%s found no MAC address of %s: packets sent there do not leave", how, strings.Join(names, ", "))
}
