package hook

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"go.uber.org/goleak"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// childEnv makes the test binary a child process: see childMain.
const childEnv = "HOOK_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		childMain(role)
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-tick.C
	}
}

// inPair runs the test inside one end of a veth pair of its own, on the
// interface left.
func inPair(t *testing.T, cfg lab.PairConfig, test func(ifindex int)) *lab.Pair {
	t.Helper()
	needs.Kernel(t)
	p, err := lab.NewPair(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	err = p.A.Do(func() error {
		iface, err := Interface(p.Config.A.Name)
		if err == nil {
			test(iface.Index)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func inNamespace(t *testing.T, test func()) {
	t.Helper()
	needs.Kernel(t)
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Do(func() error { test(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// passProgram lets every packet pass.
func passProgram(name string) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name:    name,
		Type:    ebpf.XDP,
		License: "MIT",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 2), // XDP_PASS
			asm.Return(),
		},
	}
}

func load(t *testing.T, name string) *ebpf.Program {
	t.Helper()
	prog, err := ebpf.NewProgram(passProgram(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog
}

// loadOurs loads a program with the metadata that make it ours.
func loadOurs(t *testing.T, meta Meta) *ebpf.Program {
	t.Helper()
	prog := load(t, ProgramName)
	if err := Label(prog, meta, nil); err != nil {
		t.Fatal(err)
	}
	return prog
}

func someMeta(foreground bool) Meta {
	return Meta{
		Version:    MetaVersion,
		Rules:      []MetaRule{{Name: "web", Text: "if udp_dest 443 then udp_dest 8080"}, {Text: "if all # \"ä\"", DryRun: true}},
		Interface:  "left",
		Ifindex:    7,
		Direction:  "in",
		Hook:       "xdp",
		PID:        os.Getpid(),
		Foreground: foreground,
		Start:      1_700_000_000_123_456_789,
	}
}

func programID(t *testing.T, prog *ebpf.Program) uint32 {
	t.Helper()
	info, err := prog.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, ok := info.ID()
	if !ok {
		t.Fatal("the kernel does not tell the program's number")
	}
	return uint32(id)
}

// attachment is a way to attach, for tests over all of them.
type attachment struct {
	name   string
	attach func(t *testing.T, ifindex int, prog *ebpf.Program, mode run.Hook) error
}

// attachments attach until the test ends.
var attachments = []attachment{
	{"link", func(t *testing.T, ifindex int, prog *ebpf.Program, mode run.Hook) error {
		l, err := Link(ifindex, run.In, prog, mode)
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}},
	{"give", func(_ *testing.T, ifindex int, prog *ebpf.Program, mode run.Hook) error {
		return Attach(ifindex, run.In, prog, mode)
	}},
}

// wantNothing expects a free interface.
func wantNothing(t *testing.T, ifindex int) {
	t.Helper()
	found, err := Find(ifindex, run.In)
	var nothing *NotAttachedError
	if !errors.As(err, &nothing) {
		t.Errorf("found %+v, error %v, want nothing", found, err)
	}
}

// wantProgram expects this very program.
func wantProgram(t *testing.T, ifindex int, id uint32) {
	t.Helper()
	found, err := Find(ifindex, run.In)
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	if found.ProgramID != id {
		t.Errorf("program %d is there, want %d", found.ProgramID, id)
	}
}

// childMain attaches to left in the namespace that it was started in. As "link"
// or as one of tcRole's it then waits to be killed; the others end at once.
func childMain(role string) {
	h, err := childAttach(role)
	fmt.Println("ready", err)
	if !strings.HasPrefix(role, "give") {
		// Until the end of stdin, which is the parent's death at the latest.
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
	}
	runtime.KeepAlive(h)
}

func childAttach(role string) (Handle, error) {
	if role == "give in a private mount namespace" {
		if err := testnet.LikeNetnsExec(); err != nil {
			return nil, err
		}
	}
	iface, err := Interface("left")
	if err != nil {
		return nil, err
	}
	spec, mode, dir := passProgram(ProgramName), run.XDP, run.In
	for _, hook := range tcHooks {
		if role == tcRole(hook) {
			spec, mode, dir, noTCX = tcProgram(ProgramName, nil, tcUnspec), run.TC, hook.dir, hook.way == ByClsact
		}
	}
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, err
	}
	foreground := !strings.HasPrefix(role, "give")
	if err := Label(prog, Meta{PID: os.Getpid(), Foreground: foreground}, nil); err != nil {
		return nil, err
	}
	if !foreground {
		return nil, Attach(iface.Index, dir, prog, mode)
	}
	return Link(iface.Index, dir, prog, mode)
}
