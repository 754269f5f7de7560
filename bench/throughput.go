package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

// throughputConfidence is that of the intervals, which are looked at once.
const throughputConfidence = 0.95

// throughputRule rewrites every packet that arrives.
const throughputRule = "if all then ip_dscp af31"

// transfer is one way for iperf3's packets to go, and what became of them.
type transfer struct {
	name    string
	hook    string // "" for no rules at all
	rule    string
	port    int // that the client asks; 0 is that of iperf3
	rate    []float64
	lost    []float64
	counted int
	sent    outgoing // in all rounds; those of the other direction are not among them
}

// throughputPart has iperf3 send TCP and UDP over a veth pair, without rules and with
// a rule at each hook.
func throughputPart(o options) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "iperf3 over a veth pair with its offloads on, one stream of %v, %d rounds in turn.\n"+
		"The rule, for every packet that arrives: %s. Every run has counted what was sent: at tc the\n"+
		"segments of TCP and datagrams of UDP, at XDP the packets of the interface.\n"+
		"\"to no rules\" is the ratio within a round: the median and its %.0f %% confidence interval.\n",
		iperfTime, o.rounds, throughputRule, 100*throughputConfidence)
	for _, udp := range []bool{false, true} {
		ways, err := transfers(o, udp)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n%s", transferTable(ways, udp))
	}
	return b.String(), nil
}

// transfers measures all ways in turn.
func transfers(o options, udp bool) (ways []*transfer, err error) {
	pair, err := lab.NewPair(lab.PairConfig{Offload: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	ways = []*transfer{{name: "no rules"}}
	for _, hook := range []string{"auto", "xdp", "xdp-generic", "tc"} {
		ways = append(ways, &transfer{name: "--hook " + hook, hook: hook, rule: throughputRule})
	}
	for round := range o.rounds {
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			if err := w.once(o, pair, udp); err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return ways, nil
}

// once lets iperf3 send once.
func (w *transfer) once(o options, pair *lab.Pair, udp bool) (err error) {
	var rules *running
	if w.hook != "" {
		if rules, err = repacketAt(o, pair.B, pair.Config.B.Name, w.hook, w.rule); err != nil {
			return err
		}
	}
	before, counting := outgoingOf(pair)
	result, sending := iperf(pair, udp, w.port)
	after, settling := settled(pair)
	out := after.since(before)
	counted := 0
	err = errors.Join(counting, sending, settling)
	if rules != nil {
		var stopping error
		counted, stopping = rules.stop()
		err = errors.Join(err, stopping)
		if err == nil {
			err = out.check(rules.hook, counted)
		}
	}
	if err != nil {
		return err
	}
	w.counted += counted
	w.sent.packets, w.sent.segments = w.sent.packets+out.packets, w.sent.segments+out.segments
	w.rate, w.lost = append(w.rate, result.gbits), append(w.lost, result.lost)
	return nil
}

// outgoing is what has left a namespace so far, as its kernel counts it.
type outgoing struct {
	// packets that the interface has sent: one that stands for many segments is one.
	packets int
	// segments that TCP has sent, those sent again included, which RFC 4022 counts
	// apart, and datagrams of UDP.
	segments int
	// dropped are packets for which the other end of the veth had no room: segments
	// they are, but the interface has not sent them.
	dropped int
}

// outgoingOf is what has left A.
func outgoingOf(pair *lab.Pair) (outgoing, error) {
	link, err := testnet.LinkCounters(pair.A, pair.Config.A.Name)
	protocols, protocolErr := testnet.CountersOf(pair.A)
	return outgoing{
		packets:  int(link["tx_packets"]),
		segments: int(protocols["TcpOutSegs"] + protocols["TcpRetransSegs"] + protocols["UdpOutDatagrams"]),
		dropped:  int(link["tx_dropped"]),
	}, errors.Join(err, protocolErr)
}

func (o outgoing) since(before outgoing) outgoing {
	return outgoing{o.packets - before.packets, o.segments - before.segments, o.dropped - before.dropped}
}

// mostSegments is how many a packet of 64 KiB can stand for at an MTU of 1,500.
const mostSegments = 46

// check holds what the rules at a hook have counted against what was sent: tc counts
// segments (semantics.md 3.9), XDP cannot see that a packet stands for many. Nobody
// counts the segments of packets that were dropped, so then tc has bounds.
func (o outgoing) check(hook string, counted int) error {
	what, least, most := "packets", o.packets, o.packets
	if hook == "tc" {
		what, least, most = "segments", o.segments-o.dropped, o.segments-o.dropped
		if o.packets+o.dropped < o.segments {
			least = o.segments - mostSegments*o.dropped
		}
	}
	if counted < least || counted > most {
		return fmt.Errorf("%d %s were sent (%d packets dropped on the way not among them), and %d counted", most, what, o.dropped, counted)
	}
	return nil
}

const (
	// settleStep is how long nothing must be sent for the last packet to have been.
	settleStep = 20 * time.Millisecond
	settleMost = 100 // steps
)

// settled is outgoingOf when nothing is sent any more: a connection's last packets
// go when its processes have ended.
func settled(pair *lab.Pair) (outgoing, error) {
	last, err := outgoingOf(pair)
	for range settleMost {
		if err != nil {
			return last, err
		}
		time.Sleep(settleStep)
		var now outgoing
		if now, err = outgoingOf(pair); now == last {
			return now, err
		}
		last = now
	}
	return last, errors.Join(err, errors.New("packets do not end"))
}

func transferTable(ways []*transfer, udp bool) string {
	t := &table{words: 1}
	head := []any{"TCP", "Gbit/s", "lowest", "highest", "to no rules", "interval", "packets sent", "segments", "counted"}
	if udp {
		head[0] = "UDP, as fast as it goes"
		head = append(head, "lost, %")
	}
	t.add(head...)
	for i, w := range ways {
		cells := append([]any{w.name}, hundredths(spreadOf(w.rate))...)
		if i == 0 {
			cells = append(cells, "", "", w.sent.packets, w.sent.segments, "")
		} else {
			cells = append(cells, ratio(w.rate, ways[0].rate), ratioInterval(w.rate, ways[0].rate), w.sent.packets, w.sent.segments, w.counted)
		}
		if udp {
			cells = append(cells, median(w.lost))
		}
		t.add(cells...)
	}
	return t.String()
}

// ratioInterval is the confidence interval of ratio.
func ratioInterval(a, b []float64) string {
	d := differenceOf(paired(a, b, func(a, b float64) float64 { return a / b }), throughputConfidence)
	if !d.bounded {
		return "too few rounds"
	}
	return fmt.Sprintf("%.2f–%.2f", d.lo, d.hi)
}
