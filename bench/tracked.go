package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"repacket/internal/engine"
	"repacket/internal/rule"
)

// knownPart times the programs of the two directions on packets of flows that are known, with
// tracked rules and the same ones without.
func knownPart(o options) (string, error) {
	t := table{words: 2}
	t.add("", "", "median", "lowest", "highest", "over the same, not tracked")
	for _, ip6 := range []bool{false, true} {
		k, err := newKnownFlows(ip6)
		if err != nil {
			return "", err
		}
		entrants := k.entrants()
		if err := errors.Join(measure(entrants, nil, o.rounds), k.flows.Close()); err != nil {
			return "", err
		}
		version := "IPv4"
		if ip6 {
			version = "IPv6"
		}
		for i, e := range entrants {
			cells := append([]any{version, e.name}, spreadOf(e.ns)...)
			if i%2 == 1 {
				cells = append(cells, over(e.ns, entrants[i-1].ns))
			}
			t.add(cells...)
			version = ""
		}
	}
	return fmt.Sprintf("The same with tracked after each replies, for packets of two flows that are known; nanoseconds, %d rounds in turn.\n\n%s", o.rounds, &t), nil
}

// knownFlows are rules with and without tracked, and the flows of one packet of theirs, which they
// rewrite back and forth.
type knownFlows struct {
	plain, tracked *rule.Program
	flows          *engine.Flows
	there, back    []byte
}

func newKnownFlows(ip6 bool) (_ *knownFlows, err error) {
	k := &knownFlows{there: lookedForFrame(), back: lookedForFrame()}
	exchange(k.back)
	if ip6 {
		k.there, k.back = inIP6(k.there), inIP6(k.back)
	}
	if k.plain, err = rule.Check(togglingRules); err != nil {
		return nil, err
	}
	if k.tracked, err = rule.Check(strings.ReplaceAll(togglingRules, "replies", "replies tracked")); err != nil {
		return nil, err
	}
	if k.flows, err = engine.NewFlows(k.tracked, 0); err != nil {
		return nil, err
	}
	if err := k.enter(); err != nil {
		return nil, errors.Join(err, k.flows.Close())
	}
	return k, nil
}

// enter has the rules track both flows, and makes sure that the program of the replies knows them.
func (k *knownFlows) enter() error {
	for _, way := range []struct {
		program *rule.Program
		frame   []byte
	}{{k.tracked, k.there}, {k.tracked.Replies, k.back}} {
		l, err := engine.Load(way.program, engine.LoadOptions{Flows: k.flows})
		if err != nil {
			return err
		}
		const times = 2
		_, err = l.Program.Run(&ebpf.RunOptions{Data: way.frame, Repeat: times})
		counts, countErr := l.Counters()
		if err = errors.Join(err, countErr, l.Close()); err != nil {
			return err
		}
		var acted uint64
		for _, c := range counts {
			acted += c.Packets
		}
		if acted != times {
			return fmt.Errorf("%d of %d packets were rewritten", acted, times)
		}
	}
	return nil
}

// entrants are the programs, each without and with tracked.
func (k *knownFlows) entrants() []*entrant {
	return []*entrant{
		programEntrant("the rules", k.plain, nil, k.there),
		programEntrant("tracked", k.tracked, k.flows, k.there),
		programEntrant("their replies", k.plain.Replies, nil, k.back),
		programEntrant("tracked", k.tracked.Replies, k.flows, k.back),
	}
}

// inIP6 is a UDP packet of IPv4 as one of IPv6, to addresses that have those of IPv4 in their lowest bits.
func inIP6(frame []byte) []byte {
	const ethernet, ip, ip6 = 14, 20, 40
	b := make([]byte, len(frame)+ip6-ip)
	copy(b, frame[:ethernet])
	copy(b[12:], []byte{0x86, 0xdd, 0x60})
	header, udp := b[ethernet:], frame[ethernet+ip:]
	binary.BigEndian.PutUint16(header[4:], uint16(len(udp)))
	header[6], header[7] = 17, 64
	for at, from := range map[int]int{8: 12, 24: 16} {
		binary.BigEndian.PutUint32(header[at:], 0x20010db8)
		copy(header[at+12:], frame[ethernet+from:][:4])
	}
	copy(header[ip6:], udp)
	return b
}
