package engine

import (
	"cmp"
	"time"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// countFromNow remembers what the interface has counted. It is called just before the
// rules are attached: afterwards, packets could come before it looks, and be denied.
func (r *Session) countFromNow() {
	r.attached = time.Now()
	r.before, r.unknown = hook.State(r.iface)
}

// Traffic is what is known of the packets of the interface when the session has been
// closed. It is for a thread in the network namespace of Start. The error is
// hook.NoInterfaceError where the interface is gone, and ErrMoved where it is elsewhere.
func (r *Session) Traffic() (run.Traffic, error) {
	r.mu.Lock()
	here := r.here
	r.mu.Unlock()
	now, err := hook.State(r.iface)
	if err = cmp.Or(r.unknown, err); err != nil {
		return run.Traffic{}, err
	}
	if !here {
		return run.Traffic{}, ErrMoved
	}
	t := trafficBetween(r.before, now, r.opt.Direction)
	if t.Bridge {
		t.Ports, err = hook.Ports(r.iface)
	}
	if err == nil && r.opt.Direction == run.Out {
		t.Unresolved, err = hook.Unresolved(r.iface, time.Since(r.attached))
	}
	return t, err
}

// trafficBetween is what two states of an interface say of the packets between them.
func trafficBetween(before, now hook.LinkState, d run.Direction) run.Traffic {
	t := run.Traffic{
		Interface: now.Name, Up: now.Up, Carrier: now.Carrier,
		Seen: since(before.Received, now.Received), Other: since(before.Sent, now.Sent),
		Bridge: now.Kind == "bridge",
		// What is made in software passes every packet on, whatever its mode.
		Filters: now.Kind == "" && now.Link == hook.EthernetLink && !now.Promiscuous,
	}
	if d == run.Out {
		t.Seen, t.Other = t.Other, t.Seen
	}
	return t
}

// since is by how much a counter has grown. Some drivers begin anew when a program is
// attached.
func since(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}
