package engine

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/needs"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childRule); text != "" {
		child(text)
		return
	}
	needs.KernelMain()
	os.Exit(m.Run())
}

func checked(t *testing.T, text string) *rule.Program {
	t.Helper()
	p, err := rule.Check(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

// TestSelfTestAgrees tests rules that between them use every way to a checksum
// and every shape of condition.
func TestSelfTestAgrees(t *testing.T) {
	for _, text := range []string{
		"if all",
		"if not ip",
		"if udp_dest 443 then udp_dest 8080",
		"if all then ip_src 192.0.2.7 ip_ttl 9",
		"if tcp then ip_tot_len 77 tcp_hlen 6 tcp_seq 5",
		"if dport 53,5353-5400 then dport 53 else if not tcp then ip_dscp ef",
		"if udp then udp_check fix ip_check bad udp_src 7",
		"if icmp or tcp_syn on then ip_hl 6 ip_check fix",
	} {
		p := checked(t, text)
		for _, o := range []LoadOptions{{}, {Fragments: true}, {Limit: 1}, {Timed: true}} {
			tested, err := SelfTest(p, o, 300)
			if err != nil {
				t.Errorf("%s (%+v): %v", text, o, err)
				continue
			}
			if tested.Packets != 300 || tested.Acted < 30 {
				t.Errorf("%s (%+v): %d packets, of which %d were acted on: too few to say anything", text, o, tested.Packets, tested.Acted)
			}
		}
	}
}

// TestSelfTestLeavesNoTrace: what has been tested has counted nothing.
func TestSelfTestLeavesNoTrace(t *testing.T) {
	p := checked(t, "if udp then udp_check 7 else if all then ip_ttl 9")
	for _, o := range []LoadOptions{{}, {Limit: 3}, {Hook: bpf.TC, Limit: 3}} {
		l, err := tested(p, o)
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		defer l.Close()
		counted, err := l.Counters()
		if err != nil || len(counted) != 2 || slices.ContainsFunc(counted, func(c bpf.Counter) bool { return c != bpf.Counter{} }) {
			t.Errorf("%+v: counted %v, %v", o, counted, err)
		}
		if skips, err := l.Skipped(); err != nil || skips != (skipped{}) {
			t.Errorf("%+v: skipped %v, %v", o, skips, err)
		}
		if o.Limit == 0 {
			continue
		}
		if taken, err := l.Taken(); err != nil || taken != 0 {
			t.Errorf("%+v: %d tickets taken, %v", o, taken, err)
		}
	}
}

// TestBrokenIsFoundOut: a program that stores one wrong bit, or returns the
// wrong verdict, is not attached.
func TestBrokenIsFoundOut(t *testing.T) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	for _, text := range []string{"if udp_dest 53 then udp_dest 5353", "if udp"} {
		p := checked(t, text)
		err := pair.B.Do(func() error {
			session, err := Start(run.Options{Program: p, Target: run.Target{Interface: "right"}, Broken: true})
			if err == nil {
				session.Close()
			}
			return err
		})
		var d *DifferenceError
		if !errors.As(err, &d) {
			t.Fatalf("%s: %v, want a difference", text, err)
		}
		if report := d.Report(); !strings.Contains(report, text) || !strings.Contains(report, "arrives:") {
			t.Errorf("the report says too little:\n%s", report)
		}
		if err := pair.B.Do(func() error { return nothingOn("right") }); err != nil {
			t.Error(err)
		}
	}
}

func nothingOn(name string) error {
	i, err := hook.Interface(name)
	if err != nil {
		return err
	}
	found, err := hook.Find(i.Index, run.In)
	var nothing *hook.NotAttachedError
	if errors.As(err, &nothing) {
		return nil
	}
	return errors.Join(errors.New("something is attached"), errorOf(found), err)
}

func errorOf(a *hook.Program) error {
	if a == nil {
		return nil
	}
	return errors.New(a.ProgramName)
}

// TestTimeOverPasses: past the deadline the program does nothing.
func TestTimeOverPasses(t *testing.T) {
	p := checked(t, "if all then ip_ttl 9")
	l, err := Load(p, LoadOptions{Timed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	frame := lasting(p)
	for _, until := range []time.Duration{-time.Second, time.Hour} {
		if err := l.expireIn(until); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.Program.Test(frame); err != nil {
			t.Fatal(err)
		}
	}
	c, err := l.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if c[0].Packets != 1 {
		t.Errorf("counted %d packets, want only the one before the deadline", c[0].Packets)
	}
}

func TestVerifyTellsWhatWasTried(t *testing.T) {
	v, err := Verify(run.Options{Program: checked(t, "if udp_src 53 then udp_dest 5353")}, 500)
	if err != nil {
		t.Fatal(err)
	}
	if v.Packets != 1500 || v.Acted < 150 || v.Instructions < 20 {
		t.Errorf("%+v", v)
	}
	var d *DifferenceError
	if _, err := Verify(run.Options{Program: checked(t, "if udp_src 53 then udp_dest 5353"), Broken: true}, 500); !errors.As(err, &d) {
		t.Errorf("broken: %v, want a difference", err)
	}
}

// TestClangsProgramIsProvedToo: the other compiler's program goes the same way.
func TestClangsProgramIsProvedToo(t *testing.T) {
	p := checked(t, "if dport 53 then dport 5353 ip_src 192.0.2.9 else if tcp_syn on")
	if tested, err := SelfTest(p, LoadOptions{Clang: true}, 300); err != nil || len(tested.Unreached) > 0 {
		t.Errorf("%+v, %v", tested, err)
	}
	var d *DifferenceError
	if _, err := SelfTest(p, LoadOptions{Clang: true, Broken: true}, 300); !errors.As(err, &d) {
		t.Errorf("broken: %v, want a difference", err)
	}
}

// TestClangsProgramInFull: what rules draw is handed to clang's program too, and what
// they redirect to has a number.
func TestClangsProgramInFull(t *testing.T) {
	for _, text := range []string{
		"if udp_dest 53 chance 50% then ip_ttl 3", "if udp_dest 53 then ip_id random", "if tcp then tcp_src random 5-10 else if udp then redirect nowhere0",
	} {
		if v, err := Verify(run.Options{Program: checked(t, text), Clang: true}, 300); err != nil || len(v.Unreached) > 0 {
			t.Errorf("%s: %+v, %v", text, v, err)
		}
		if _, err := tested(checked(t, text), LoadOptions{Clang: true, Redirect: map[string]int{"nowhere0": 1}}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestClangAtTC: clang's program goes the same way there.
func TestClangAtTC(t *testing.T) {
	p := checked(t, "if dport 53 then dport 5353 ip_src 192.0.2.9 else if udp then udp_check 5 ip_ttl 9 else if tcp_syn on")
	if _, err := SelfTest(p, LoadOptions{Clang: true, Hook: bpf.TC}, 300); err != nil {
		t.Error(err)
	}
}

// TestAdvice: what is said before something is attached, and what is refused.
func TestAdvice(t *testing.T) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	for _, c := range []struct {
		iface, text string
		mode        run.Hook
		dir         run.Direction
		limit       uint64
		want        int
		refused     bool
	}{
		{iface: "lo", text: "if all then ip_ttl 9", mode: run.GenericXDP, want: 1},           // slow
		{iface: "lo", text: "if all then ip_ttl 9", mode: run.GenericXDP, limit: 5, want: 2}, // and super-packets count once
		{iface: "lo", text: "if all then ip_ttl 9", limit: 5},
		{iface: "right", text: "if udp then udp_dest 53", mode: run.XDP, want: 2}, // slow, and sums
		{iface: "right", text: "if all then ip_ttl 9", mode: run.XDP, want: 1},    // slow
		{iface: "right", text: "if udp then udp_dest 53"},
		{iface: "right", text: "if udp then udp_dest 53", dir: run.Out},
		{iface: "right", text: "if udp then udp_len 53 udp_dest 9", want: 1}, // segmentation offload
		{iface: "right", text: "if udp then udp_check 5", want: 1},           // offloaded checksums
		{iface: "right", text: "if tcp then tcp_check 5", want: 1},
		{iface: "right", text: "if tcp then tcp_check bad", want: 1}, // nobody may look
		{iface: "right", text: "if udp then udp_check bad", dir: run.Out, want: 1},
		{iface: "right", text: "if icmp then icmp_check bad"},
		{iface: "right", text: "if tcp then tcp_check 5", dir: run.Out, refused: true},
		{iface: "right", text: "if tcp then reflect", dir: run.Out, refused: true},
		{iface: "lo", text: "if udp then udp_dest 53"},
	} {
		err := pair.B.Do(func() error {
			got, err := advise(run.Options{Program: checked(t, c.text), Target: run.Target{Interface: c.iface, Direction: c.dir}, Hook: c.mode, Limit: c.limit})
			var usage *UsageError
			if errors.As(err, &usage) != c.refused || len(got) != c.want {
				t.Errorf("%s on %s (%v, %v): %v, %v", c.text, c.iface, c.mode, c.dir, got, err)
			}
			if usage != nil {
				return nil
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestAutoAndDirections: the default on a veth is tc, in both directions; ours
// are found and detached by direction, and impossible rules are rejected with
// nothing attached.
func TestAutoAndDirections(t *testing.T) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	err = pair.B.Do(func() error {
		p := checked(t, "if udp_dest 53 then udp_dest 5353")
		for _, dir := range []run.Direction{run.In, run.Out} {
			got, err := attachRules(run.Options{Program: p, Target: run.Target{Interface: "right", Direction: dir}})
			if err != nil {
				return err
			}
			if got.Hook != run.TC || !strings.HasPrefix(got.Note, "tc: ") {
				t.Errorf("%v: %+v, want tc and why", dir, got)
			}
		}
		listed, err := List("")
		if err != nil {
			return err
		}
		if len(listed) != 2 || listed[0].Direction == listed[1].Direction {
			t.Errorf("listed %+v", listed)
		}
		for _, dir := range []run.Direction{run.In, run.Out} {
			for _, want := range []bool{true, false} {
				if done, err := Detach(run.Target{Interface: "right", Direction: dir}); err != nil || done.Found != want {
					t.Errorf("detach %v: %v, %v, want %v", dir, done.Found, err, want)
				}
			}
		}
		var egress *hook.EgressXDPError
		if _, err := attachRules(run.Options{Program: p, Target: run.Target{Interface: "right", Direction: run.Out}, Hook: run.XDP}); !errors.As(err, &egress) {
			t.Errorf("XDP on the way out: %v", err)
		}
		var none *hook.NoInterfaceError
		_, err = attachRules(run.Options{Program: checked(t, "if udp then redirect nowhere0"), Target: run.Target{Interface: "right"}})
		if !errors.As(err, &none) || none.Name != "nowhere0" {
			t.Errorf("redirect to nowhere: %v", err)
		}
		return nothingOn("right")
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	var b strings.Builder
	for i := range 3000 {
		b.WriteString("if ip_id ")
		b.WriteString(strings.Repeat("1", 1+i%4))
		b.WriteString(" or not tcp_seq 5 then ip_ttl 9 ip_src 10.0.0.1\n")
	}
	_, err := Load(checked(t, b.String()), LoadOptions{})
	var large *bpf.TooLargeError
	if !errors.As(err, &large) || large.Instructions <= bpf.MaxInstructions {
		t.Errorf("got %v, want a word about instructions", err)
	}
}
