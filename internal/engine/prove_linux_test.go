package engine

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/rule"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Stderr.WriteString("the engine's tests need root: sudo make test\n")
		os.Exit(1)
	}
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

// TestProveAgrees proves rules that between them use every way to a checksum
// and every shape of condition.
func TestProveAgrees(t *testing.T) {
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
			proof, err := Prove(p, o, 300)
			if err != nil {
				t.Errorf("%s (%+v): %v", text, o, err)
				continue
			}
			if proof.Packets != 300 || proof.Acted < 30 {
				t.Errorf("%s (%+v): %d packets, of which %d were acted on: too few to say anything", text, o, proof.Packets, proof.Acted)
			}
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
			run, err := Start(Config{Program: p, Interface: "right", Broken: true})
			if err == nil {
				run.Close()
			}
			return err
		})
		var d *Difference
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
	found, err := hook.Find(i.Index, hook.In)
	var nothing *hook.ErrNothing
	if errors.As(err, &nothing) {
		return nil
	}
	return errors.Join(errors.New("something is attached"), errorOf(found), err)
}

func errorOf(a *hook.Attached) error {
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
		if err := l.SetDeadline(monotonic(until)); err != nil {
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
	v, err := Verify(checked(t, "if udp_src 53 then udp_dest 5353"), 500, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if v.Packets != 1000 || v.Acted < 100 || v.Instructions < 20 {
		t.Errorf("%+v", v)
	}
	var d *Difference
	if _, err := Verify(checked(t, "if udp_src 53 then udp_dest 5353"), 500, LoadOptions{Broken: true}); !errors.As(err, &d) {
		t.Errorf("broken: %v, want a difference", err)
	}
}

// TestClangsProgramIsProvedToo: the other compiler's program goes the same way.
func TestClangsProgramIsProvedToo(t *testing.T) {
	p := checked(t, "if dport 53 then dport 5353 ip_src 192.0.2.9 else if tcp_syn on")
	if proof, err := Prove(p, LoadOptions{Clang: true}, 300); err != nil || len(proof.Unreached) > 0 {
		t.Errorf("%+v, %v", proof, err)
	}
	var d *Difference
	if _, err := Prove(p, LoadOptions{Clang: true, Broken: true}, 300); !errors.As(err, &d) {
		t.Errorf("broken: %v, want a difference", err)
	}
}

// TestAdvice: a veth is spoken of where a checksum behind IPv4 follows.
func TestAdvice(t *testing.T) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	for _, c := range []struct {
		iface, text string
		want        int
	}{
		{"right", "if udp then udp_dest 53", 1},
		{"right", "if all then ip_dest 192.0.2.9", 1},
		{"right", "if all then ip_ttl 9", 0},
		{"right", "if udp", 0},
		{"lo", "if udp then udp_dest 53", 0},
	} {
		err := pair.B.Do(func() error {
			got, err := Advise(checked(t, c.text), c.iface)
			if len(got) != c.want {
				t.Errorf("%s on %s: %v, want %d", c.text, c.iface, got, c.want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
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
