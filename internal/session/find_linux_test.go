package session

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tree is a /proc of a test.
type tree struct {
	t    *testing.T
	root string
}

// machine is a tree with the network namespace of the command.
func machine(t *testing.T, tables map[string]string) tree {
	tr := tree{t, t.TempDir()}
	tr.network("thread-self", "net:[1]", tables)
	return tr
}

func (tr tree) write(path, text string) {
	tr.t.Helper()
	path = filepath.Join(tr.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) link(path, target string) {
	tr.t.Helper()
	path = filepath.Join(tr.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		tr.t.Fatal(err)
	}
}

// network is the network namespace of a process or thread.
func (tr tree) network(of, name string, tables map[string]string) {
	tr.link(of+"/ns/net", name)
	for _, table := range files {
		tr.write(of+"/net/"+table, "  sl  local_address rem_address   st ...\n"+tables[table])
	}
}

// process has a name, a parent, and sockets by their inodes.
func (tr tree) process(pid, parent int, name string, inodes ...int) {
	tr.write(fmt.Sprintf("%d/stat", pid), fmt.Sprintf("%d (%s) S %d %d %d 0 -1 4194560 1 2 3\n", pid, name, parent, pid, pid))
	tr.write(fmt.Sprintf("%d/comm", pid), name+"\n")
	tr.link(fmt.Sprintf("%d/fd/0", pid), "/dev/null")
	tr.link(fmt.Sprintf("%d/fd/1", pid), "pipe:[77]")
	for i, inode := range inodes {
		tr.link(fmt.Sprintf("%d/fd/%d", pid, 3+i), fmt.Sprintf("socket:[%d]", inode))
	}
}

// here gives processes the network namespace of the command.
func (tr tree) here(pids ...int) {
	for _, pid := range pids {
		tr.link(fmt.Sprintf("%d/ns/net", pid), "net:[1]")
	}
}

// socket is a line of a table, as the kernel prints it on a machine of this byte order.
func socket(inode int, state, here, there string) string {
	return fmt.Sprintf("   0: %s %s %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0000000000000000 20 4 0 10 -1\n",
		hexEnd(here), hexEnd(there), state, inode)
}

func hexEnd(text string) string {
	end := netip.MustParseAddrPort(text)
	var b strings.Builder
	raw := end.Addr().AsSlice()
	for i := 0; i < len(raw); i += 4 {
		fmt.Fprintf(&b, "%08X", binary.NativeEndian.Uint32(raw[i:]))
	}
	return fmt.Sprintf("%s:%04X", b.String(), end.Port())
}

const (
	sshSocket    = 101
	secondSocket = 102
	forwarded    = 103
	moshSocket   = 104
	sshdListener = 105
)

// tables are of a server of ssh with two sessions, of one a forwarded connection, and one of mosh.
func serverTables() map[string]string {
	return map[string]string{
		"tcp": socket(sshdListener, listen, "0.0.0.0:22", "0.0.0.0:0") +
			socket(sshSocket, established, "192.0.2.1:22", "192.0.2.7:51234") +
			socket(forwarded, established, "192.0.2.1:40000", "198.51.100.9:443"),
		"tcp6": socket(secondSocket, established, "[2001:db8::1]:22", "[2001:db8::7]:51235"),
		"udp":  socket(moshSocket, "07", "192.0.2.1:60001", "0.0.0.0:0"),
	}
}

const (
	first  = "the ssh session tcp 192.0.2.7:51234 > 192.0.2.1:22"
	second = "the ssh session tcp [2001:db8::7]:51235 > [2001:db8::1]:22"
	mosh   = "the mosh session udp 0.0.0.0:0 > 192.0.2.1:60001"
)

func TestFind(t *testing.T) {
	t.Parallel()
	const command = 900
	tests := map[string]struct {
		variable string
		build    func(tree)
		want     []string
		missed   string
	}{
		"a shell of ssh, with a forwarded connection": {build: func(tr tree) {
			tr.process(1, 0, "systemd", sshdListener)
			tr.process(100, 1, "sshd", sshdListener)
			tr.process(200, 100, "sshd", sshSocket)
			tr.process(300, 200, "sshd", sshSocket, forwarded)
			tr.process(400, 300, "bash")
			tr.process(command, 400, "repacket")
		}, want: []string{first}},
		"behind sudo, with the newer name": {build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(200, 1, "sshd-session", secondSocket)
			tr.process(300, 200, "sshd-session", secondSocket)
			tr.process(400, 300, "a) name (b")
			tr.process(500, 400, "sudo", 999)
			tr.process(501, 500, "sudo", 999)
			tr.process(command, 501, "repacket")
		}, want: []string{second}},
		"tmux": {build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(100, 1, "sshd", sshdListener)
			tr.process(200, 100, "sshd", sshSocket)
			tr.process(201, 100, "sshd", secondSocket)
			tr.process(300, 1, "tmux: server", 999)
			tr.process(400, 300, "bash")
			tr.process(command, 400, "repacket")
		}, want: []string{first, second}},
		"screen, with the variable of a session that has ended": {variable: "192.0.2.7 51230 192.0.2.1 22", build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(200, 1, "sshd-session", sshSocket)
			tr.process(300, 1, "screen")
			tr.process(command, 300, "repacket")
		}, want: []string{first}},
		"screen, with the variable of one session, used from another": {variable: "192.0.2.7 51234 192.0.2.1 22", build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(200, 1, "sshd-session", sshSocket)
			tr.process(201, 1, "sshd-session", secondSocket)
			tr.process(300, 1, "screen")
			tr.process(command, 300, "repacket")
		}, want: []string{first, second}},
		"tmux, and nobody is there": {build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(100, 1, "sshd", sshdListener)
			tr.process(300, 1, "tmux: server")
			tr.process(command, 300, "repacket")
		}},
		"mosh": {build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(100, 1, "sshd", sshdListener)
			tr.process(200, 1, "mosh-server", moshSocket)
			tr.process(command, 200, "repacket")
		}, want: []string{mosh}},
		"another server that people come by": {build: func(tr tree) {
			tr.process(1, 0, "ttyd", sshSocket)
			tr.process(command, 1, "repacket")
		}, want: []string{"the connection of ttyd tcp 192.0.2.7:51234 > 192.0.2.1:22"}},
		"what an ancestor has opened itself": {build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(200, 1, "runner", forwarded)
			tr.process(command, 200, "repacket")
		}},
		"a terminal": {build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(100, 1, "sshd", sshdListener)
			tr.process(200, 100, "sshd", sshSocket)
			tr.process(300, 1, "xterm")
			tr.process(command, 300, "repacket")
		}},
		"another network namespace": {build: func(tr tree) {
			tr.process(1, 0, "systemd")
			tr.process(200, 1, "sshd", 201)
			tr.network("200", "net:[2]", map[string]string{"tcp": socket(1, listen, "0.0.0.0:22", "0.0.0.0:0") + socket(201, established, "203.0.113.1:22", "203.0.113.7:1000")})
			tr.process(command, 200, "repacket")
		}, missed: "nothing was checked for the ssh session from 203.0.113.7: its socket is in another network namespace"},
		"only the variable": {variable: "2001:db8::7%eth0 51235 2001:db8::1%eth0 22", build: func(tr tree) {
			tr.process(command, 1, "repacket") // the ancestors are of another PID namespace
		}, want: []string{second}},
		"only the variable, of a session elsewhere": {variable: "198.51.100.1 5 198.51.100.2 22", build: func(tr tree) {
			tr.process(command, 0, "repacket")
		}, missed: "nothing was checked for the ssh session of SSH_CONNECTION: its socket is not in this network namespace"},
		"no ancestors and nonsense": {variable: "192.0.2.7 port 22", build: func(tr tree) {
			tr.write(strconv.Itoa(command)+"/stat", "nonsense")
		}, missed: "nothing was checked for the ssh session of SSH_CONNECTION: its socket is not in this network namespace"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := machine(t, serverTables())
			test.build(tr)
			found, err := find(procfs(tr.root), command, test.variable)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range found.here {
				got = append(got, fmt.Sprintf("%s %s %v > %v", s.name, s.packets().Protocol, s.there, s.here))
			}
			missed := ""
			if len(got) == 0 && found.missed != nil {
				missed = found.missed.String()
			}
			if strings.Join(got, ", ") != strings.Join(test.want, ", ") || missed != test.missed {
				t.Errorf("found %q, missed %q; want %q, %q", got, missed, test.want, test.missed)
			}
		})
	}
}

