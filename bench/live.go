package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"repacket/internal/engine"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

const (
	livePackets = 50_000
	liveRounds  = 5
)

// filter is something that packets pass where they arrive: put on, and taken
// off again.
type filter struct {
	name string
	on   func(ns *lab.Namespace, device string) (off func() error, err error)
	ns   []float64 // nanoseconds a packet, by round
}

// livePart sends small UDP packets over a veth pair to rule sets of ours and of
// nft, in turn.
func livePart(options) (_ string, err error) {
	if _, err := exec.LookPath("nft"); err != nil {
		return "Live, beside nft: left out, there is no nft.\n", nil
	}
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	filters := liveFilters()
	for range liveRounds {
		for _, f := range filters {
			if err := f.once(pair); err != nil {
				return "", fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	t := table{words: 1}
	t.add("", "ns a packet", "lowest", "highest", "over nothing", "to nothing")
	for i, f := range filters {
		cells := append([]any{f.name}, spreadOf(f.ns)...)
		if i > 0 {
			cells = append(cells, over(f.ns, filters[0].ns), ratio(f.ns, filters[0].ns))
		}
		t.add(cells...)
	}
	return fmt.Sprintf("Live on a veth pair, from the sender's call to behind the hook: %d UDP packets that the last rule takes,\n"+
		"%d rounds in turn; ours with the default hook, nft at netdev ingress.\n\n%s", livePackets, liveRounds, &t), nil
}

func liveFilters() []*filter {
	out := []*filter{{name: "nothing", on: func(*lab.Namespace, string) (func() error, error) { return func() error { return nil }, nil }}}
	for _, s := range ruleSets() {
		out = append(out, &filter{name: "repacket, " + s.name, on: s.attach})
	}
	port := func(i int) int { return (lookedForPort + i*61) % 65536 }
	elements := lines(10_000, func(i int) string { return fmt.Sprintf("%s : %d,", address(spread(i)), 1+i%65000) })
	return append(out,
		nft("nft, 1 rule", "udp sport 1000 udp dport set 5202"),
		nft("nft, chain of 1,000", lines(1000, func(i int) string { return fmt.Sprintf("udp sport %d udp dport set %d", port(i), 5202+i) })),
		nft("nft, map of 10,000", "udp dport set ip saddr map {\n"+strings.TrimSuffix(elements, ",\n")+"}"),
	)
}

// attach runs the rule set on a device.
func (s ruleSet) attach(ns *lab.Namespace, device string) (off func() error, err error) {
	p, err := s.check()
	if err != nil {
		return nil, err
	}
	err = ns.Do(func() error {
		session, err := engine.Start(run.Options{Program: p, Target: run.Target{Interface: device}})
		if err != nil {
			return err
		}
		off = func() error {
			counts, err := session.Close()
			for _, c := range counts.Rules {
				if c.Rewritten > 0 {
					return err
				}
			}
			return errors.Join(err, errors.New("nothing was rewritten"))
		}
		return nil
	})
	return off, err
}

// nft is a filter of nft's.
func nft(name, rules string) *filter {
	return &filter{name: name, on: func(ns *lab.Namespace, device string) (func() error, error) {
		add := testnet.Command(ns, "nft", "-f", "-")
		add.Stdin = strings.NewReader(fmt.Sprintf("table netdev bench { chain in { type filter hook ingress device %q priority 0;\n%s\n}\n}\n", device, rules))
		if out, err := add.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %.200s", err, out)
		}
		return func() error { return testnet.Command(ns, "nft", "delete", "table", "netdev", "bench").Run() }, nil
	}}
}

// once sends the packets through the filter. The sender's call takes a packet to
// behind the other end's hooks, where it ends: it is for no address there.
func (f *filter) once(pair *lab.Pair) (err error) {
	off, err := f.on(pair.B, pair.Config.B.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, off()) }()
	port, err := testnet.OpenPort(pair.A, pair.Config.A.Name, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, port.Close()) }()
	frame := udpFrame(lookedForSource, lookedForPort)
	began := time.Now()
	for range livePackets {
		if err := port.Send(frame); err != nil {
			return err
		}
	}
	f.ns = append(f.ns, float64(time.Since(began).Nanoseconds())/livePackets)
	return nil
}
