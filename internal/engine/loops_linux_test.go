package engine

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"repacket/internal/lab"
	"repacket/internal/run"
)

// loopCase is a set of rules and what is said of its loops.
type loopCase struct {
	iface, text string
	dir         run.Direction
	mode        run.Hook
	limit       uint64
	want        loop
}

var loopCases = []loopCase{
	{iface: "lo", text: "if all then reflect", want: loopCertain},
	{iface: "lo", text: "if all then swap ip reflect", want: loopCertain},
	{iface: "lo", text: "if all then swap ip reflect", mode: run.GenericXDP, want: loopCertain},
	{iface: "lo", text: "if udp then redirect lo", want: loopCertain},
	{iface: "lo", text: "if udp_dest 7 then ip_ttl 9 redirect lo", want: loopCertain},
	{iface: "lo", text: "if udp_dest 7 udp_src 9 then udp_dest 7 redirect lo", want: loopCertain},
	{iface: "lo", text: "if icmp then pass else if udp then ttl -1 redirect lo", want: loopCertain},
	{iface: "lo", text: "if udp_dest 7 then swap ip swap udp reflect", want: loopPossible},
	{iface: "lo", text: "if chance 50% then redirect lo", want: loopPossible},
	{iface: "lo", text: "if ip_ttl ge 5 then ttl -1 reflect", want: loopPossible},
	{iface: "lo", text: "if udp_dest 9 then pass else if udp then udp_dest random reflect", want: loopPossible},
	{iface: "lo", text: "if udp_dest 7 then udp_dest 9 reflect else if udp_dest 9 then udp_dest 7 reflect", want: loopPossible},
	{iface: "lo", text: "if ip_protocol 200 then ip_protocol 17 reflect", want: loopPossible},
	{iface: "lo", text: "if udp then reflect", limit: 5, want: loopPossible},
	{iface: "lo", text: "if udp_dest 7 then udp_dest 9 reflect"},
	{iface: "lo", text: "if not udp_dest 9 then udp_dest 9 reflect"},
	{iface: "lo", text: "if udp then drop"},
	{iface: "lo", text: "if udp then redirect v0"},
	{iface: "lo", text: "if udp then redirect lo", dir: run.Out, want: loopCertain},
	{iface: "v0", text: "if udp then redirect v0", dir: run.Out, want: loopCertain},
	{iface: "v0", text: "if ip_dscp 0 then ip_dscp ef redirect v0", dir: run.Out},
	{iface: "v0", text: "if ip_dscp 0 then ip_dscp random redirect v0", dir: run.Out, want: loopPossible},
	{iface: "v0", text: "if udp then redirect lo", dir: run.Out},
	{iface: "v0", text: "if udp then redirect v0"},
	{iface: "v0", text: "if udp then reflect"},
	{iface: "v0", text: "if udp then redirect v1", want: loopCertain},
	{iface: "v0", text: "if udp then redirect v1", mode: run.XDP, want: loopCertain},
	{iface: "v0", text: "if udp then redirect v1", dir: run.Out},
	{iface: "v0", text: "if udp then redirect right"},
	{iface: "right", text: "if udp then reflect"},
}

// loopLab is a namespace with a lo of its own and a veth pair, v0 and v1.
func loopLab(t *testing.T) *lab.Pair {
	t.Helper()
	pair := newPair(t, lab.PairConfig{})
	check(t, lab.Connect(pair.B, pair.B, lab.PairConfig{A: lab.End{Name: "v0"}, B: lab.End{Name: "v1"}}))
	return pair
}

// TestLoops: rules that certainly send a packet round are refused before anything
// is attached, those that may are warned of, and no others.
func TestLoops(t *testing.T) {
	pair := loopLab(t)
	for _, c := range loopCases {
		check(t, pair.B.Do(func() error {
			cfg := run.Options{Program: checked(t, c.text), Target: run.Target{Interface: c.iface, Direction: c.dir}, Hook: c.mode, Limit: c.limit}
			advice, err := advise(cfg)
			warned := false
			for _, a := range advice {
				warned = warned || !a.Note && strings.Contains(a.Message, " may loop: ")
			}
			var usage *UsageError
			refused := errors.As(err, &usage) && strings.Contains(usage.Error(), " would loop: ")
			if err != nil && !refused {
				return err
			}
			if refused != (c.want == loopCertain) || warned != (c.want == loopPossible) {
				t.Errorf("%+v: refused %v (%v), warned %v (%+v)", c, refused, err, warned, advice)
			}
			if refused {
				if err := attachOnce(cfg); message(err) != usage.Error() {
					t.Errorf("%+v: attaching: %v", c, err)
				}
				wantPrograms(t, c.iface)
			}
			return nil
		}))
	}
}

// TestLoopsAreReal: under a limit, which ends them, the rules called loops meet one
// datagram again until it is reached, and the others do not.
func TestLoopsAreReal(t *testing.T) {
	pair := loopLab(t)
	const limit = 50
	for text, loops := range map[string]bool{
		"if udp_dest 7 then ip_ttl 9 redirect lo": true,
		"if udp_dest 7 then swap ip reflect":      true,
		"if udp_dest 7 then udp_dest 9 reflect":   false,
	} {
		check(t, pair.B.Do(func() error {
			session, err := Start(run.Options{Program: checked(t, text), Target: run.Target{Interface: "lo"}, Limit: limit})
			check(t, err)
			conn, err := net.Dial("udp", "127.0.0.1:7")
			check(t, err)
			_, err = conn.Write([]byte("once"))
			check(t, errors.Join(err, conn.Close()))
			want := uint64(1)
			if loops {
				want = limit
			}
			awaitMatched(t, session, text, want)
			_, err = session.Close()
			return err
		}))
	}
}

// TestPingPong: rules at the other end of a veth that send everything back are
// warned of.
func TestPingPong(t *testing.T) {
	pair := loopLab(t)
	check(t, pair.B.Do(func() error {
		_, err := attachRules(run.Options{Program: checked(t, "if all then reflect"), Target: run.Target{Interface: "v1"}})
		check(t, err)
		advice, err := advise(run.Options{Program: checked(t, "back: if udp then swap ip reflect"), Target: run.Target{Interface: "v0"}})
		check(t, err)
		const want = "back may loop: the rules on v1 send packets back"
		if len(advice) != 1 || advice[0].Message != want {
			t.Errorf("got %+v, want %q", advice, want)
		}
		_, err = Detach(run.Target{Interface: "v1"})
		check(t, err)
		if advice, err = advise(run.Options{Program: checked(t, "if udp then swap ip reflect"), Target: run.Target{Interface: "v0"}}); err != nil || len(advice) > 0 {
			t.Errorf("nothing at the other end: %v, %+v", err, advice)
		}
		return nil
	}))
}

// awaitMatched waits until the first rule of a run has matched as many packets, and
// fails if it matches more.
func awaitMatched(t *testing.T, session *Session, text string, want uint64) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		counts, err := session.Counts()
		rules := counts.Rules
		check(t, err)
		if rules[0].Matched == want {
			return
		}
		if rules[0].Matched > want || time.Now().After(end) {
			t.Fatalf("%s: matched %d times, want %d", text, rules[0].Matched, want)
		}
	}
}
