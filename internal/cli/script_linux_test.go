package cli

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
)

// brokenVariable makes the command of the tests break its programs on purpose. The
// command that people install does not know it.
const brokenVariable = "REPACKET_TEST_BROKEN"

// shortVariable takes the kernel away from the command of the tests, so that one
// that is run with -short can do nothing to the machine's own interfaces.
const shortVariable = "REPACKET_TEST_SHORT"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"repacket": func() {
			env := System()
			env.Broken = os.Getenv(brokenVariable) != ""
			env.NoSession = true // whoever runs the tests may have come by ssh
			if os.Getenv(shortVariable) != "" {
				env.Kernel, env.Demo = struct{ Kernel }{}, nil // whoever asks it panics
			}
			os.Exit(Run(env))
		},
		"dead-mount":     func() { os.Exit(serveDeadMount()) },
		"session-leader": func() { os.Exit(leadSession()) },
	})
}

// TestScripts runs the command as users do, each script in a network namespace
// of its own: its interface right is one end of a veth pair. Each script is
// one behaviour. With -short there is neither a namespace nor a kernel, and scripts
// that ask for one begin with [short] skip. They add these commands to those of testscript:
//
//	exits STATUS COMMAND...   run it and expect this exit status
//	attached IFACE            wait until an XDP program is on the interface
//	bare IFACE                wait until none is
//	signal NAME               send TERM, USR1 or HUP to what runs in the background
//	await FILE TEXT           wait until the text is in the file
//	send N PORT               send N UDP packets, which arrive on right
//	packets N KIND            the other end sends so many packets of tcp or icmp
//	scrape ADDRESS            what is served there at /metrics goes to the file scraped
//	foreign IFACE [NAME]      put an XDP program of somebody else on it
//	evict IFACE               take all programs in links and filters off it
//	journal SOCKET FILE       listen at a socket, and write what comes to a file
//	veth NAME PEER            make another veth pair, both ends up
//	without CAPABILITY...     what is run from now on lacks these
//	only CAPABILITY...        … lacks all but these
func TestScripts(t *testing.T) {
	params := testscript.Params{
		Dir:   "testdata/script",
		Setup: enterNamespace,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "attached": attached, "bare": bare, "signal": sendSignal, "await": await, "send": send, "packets": packetsOf, "scrape": scrapeMetrics,
			"foreign": foreignProgram, "evict": evictPrograms, "journal": listenJournal, "veth": veth, "without": without, "only": only,
		},
		RequireExplicitExec: true,
		UpdateScripts:       *update,
	}
	if testing.Short() {
		params.Setup = func(env *testscript.Env) error {
			env.Setenv(shortVariable, "1")
			return nil
		}
		// Nothing can be attached by who has no kernel.
		params.Cmds["bare"] = func(*testscript.TestScript, bool, []string) {}
	}
	testscript.Run(t, params)
}

// pairKey is where a script keeps its veth pair.
type pairKey struct{}

// enterNamespace puts the thread of the script, and so all that the script
// starts, into one of two fresh namespaces. The thread ends with the script.
func enterNamespace(env *testscript.Env) error {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		return err
	}
	env.Values[pairKey{}] = pair
	runtime.LockOSThread()
	env.Defer(func() {
		if err := pair.Close(); err != nil {
			panic(err)
		}
	})
	return unix.Setns(pair.B.FD(), unix.CLONE_NEWNET)
}

// veth is not left to ip, which is busybox in test/kernels and names no peer.
func veth(ts *testscript.TestScript, _ bool, args []string) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Flags = args[0], net.FlagUp
	ts.Check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: args[1]}))
	peer, err := netlink.LinkByName(args[1])
	ts.Check(err)
	ts.Check(netlink.LinkSetUp(peer))
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// attached waits for a program on an interface, or for one in each direction: rules with
// replies are attached behind the program for the replies.
func attached(ts *testscript.TestScript, _ bool, args []string) {
	want := 1
	if len(args) == 2 && args[1] == "both" {
		want = 2
	}
	awaitPrograms(ts, args[0], want)
}

