package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"repacket/internal/engine"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/test/testnet"
)

// The ports that are asked, and those that answer.
const (
	askedPort  = 443
	servedPort = 8080
)

const (
	repliesPackets = 60_000 // that are answered in a round
	repliesWarm    = 3_000
	repliesWindow  = 32 // on the way at a time
	// repliesFrame is the size of a small packet: the least that Ethernet sends, without the
	// frame check sequence.
	repliesFrame = 60
)

// repliesPart shows what replies cost: the inverse beside the rule, a TCP stream through a rule
// that has replies, and small packets both ways, beside nft.
func repliesPart(o options) (string, error) {
	var b strings.Builder
	for _, part := range []func(options) (string, error){inversePart, knownPart, streamedPart, askedPart} {
		text, err := part(o)
		if err != nil {
			return "", err
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// togglingRules rewrite a packet back and forth, and so do their inverses, so that repeated test
// runs, which work on one packet, go on matching.
const togglingRules = "if udp_dest 443 then udp_dest 8080 replies else if udp_dest 8080 then udp_dest 443 replies"

// inversePart times the programs of the two directions on packets that they rewrite.
func inversePart(o options) (string, error) {
	p, err := rule.Check(togglingRules)
	if err != nil {
		return "", err
	}
	there := lookedForFrame()
	back := lookedForFrame()
	exchange(back)
	entrants := []*entrant{
		{name: "nothing", load: nothing, frame: there},
		programEntrant("the rules", p, nil, there),
		programEntrant("their replies", p.Replies, nil, back),
	}
	if err := measure(entrants, nil, o.rounds); err != nil {
		return "", err
	}
	t := table{words: 1}
	t.add("", "median", "lowest", "highest", "over nothing", "to the rules")
	for i, e := range entrants {
		cells := append([]any{e.name}, spreadOf(e.ns)...)
		if i > 0 {
			cells = append(cells, over(e.ns, entrants[0].ns), ratio(e.ns, entrants[1].ns))
		}
		t.add(cells...)
	}
	return fmt.Sprintf("Nanoseconds for one packet: BPF_PROG_TEST_RUN, slope as above, %d rounds in turn, of\n%s,\nwhich rewrite a packet back and forth.\n\n%s",
		o.rounds, togglingRules, &t), nil
}

// exchange exchanges addresses and ports of the packet that all rule sets take.
func exchange(frame []byte) {
	const addresses, ports = 26, 34
	for _, f := range []struct{ at, size int }{{addresses, 4}, {ports, 2}} {
		a, b := frame[f.at:f.at+f.size], frame[f.at+f.size:f.at+2*f.size]
		for i := range a {
			a[i], b[i] = b[i], a[i]
		}
	}
	binary.BigEndian.PutUint16(frame[ports:], servedPort)
}

func programEntrant(name string, p *rule.Program, flows *engine.Flows, frame []byte) *entrant {
	return &entrant{name: name, frame: frame, load: func() (*program, error) {
		l, err := engine.Load(p, engine.LoadOptions{Flows: flows})
		if err != nil {
			return nil, err
		}
		return &program{prog: l.Program, close: func() { _ = l.Close() }}, nil
	}}
}

// streamedPart has iperf3 send through a rule that has replies, and through none.
func streamedPart(o options) (_ string, err error) {
	pair, err := lab.NewPair(lab.PairConfig{Offload: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	var b strings.Builder
	fmt.Fprintf(&b, "iperf3 over a veth pair with its offloads on, one stream of %v, %d rounds in turn, as in throughput.\n"+
		"The rule: %s.\n", iperfTime, o.rounds, streamedRule)
	for _, udp := range []bool{false, true} {
		ways := []*transfer{{name: "no rules"}, {name: "a rule with replies", hook: "auto", rule: streamedRule, port: streamedPort}}
		for round := range o.rounds {
			for i := range ways {
				w := ways[(i+round)%len(ways)]
				if err := w.once(o, pair, udp); err != nil {
					return "", fmt.Errorf("%s: %w", w.name, err)
				}
			}
		}
		fmt.Fprintf(&b, "\n%s", transferTable(ways, udp))
	}
	return b.String(), nil
}

// streamedRule redirects another port to that of iperf3.
const (
	streamedPort = 5200
	streamedRule = "if dport 5200 then dport 5201 replies"
)

// redirection is a way to have askedPort answered by servedPort.
type redirection struct {
	filter
	port uint16    // that is asked
	rate []float64 // packets a second, both ways
}

// askedPart has a client ask a server by small datagrams through each redirection.
func askedPart(o options) (_ string, err error) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	ways := redirections(o)
	for round := range o.rounds {
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			if err := w.once(pair); err != nil {
				return "", fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	t := table{words: 1}
	t.add("", "packets/s", "lowest", "highest", "to nothing", "interval", "repacket to this", "interval")
	ours := ways[1]
	for i, w := range ways {
		cells := []any{w.name}
		for _, v := range spreadOf(w.rate) {
			cells = append(cells, int(v.(float64)))
		}
		if i > 0 {
			cells = append(cells, ratio(w.rate, ways[0].rate), ratioInterval(w.rate, ways[0].rate))
		}
		if i > 1 {
			cells = append(cells, ratio(ours.rate, w.rate), ratioInterval(ours.rate, w.rate))
		}
		t.add(cells...)
	}
	return fmt.Sprintf("A client on one end of a veth pair asks port %d of a server on the other, which listens on port %d: %d packets of\n"+
		"%d bytes each way, %d on the way at a time, client and server on CPUs of their own, %d rounds in turn. Packets of both\n"+
		"ways a second, the median over blocks of %[7]d; nothing: the client asks port %[2]d.\n\n%[8]s",
		askedPort, servedPort, repliesPackets, repliesFrame, repliesWindow, o.rounds, askedBlock, &t), nil
}

// redirections are what is measured, nothing first and ours second.
func redirections(o options) []*redirection {
	off := func(int) error { return nil }
	return []*redirection{
		{port: servedPort, filter: filter{name: "nothing", on: func(*lab.Namespace, string) (func(int) error, error) { return off, nil }}},
		{port: askedPort, filter: filter{name: "repacket, replies", on: func(ns *lab.Namespace, device string) (func(int) error, error) {
			r, err := startRepacket(ns, o.binary, "-i", device, "if udp_dest 443 then udp_dest 8080 replies")
			if err != nil {
				return nil, err
			}
			return r.stopCounted, nil
		}}},
		{port: askedPort, filter: nftTable("nft, redirect (conntrack)", "ip", "chain in { type nat hook prerouting priority dstnat; udp dport 443 redirect to :8080\n}\n")},
		{port: askedPort, filter: nftTable("nft, stateless, at ip", "ip",
			"chain in { type filter hook prerouting priority raw; udp dport 443 udp dport set 8080\n}\n"+
				"chain out { type filter hook postrouting priority 300; udp sport 8080 udp sport set 443\n}\n")},
		{port: askedPort, filter: nftTable("nft, stateless, at netdev", "netdev",
			"chain in { type filter hook ingress device \"%[1]s\" priority 0; udp dport 443 udp dport set 8080\n}\n"+
				"chain out { type filter hook egress device \"%[1]s\" priority 0; udp sport 8080 udp sport set 443\n}\n")},
	}
}

// nftTable is a table of nft's.
func nftTable(name, family, chains string) filter {
	return filter{name: name, on: func(ns *lab.Namespace, device string) (func(int) error, error) {
		add := testnet.Command(ns, "nft", "-f", "-")
		add.Stdin = strings.NewReader(fmt.Sprintf("table %s bench {\n%s}\n", family, strings.ReplaceAll(chains, "%[1]s", device)))
		if out, err := add.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %.200s", err, out)
		}
		return func(int) error { return testnet.Command(ns, "nft", "delete", "table", family, "bench").Run() }, nil
	}}
}

// once asks through the redirection.
func (w *redirection) once(pair *lab.Pair) error {
	where, err := usableCPUs()
	if err != nil {
		return err
	}
	off, err := w.on(pair.B, pair.Config.B.Name)
	if err != nil {
		return err
	}
	host := pair.Config.B.Addr.Addr()
	stop, err := serving{At: netip.AddrPortFrom(host, servedPort), CPU: where[min(1, len(where)-1)]}.start(pair.B)
	if err != nil {
		return errors.Join(err, off(0))
	}
	order := sending{
		Count: repliesPackets, Warm: repliesWarm, CPU: where[0], Bytes: repliesFrame,
		Ask: netip.AddrPortFrom(host, w.port), Window: repliesWindow,
	}
	done, err := order.send(pair.A)
	if err := errors.Join(err, stop(), off(done.Packets)); err != nil {
		return err
	}
	w.rate = append(w.rate, 2*float64(time.Second)/median(done.Nanoseconds))
	return nil
}
