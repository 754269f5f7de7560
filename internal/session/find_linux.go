package session

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"repacket/internal/guard"
)

// ownNetwork is the folder of /proc about the network namespace of the thread.
const ownNetwork = "thread-self/net"

// session is a connection by which a user came.
type session struct {
	connection
	name string // what it is called: "the ssh session"
}

// sessions are what was found of those.
type sessions struct {
	here []session // of this network namespace
	// missed is one that could not be looked at, or nil.
	missed *guard.Missed
}

// from is the session with the address of the other end, if that is known.
func (s session) from() string {
	if unspecified(s.there) {
		return s.name
	}
	return s.name + " from " + s.there.Addr().String()
}

// finder looks for sessions.
type finder struct {
	procfs
	// own is the table of this network namespace once it is asked for: the kernel takes
	// milliseconds to write it down. err is why it cannot be read.
	own *table
	err error
	// space is the network namespace of the thread, as /proc names it.
	space string
	sessions
}

// find finds the sessions from which a process descends. Where one of its ancestors outlives
// sessions, all that are open count. sshConnection is the variable SSH_CONNECTION, or "".
func find(p procfs, pid int, sshConnection string) (sessions, error) {
	space, _ := os.Readlink(string(p) + "/thread-self/ns/net")
	f := &finder{procfs: p, space: space}
	outlives := false
	for _, a := range p.ancestors(pid) {
		outlives = outlives || isMultiplexer(a.name)
		f.look(a)
	}
	if len(f.here) > 0 {
		return f.sessions, f.err
	}
	if known := f.known(sshConnection); known && !outlives {
		return f.sessions, f.err
	}
	if outlives { // the variable may be that of another session than the one in use
		f.missed = nil
		for _, s := range p.processes(func(name string) bool { return isSSH(name) || isMosh(name) }) {
			f.look(s)
		}
	}
	if len(f.here) == 0 && f.missed == nil && sshConnection != "" {
		f.missed = &guard.Missed{Name: "the ssh session of SSH_CONNECTION", Why: "its socket is not in this network namespace"}
	}
	return f.sessions, f.err
}

// table is the table of this network namespace.
func (f *finder) table() table {
	if f.own == nil {
		own, err := f.socketTable(ownNetwork)
		f.own, f.err = &own, err
	}
	return *f.own
}

// look adds the sessions of a process.
func (f *finder) look(a process) {
	inodes, err := f.sockets(a.pid)
	if errors.Is(err, fs.ErrPermission) && (isSSH(a.name) || isMosh(a.name)) {
		f.missed = &guard.Missed{Name: title(a.name), Why: fmt.Sprintf("the sockets of %s, process %d, may not be seen", a.name, a.pid)}
	}
	if len(inodes) == 0 {
		return
	}
	for _, c := range f.table().came(inodes, a.name) {
		s := session{c, title(a.name)}
		if !slices.Contains(f.here, s) {
			f.here = append(f.here, s)
		}
	}
	space, err := os.Readlink(f.path(a.pid, "ns/net"))
	if err != nil || space == f.space {
		return
	}
	there, err := f.socketTable(fmt.Sprintf("%d/net", a.pid))
	if err != nil {
		return
	}
	if came := there.came(inodes, a.name); len(came) > 0 {
		f.missed = &guard.Missed{Name: session{came[0], title(a.name)}.from(), Why: "its socket is in another network namespace"}
	}
}

// came are the connections of a process, by the inodes of its sockets, that somebody else opened:
// at whose port here somebody listens. A server of ssh whose listener has ended keeps its sessions.
func (t table) came(inodes []uint64, name string) []connection {
	var in, all []connection
	for _, i := range inodes {
		c, ok := t.byInode[i]
		switch {
		case !ok, c.udp != isMosh(name):
			continue
		case c.udp, t.listening[c.here.Port()]:
			in = append(in, c)
		}
		all = append(all, c)
	}
	if len(in) == 0 && isSSH(name) {
		return all
	}
	return in
}

// title is what a session of a process is called.
func title(name string) string {
	switch {
	case isSSH(name):
		return "the ssh session"
	case isMosh(name):
		return "the mosh session"
	}
	return "the connection of " + name
}

// known adds the session of SSH_CONNECTION, the client's address and port and then the server's,
// if it is open here. A multiplexer may have the variable of a session that has ended.
func (f *finder) known(sshConnection string) bool {
	words := strings.Fields(sshConnection)
	if len(words) != 4 {
		return false
	}
	there, err := parsePair(words[0], words[1])
	here, wrong := parsePair(words[2], words[3])
	if err != nil || wrong != nil {
		return false
	}
	wanted := connection{here: here, there: there}
	for _, c := range f.table().byInode {
		if c == wanted {
			f.here = append(f.here, session{c, title("sshd")})
			return true
		}
	}
	return false
}

// parsePair reads an address, whose zone no table of sockets has, and a port.
func parsePair(address, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a.WithZone("").Unmap(), uint16(n)), err
}