func bare(ts *testscript.TestScript, _ bool, args []string) { awaitPrograms(ts, args[0], 0) }

// awaitPrograms waits until so many programs, or more where there are to be some, are on an
// interface, at any hook and in any direction.
func awaitPrograms(ts *testscript.TestScript, name string, want int) {
	on, err := netlink.LinkByName(name)
	ts.Check(err)
	for deadline := time.Now().Add(testPatience); time.Now().Before(deadline); runtime.Gosched() {
		found := 0
		for _, dir := range []run.Direction{run.In, run.Out} {
			all, err := hook.Programs(on.Attrs().Index, dir)
			ts.Check(err)
			found += len(all)
		}
		if found == want || found > want && want > 0 {
			return
		}
	}
	ts.Fatalf("%s: there are not %d programs", name, want)
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	var text []byte
	for deadline := time.Now().Add(testPatience); time.Now().Before(deadline); runtime.Gosched() {
		text, _ = os.ReadFile(ts.MkAbs(args[0])) // it may not be there yet
		if strings.Contains(string(text), args[1]) {
			return
		}
	}
	ts.Fatalf("%q is not in %s:\n%s", args[1], args[0], text)
}

func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"TERM": unix.SIGTERM, "USR1": unix.SIGUSR1, "HUP": unix.SIGHUP, "QUIT": unix.SIGQUIT}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}

func send(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	pair := ts.Value(pairKey{}).(*lab.Pair)
	port, err := strconv.Atoi(args[1])
	ts.Check(err)
	to := &net.UDPAddr{IP: pair.Config.B.Addr.Addr().AsSlice(), Port: port}
	ts.Check(pair.A.Do(func() error {
		// Not connected: a refusal by the other end would eat the next packet.
		conn, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		for range n {
			if _, err := conn.WriteTo([]byte("hello"), to); err != nil {
				return err
			}
		}
		return nil
	}))
}

// packetsOf sends headers alone: a TCP segment to port 80, or an echo request.
func packetsOf(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	header := map[string][]byte{
		"tcp":  {0x9c, 0x41, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0},
		"icmp": {8, 0, 0xf7, 0xff, 0, 0, 0, 0},
	}[args[1]]
	pair := ts.Value(pairKey{}).(*lab.Pair)
	ts.Check(pair.A.Do(func() error {
		conn, err := net.ListenPacket("ip4:"+args[1], "0.0.0.0")
		if err != nil {
			return err
		}
		defer conn.Close()
		for range n {
			if _, err := conn.WriteTo(header, &net.IPAddr{IP: pair.Config.B.Addr.Addr().AsSlice()}); err != nil {
				return err
			}
		}
		return nil
	}))
}

func foreignProgram(ts *testscript.TestScript, _ bool, args []string) {
	name := "somebody"
	if len(args) > 1 {
		name = args[1]
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.XDP, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // XDP_PASS
	})
	ts.Check(err)
	defer prog.Close()
	on, err := netlink.LinkByName(args[0])
	ts.Check(err)
	ts.Check(netlink.LinkSetXdpFdWithFlags(on, prog.FD(), unix.XDP_FLAGS_DRV_MODE))
}

// evictPrograms does as bpftool link detach and tc qdisc del.
func evictPrograms(ts *testscript.TestScript, _ bool, args []string) {
	on, err := netlink.LinkByName(args[0])
	ts.Check(err)
	index := on.Attrs().Index
	_ = netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}) // there is one where the kernel has no tcx
	there := map[uint32]bool{} // links of other network namespaces have the same numbers of interfaces
	for _, dir := range []run.Direction{run.In, run.Out} {
		found, err := hook.Programs(index, dir)
		ts.Check(err)
		for _, a := range found {
			there[a.ProgramID] = true
		}
	}
	all := new(link.Iterator)
	defer all.Close()
	for all.Next() {
		info, err := all.Link.Info()
		ts.Check(err)
		if there[uint32(info.Program)] {
			ts.Check(all.Link.Detach())
		}
	}
}

