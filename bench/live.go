package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

const (
	livePackets = 50_000
	liveWarm    = 5_000
	// liveMost bounds the rounds: loading a million rows takes seconds.
	liveMost = 9
)

// filter is something that packets pass where they arrive: a process of its own, or
// rules of nft's.
type filter struct {
	name string
	on   func(ns *lab.Namespace, device string) (off func(sent int) error, err error)
	like string    // the name of the filter of nft's that does the same, if there is one
	ns   []float64 // nanoseconds a packet, by round
}

// The filters of nft's that are measured.
const (
	nftRule  = "nft, 1 rule"
	nftChain = "nft, chain of 1,000"
	nftMap   = "nft, map of 10,000"
)

// likeNft names the filter of nft's for those rule sets that one does the same for. The
// map has fewer rows: a larger one does not fit into one message to the kernel.
var likeNft = map[string]string{
	"1 rule": nftRule, "1,000 ports": nftChain, "1,000 addresses": nftMap, millionRows: nftMap,
}

// livePart has a process of its own send small UDP packets over a veth pair to rule
// sets of ours, each in a process of its own, and of nft's, in turn.
func livePart(o options) (_ string, err error) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	dir, err := os.MkdirTemp("", "repacket-bench-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	filters, err := liveFilters(o, dir)
	if err != nil {
		return "", err
	}
	where, err := usableCPUs()
	if err != nil {
		return "", err
	}
	order := sending{
		Count: livePackets, Warm: liveWarm, CPU: where[0], Interface: pair.Config.A.Name,
		Frame: hex.EncodeToString(lookedForFrame()),
	}
	rounds := min(o.rounds, liveMost)
	for round := range rounds {
		for i := range filters {
			f := filters[(i+round)%len(filters)]
			if err := f.once(pair, order); err != nil {
				return "", fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return fmt.Sprintf("Live on a veth pair, from the call that sends to behind the hook: %d UDP packets that the last rule takes,\n"+
		"from a process of its own; the median over blocks of %d; %d rounds in turn. Ours with the default hook, nft at netdev ingress.\n"+
		"\"to nft's\" is the ratio to the rules of nft's that do the same: the rule, the chain, the map.\n\n%s",
		livePackets, block, rounds, liveTable(filters)), nil
}

func liveTable(filters []*filter) *table {
	nothing, byName := filters[0], map[string]*filter{}
	for _, f := range filters {
		byName[f.name] = f
	}
	t := &table{words: 1}
	t.add("", "ns a packet", "lowest", "highest", "over nothing", "to nothing", "to nft's")
	for _, f := range filters {
		cells := append([]any{f.name}, spreadOf(f.ns)...)
		if f != nothing {
			cells = append(cells, over(f.ns, nothing.ns), ratio(f.ns, nothing.ns))
		}
		if nft := byName[f.like]; nft != nil {
			cells = append(cells, ratio(f.ns, nft.ns))
		}
		t.add(cells...)
	}
	return t
}

// liveFilters are what is measured, nothing first. The rule sets are written to
// folders in dir.
func liveFilters(o options, dir string) ([]*filter, error) {
	out := []*filter{{name: "nothing", on: func(*lab.Namespace, string) (func(int) error, error) { return func(int) error { return nil }, nil }}}
	for i, s := range ruleSets() {
		f, err := s.filter(o, filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	port := func(i int) int { return (lookedForPort + i*61) % 65536 }
	elements := lines(10_000, func(i int) string { return fmt.Sprintf("%s : %d,", address(spread(i)), 1+i%65000) })
	return append(out,
		nft(nftRule, "udp sport 1000 udp dport set 5202"),
		nft(nftChain, lines(1000, func(i int) string { return fmt.Sprintf("udp sport %d udp dport set %d", port(i), 5202+i) })),
		nft(nftMap, "udp dport set ip saddr map {\n"+strings.TrimSuffix(elements, ",\n")+"}"),
	), nil
}

// filter writes the rule set to a folder, from which the command takes it.
func (s ruleSet) filter(o options, dir string) (*filter, error) {
	rules := filepath.Join(dir, "rules.txt")
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.WriteFile(rules, []byte(s.text), 0o600)
	}
	if err == nil && s.file != "" {
		err = os.WriteFile(filepath.Join(dir, "moves.csv"), []byte(s.file), 0o600)
	}
	if err != nil {
		return nil, err
	}
	return &filter{name: "repacket, " + s.name, like: likeNft[s.name], on: func(ns *lab.Namespace, device string) (func(int) error, error) {
		r, err := startRepacket(ns, o.binary, "-i", device, "-f", rules)
		if err != nil {
			return nil, err
		}
		return r.stopCounted, nil
	}}, nil
}

// nft is a filter of nft's.
func nft(name, rules string) *filter {
	return &filter{name: name, on: func(ns *lab.Namespace, device string) (func(int) error, error) {
		add := testnet.Command(ns, "nft", "-f", "-")
		add.Stdin = strings.NewReader(fmt.Sprintf("table netdev bench { chain in { type filter hook ingress device %q priority 0;\n%s\n}\n}\n", device, rules))
		if out, err := add.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %.200s", err, out)
		}
		return func(int) error { return testnet.Command(ns, "nft", "delete", "table", "netdev", "bench").Run() }, nil
	}}
}

// once sends the packets through the filter. The sender's call takes a packet to
// behind the other end's hooks, where it ends: it is for no address there.
func (f *filter) once(pair *lab.Pair, order sending) error {
	off, err := f.on(pair.B, pair.Config.B.Name)
	if err != nil {
		return err
	}
	done, err := order.send(pair.A)
	if err := errors.Join(err, off(done.Packets)); err != nil {
		return err
	}
	f.ns = append(f.ns, median(done.Nanoseconds))
	return nil
}
