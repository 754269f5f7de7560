package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

const (
	// pingRule rewrites every echo request, and each is counted.
	pingRule = "if icmp then ip_dscp af31"
	// pingCount is how many pings a round has, and pingWarm how many come first.
	pingCount = 2000
	pingWarm  = 200
	// pingTime is how long the rounds of one size may take.
	pingTime = 6 * time.Minute
)

// pingSizes are the lengths of the IP packets.
var pingSizes = []int{64, 1500}

// pinged is something that stands where the pings arrive.
type pinged struct {
	name string
	on   func(ns *lab.Namespace, device string) (off func(sent int) error, err error)
	// control: it differs in nothing from the first, so it need not be told apart, and
	// must not be.
	control bool
	us      []float64 // the median round trip, by round
}

// difference is how many microseconds this one adds to the first, within a round.
func (p *pinged) difference(first *pinged, confidence float64) difference {
	return differenceOf(paired(p.us, first.us, func(a, b float64) float64 { return a - b }), confidence)
}

// pingPart pings over a veth pair past nothing, tcpdump, and rules.
func pingPart(o options) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "Pings over a veth pair, back to back: microseconds from the call that sends to the reply, the median of %d.\n"+
		"The rule, for each request that arrives: %s.\n"+
		"\"added\" is the median of the differences to nothing within a round, and its confidence interval: %.0f %% at each look,\n"+
		"95 %% over all of at most %d. It cannot be told where the interval is wider than the difference.\n",
		pingCount, pingRule, 100*lookConfidence, maxLooks)
	for _, size := range pingSizes {
		t, err := pingSize(o, size)
		if err != nil {
			return "", fmt.Errorf("%d bytes: %w", size, err)
		}
		fmt.Fprintf(&b, "\n%s", t)
	}
	return b.String(), nil
}

// pingSize pings with packets of one size.
func pingSize(o options, size int) (_ string, err error) {
	pair, err := lab.NewPair(lab.PairConfig{Offload: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	where, err := usableCPUs()
	if err != nil {
		return "", err
	}
	ways := pingWays(o)
	order := sending{Count: pingCount, Warm: pingWarm, CPU: where[0], Echo: pair.Config.B.Addr.Addr(), Bytes: size}
	round := func(n int) error {
		for i := range ways {
			w := ways[(i+n)%len(ways)]
			if err := w.once(pair, order); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
		return nil
	}
	rounds, err := untilTold(lookAfter(o.rounds), after(pingTime), round, func() bool { return allTold(ways) })
	if err != nil {
		return "", err
	}
	return pingTable(ways, size, rounds), nil
}

func pingWays(o options) []*pinged {
	none := func(*lab.Namespace, string) (func(int) error, error) { return func(int) error { return nil }, nil }
	ways := []*pinged{{name: "nothing", on: none}, {name: "nothing, again", on: none, control: true}, {name: "tcpdump", on: dumped}}
	for _, hook := range []string{"auto", "xdp", "xdp-generic"} {
		ways = append(ways, &pinged{name: "repacket --hook " + hook, on: func(ns *lab.Namespace, device string) (func(int) error, error) {
			r, err := repacketAt(o, ns, device, hook, pingRule)
			if err != nil {
				return nil, err
			}
			return r.stopCounted, nil
		}})
	}
	return ways
}

// repacketAt has the command attach one rule.
func repacketAt(o options, ns *lab.Namespace, device, hook, rule string) (*running, error) {
	return startRepacket(ns, o.binary, append([]string{"-i", device, "--hook", hook}, strings.Fields(rule)...)...)
}

// allTold reports whether the difference of each is told.
func allTold(ways []*pinged) bool {
	for _, w := range ways[1:] {
		if !w.control && !w.difference(ways[0], lookConfidence).told() {
			return false
		}
	}
	return true
}

func pingTable(ways []*pinged, size, rounds int) string {
	t := &table{words: 1}
	t.add(fmt.Sprintf("%d bytes, %d rounds in turn", size, rounds), "µs", "lowest", "highest", "added, µs")
	for i, w := range ways {
		cells := append([]any{w.name}, hundredths(spreadOf(w.us))...)
		if i > 0 {
			cells = append(cells, w.difference(ways[0], lookConfidence))
		}
		t.add(cells...)
	}
	return t.String()
}

// once does the pings of one round.
func (p *pinged) once(pair *lab.Pair, order sending) error {
	off, err := p.on(pair.B, pair.Config.B.Name)
	if err != nil {
		return err
	}
	done, err := order.send(pair.A)
	if err := errors.Join(err, off(done.Packets)); err != nil {
		return err
	}
	p.us = append(p.us, median(done.Nanoseconds)/1000)
	return nil
}

// dumped has tcpdump write every packet of the interface to nowhere, as it writes to
// a file.
func dumped(ns *lab.Namespace, device string) (off func(sent int) error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	cmd := testnet.CommandContext(ctx, ns, "tcpdump", "-n", "-i", device, "-w", "/dev/null")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	said := bufio.NewReader(stderr)
	for line := ""; !strings.Contains(line, "listening on"); {
		if line, err = said.ReadString('\n'); err != nil {
			cancel()
			return nil, errors.Join(fmt.Errorf("tcpdump does not listen: %w", err), cmd.Wait())
		}
	}
	return func(sent int) error {
		defer cancel()
		err := cmd.Process.Signal(os.Interrupt)
		rest, reading := io.ReadAll(said)
		if err := errors.Join(err, reading, cmd.Wait()); err != nil {
			return err
		}
		seen, err := dumpedPackets(string(rest))
		if err == nil && seen < 2*sent {
			err = fmt.Errorf("%d pings were sent, and tcpdump has seen %d packets", sent, seen)
		}
		return err
	}, nil
}

var receivedByFilter = regexp.MustCompile(`(?m)^(\d+) packets? received by filter$`)

// dumpedPackets takes from what tcpdump says at its end how many packets it has seen.
func dumpedPackets(text string) (int, error) {
	m := receivedByFilter.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("tcpdump does not say how many packets it has seen: %q", text)
	}
	return strconv.Atoi(m[1])
}