// listenJournal stands in for the journal.
func listenJournal(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ts.MkAbs(args[0]), Net: "unixgram"})
	ts.Check(err)
	file, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		line := make([]byte, 64<<10)
		for {
			n, err := conn.Read(line)
			if err != nil {
				return
			}
			_, _ = file.Write(append(line[:n], '\n'))
		}
	}()
	ts.Defer(func() {
		conn.Close()
		<-done
		file.Close()
	})
}

var capabilities = map[string]uintptr{
	"bpf": unix.CAP_BPF, "net_admin": unix.CAP_NET_ADMIN, "perfmon": unix.CAP_PERFMON, "sys_admin": unix.CAP_SYS_ADMIN,
}

func without(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		ts.Check(dropFromBounds(capabilities[name]))
	}
}

func only(ts *testscript.TestScript, _ bool, args []string) {
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if !slices.ContainsFunc(args, func(name string) bool { return capabilities[name] == c }) {
			ts.Check(dropFromBounds(c))
		}
	}
}

// dropFromBounds takes a capability from what this thread starts: root's
// programs get what the bounding set leaves them.
func dropFromBounds(c uintptr) error {
	err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil // a capability that this kernel does not have
	}
	return err
}

// What people install cannot be told to break its programs.
func TestNoVariableBreaksPrograms(t *testing.T) {
	t.Setenv(brokenVariable, "1")
	f := newFake(t, rewriteWords...)
	f.Broken, f.Getenv = System().Broken, System().Getenv
	close(f.kernel.done)
	f.run()
	if len(f.kernel.jobs) != 1 || f.kernel.jobs[0].Broken {
		t.Errorf("the jobs are %+v", f.kernel.jobs)
	}
}

// What is on the command line need not be text.
func TestNoise(t *testing.T) {
	noise := make([]byte, 64<<10)
	state := uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223 // Knuth's constants
		noise[i] = byte(state >> 24)
	}
	for _, word := range []string{string(noise), "if " + string(noise), strings.Repeat("(", 64<<10)} {
		f := newFake(t, "-i", "eth1", word)
		status, stdout, stderr := f.run()
		if status != exitUsage || stdout != "" || len(f.kernel.jobs) > 0 {
			t.Errorf("exit status %d, stdout %q, %d jobs", status, stdout, len(f.kernel.jobs))
		}
		if !strings.HasPrefix(stderr, "repacket: error: ") || len(stderr) > 600 || strings.ContainsRune(stderr, '\x1b') {
			t.Errorf("stderr is %q", stderr)
		}
	}
}

// scrapeMetrics asks from the script's own thread, which is in its namespace, until an answer comes.
func scrapeMetrics(ts *testscript.TestScript, _ bool, args []string) {
	lo, err := netlink.LinkByName("lo")
	ts.Check(err)
	ts.Check(netlink.LinkSetUp(lo))
	to := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(args[0]))
	conn, err := net.DialTCP("tcp", nil, to)
	for deadline := time.Now().Add(testPatience); err != nil; conn, err = net.DialTCP("tcp", nil, to) {
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
		time.Sleep(time.Millisecond)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: "+args[0]+"\r\n\r\n")
	ts.Check(err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	ts.Check(err)
	text, err := io.ReadAll(response.Body)
	ts.Check(err)
	if response.StatusCode != http.StatusOK {
		ts.Fatalf("%s: %s", response.Status, text)
	}
	text = regexp.MustCompile(`version="[^"]+"`).ReplaceAll(text, []byte(`version="V"`)) // that of the build
	ts.Check(os.WriteFile(ts.MkAbs("scraped"), text, 0o600))
}
