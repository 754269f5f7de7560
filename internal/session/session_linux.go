package session

import (
	"fmt"
	"net/netip"

	"repacket/internal/field"
	"repacket/internal/guard"
)

// Find finds connections whose packets pass an interface in the network namespace of the thread.
// Whatever fails is told in Found.Missed.
func Find(r guard.Request) guard.Found {
	var out guard.Found
	n := &network{index: r.Index}
	if r.Sessions {
		out = n.sessions("/proc", procfs("/proc").self(), r.SSHConnection)
	}
	for _, e := range r.Ends {
		placed, why := n.end(e)
		out.Connections = append(out.Connections, placed...)
		if len(placed) == 0 {
			out.Missed = append(out.Missed, guard.Missed{Name: "--protect " + e.String(), Why: why})
		}
	}
	return out
}

// sessions are the sessions from which a process descends.
func (n *network) sessions(proc procfs, pid int, sshConnection string) (out guard.Found) {
	found, err := find(proc, pid, sshConnection)
	if err != nil {
		found.missed = &guard.Missed{Name: "the ssh session", Why: err.Error()}
	}
	for _, s := range found.here {
		placed, why := n.place(s.packets())
		out.Connections = append(out.Connections, placed...)
		if len(placed) == 0 && found.missed == nil {
			found.missed = &guard.Missed{Name: s.from(), Why: why}
		}
	}
	if len(out.Connections) == 0 && found.missed != nil {
		out.Missed = []guard.Missed{*found.missed}
	}
	return out
}

// packets is the connection of a session.
func (s session) packets() guard.Connection {
	c := guard.Connection{Name: s.name, Protocol: field.TCP, Established: true, Here: s.here, There: s.there}
	if s.udp {
		c.Protocol, c.Established = field.UDP, false
	}
	return c
}

// end are the connections of an end, which is on this machine or not.
func (n *network) end(e guard.End) (out []guard.Connection, why string) {
	here, err := n.isLocal(e.Addr)
	if err != nil {
		return nil, fmt.Sprintf("there is no route to %s: %v", e.Addr, err)
	}
	for _, c := range e.Connections(here) {
		placed, reason := n.place(c)
		out, why = append(out, placed...), reason
	}
	return out, why
}

// unspecified reports whether nothing is known of an end's address.
func unspecified(e netip.AddrPort) bool { return e.Addr().IsUnspecified() }