// TestMappedAddresses: a socket of IPv6 that talks IPv4 does so on the wire.
func TestMappedAddresses(t *testing.T) {
	t.Parallel()
	tr := machine(t, map[string]string{"tcp6": socket(7, established, "[::ffff:192.0.2.1]:22", "[::ffff:192.0.2.7]:51234")})
	tr.process(200, 1, "sshd", 7)
	tr.here(200)
	tr.process(900, 200, "repacket")
	found, err := find(procfs(tr.root), 900, "")
	if err != nil || len(found.here) != 1 || found.here[0].there != netip.MustParseAddrPort("192.0.2.7:51234") {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestHiddenSockets: the processes of a server of ssh show their sockets to root alone.
func TestHiddenSockets(t *testing.T) {
	t.Parallel()
	tr := machine(t, serverTables())
	tr.process(200, 1, "sshd-session", sshSocket)
	tr.process(900, 200, "repacket")
	for folder, mode := range map[string]os.FileMode{filepath.Dir(tr.root): 0o755, filepath.Join(tr.root, "200/fd"): 0} {
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 { // whom no mode keeps out
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		const nobody = 65534
		if err := unix.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Setfsuid(0); err != nil {
				panic(err)
			}
		}()
	}
	found, err := find(procfs(tr.root), 900, "")
	if err != nil || len(found.here) > 0 || found.missed == nil {
		t.Fatalf("%+v, %v", found, err)
	}
	const want = "nothing was checked for the ssh session: the sockets of sshd-session, process 200, may not be seen"
	if got := found.missed.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	found, err = find(procfs(tr.root), 900, "192.0.2.7 51234 192.0.2.1 22")
	if err != nil || len(found.here) != 1 {
		t.Errorf("with SSH_CONNECTION: %+v, %v", found, err)
	}
}

// TestSelf: /proc says which of its processes this one is.
func TestSelf(t *testing.T) {
	t.Parallel()
	tr := machine(t, nil)
	if pid := procfs(tr.root).self(); pid != 0 {
		t.Errorf("without a link it is %d", pid)
	}
	tr.link("self", "4711")
	if pid := procfs(tr.root).self(); pid != 4711 {
		t.Errorf("it is %d", pid)
	}
}

// TestNoTables: without the lists of sockets nothing is known, and the error says of which. They are
// not read where nobody has a socket.
func TestNoTables(t *testing.T) {
	t.Parallel()
	tr := tree{t, t.TempDir()}
	tr.process(200, 1, "sshd", 7)
	tr.process(300, 1, "bash")
	tr.process(900, 200, "repacket")
	tr.process(901, 300, "repacket")
	found := (&network{index: 1}).sessions(procfs(tr.root), 900, "")
	if len(found.Missed) != 1 || !strings.Contains(found.Missed[0].Why, "thread-self/net/tcp: no such file or directory") {
		t.Errorf("%+v", found)
	}
	if found := (&network{index: 1}).sessions(procfs(tr.root), 901, ""); len(found.Missed) > 0 {
		t.Errorf("without sockets: %+v", found)
	}
}

// TestProtocolOfSockets: of the sockets of a process those are told from others that talk to other machines.
func TestProtocolOfSockets(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	local, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	p := procfs("/proc")
	for _, test := range []struct {
		socket interface{ File() (*os.File, error) }
		talks  bool
	}{{tcp.(*net.TCPListener), true}, {local.(*net.UnixListener), false}} {
		f, err := test.socket.File()
		if err != nil {
			t.Fatal(err)
		}
		if got := p.mayTalk(p.self(), strconv.Itoa(int(f.Fd()))); got != test.talks {
			t.Errorf("%T talks: %v", test.socket, got)
		}
		f.Close()
	}
}
