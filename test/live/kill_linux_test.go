package live

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"repacket/internal/engine"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// childRule is set for a child process of the tests: the rules that it runs
// until it is killed.
const childRule = "REPACKET_LIVE_CHILD"

// childOut is set if it runs them at tc egress of the interface left, instead of
// in native XDP on right.
const childOut = "REPACKET_LIVE_OUT"

func TestMain(m *testing.M) {
	if text := os.Getenv(childRule); text != "" {
		child(text)
		return
	}
	needs.KernelMain()
	os.Exit(m.Run())
}

// childDoes says what a child does like a command in ip netns exec instead: attach rules, or
// detach them.
const childDoes = "REPACKET_LIVE_DOES"

// child runs rules and says when they are there.
func child(text string) {
	if does := os.Getenv(childDoes); does != "" {
		fmt.Println("done", inNetnsExec(does, text))
		return
	}
	cfg := run.Options{Target: run.Target{Interface: "right"}, Hook: run.XDP}
	if os.Getenv(childOut) != "" {
		cfg = run.Options{Target: run.Target{Interface: "left", Direction: run.Out}, Hook: run.TC}
	}
	var err error
	cfg.Program, err = rule.Check(text)
	if err == nil {
		_, err = engine.Start(cfg)
	}
	fmt.Println("ready", err)
	select {} // until it is killed
}

// inNetnsExec attaches rules to packets that come in on right, or detaches them, with the mounts
// of ip netns exec.
func inNetnsExec(does, text string) error {
	runtime.LockOSThread()
	if err := testnet.LikeNetnsExec(); err != nil {
		return err
	}
	at := run.Target{Interface: "right"}
	if does == "detach" {
		_, err := engine.Detach(at)
		return err
	}
	p, err := rule.Check(text)
	if err != nil {
		return err
	}
	s, err := engine.Prepare(run.Options{Program: p, Target: at, Stay: true})
	if err == nil {
		_, err = s.Attach()
	}
	return err
}

// TestKilledProcessLeavesNothing: kill -9, and packets pass as they came.
func TestKilledProcessLeavesNothing(t *testing.T) {
	for _, s := range []site{native, tcEgress} {
		t.Run(s.String(), func(t *testing.T) { killed(t, s) })
	}
}

func killed(t *testing.T, s site) {
	b := newTestbed(t)
	p := newPacket("udp")
	sent := p.frame()
	p.udp.DstPort = 8080
	ns, _ := b.end(s.dir)
	cmd := testnet.Command(ns, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childRule+"="+portRule)
	if s.dir == run.Out {
		cmd.Env = append(cmd.Env, childOut+"=1")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready <nil>" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	b.expect("while it runs", sent, p.frame())
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	// The link goes with the last reference, a moment behind the process.
	for deadline := time.Now().Add(5 * time.Second); ; {
		if got := b.cross(sent); string(got) == string(sent) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("still rewritten: %x", got)
		}
	}
	session := b.startLimited(portRule, run.Options{Hook: s.mode, Target: run.Target{Direction: s.dir}}) // and the interface is free
	b.stop(session)
}
