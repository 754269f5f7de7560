package session

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// connection is a socket of TCP that is connected, or one of UDP.
type connection struct {
	here, there netip.AddrPort
	udp         bool
}

// table is the sockets of a network namespace.
type table struct {
	byInode map[uint64]connection
	// listening are the ports that somebody listens at.
	listening map[uint16]bool
}

// The states of sockets of TCP (include/net/tcp_states.h).
const (
	established = "01"
	listen      = "0A"
)

// files are the lists of a network namespace's sockets.
var files = []string{"tcp", "tcp6", "udp", "udp6"}

// sockets reads the sockets of the network namespace whose lists are in a folder of /proc.
func (p procfs) socketTable(folder string) (table, error) {
	t := table{byInode: map[uint64]connection{}, listening: map[uint16]bool{}}
	for _, name := range files {
		f, err := os.Open(filepath.Join(string(p), folder, name))
		if os.IsNotExist(err) && strings.HasSuffix(name, "6") { // a kernel without IPv6
			continue
		}
		if err != nil {
			return t, err
		}
		lines := bufio.NewScanner(f)
		lines.Scan() // the names of the columns
		for lines.Scan() {
			t.add(strings.Fields(lines.Text()), strings.HasPrefix(name, "udp"))
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return t, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return t, nil
}

// add adds the socket of a line: its number, both ends, its state, and the inode in tenth place.
func (t table) add(line []string, udp bool) {
	const state, inode = 3, 9
	if len(line) <= inode {
		return
	}
	number, err := strconv.ParseUint(line[inode], 10, 64)
	here, ok := parseEnd(line[1])
	there, valid := parseEnd(line[2])
	switch {
	case err != nil || !ok || !valid:
	case udp || line[state] == established:
		t.byInode[number] = connection{here, there, udp}
	case line[state] == listen:
		t.listening[here.Port()] = true
	}
}

// parseEnd reads an address and a port in hexadecimal. The address is words of 32 bits, each as
// a number of the host, in which it is in network byte order.
func parseEnd(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	number, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	a, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a.Unmap(), uint16(number)), ok
}
