package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"repacket/internal/engine"
	"repacket/internal/rule"
)

// ruleSet is many rules, and a packet that one of them takes again and again.
type ruleSet struct {
	name  string
	text  string
	file  string // moves.csv, which the rules may take rows from
	frame []byte
}

// check checks the rules.
func (s *ruleSet) check() (*rule.Program, error) {
	return rule.CheckWith(s.text, rule.Options{Open: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(s.file)), nil
	}})
}

// The packet that all rule sets take: they know it by these.
const (
	lookedForSource = 10<<24 | 77<<16 | 3<<8 | 9 // 10.77.3.9
	lookedForPort   = 1000
)

// addressStep is how far apart the addresses lie.
const addressStep = 4099

func address(v uint32) string { return fmt.Sprintf("%d.%d.%d.%d", v>>24, v>>16&255, v>>8&255, v&255) }

// spread is number i of addresses that lie apart; 0 is the one looked for.
func spread(i int) uint32 { return lookedForSource + uint32(i)*addressStep }

// lines joins what f says of each number, the one looked for last.
func lines(n int, f func(i int) string) string {
	var b strings.Builder
	for i := n - 1; i >= 0; i-- {
		b.WriteString(f(i))
		b.WriteByte('\n')
	}
	return b.String()
}

// millionRows is the name of the largest.
const millionRows = "1,000,000 rows"

// ruleSets are the rule sets that are measured. What they set is none of what
// they test, so that a packet goes on matching.
func ruleSets() []ruleSet {
	frame := lookedForFrame()
	return []ruleSet{
		{name: "1 rule", text: "if udp_src 1000 then udp_dest 5202", frame: frame},
		{name: "1,000 ports", text: lines(1000, func(i int) string {
			return fmt.Sprintf("if udp_src %d then udp_dest %d", (lookedForPort+i*61)%65536, 5202+i)
		}), frame: frame},
		{name: "1,000 addresses", text: lines(1000, func(i int) string {
			return fmt.Sprintf("if ip_src %s then udp_dest %d", address(spread(i)), 5202+i)
		}), frame: frame},
		{name: millionRows, text: "if ip_src @old then udp_dest @new from moves.csv", file: "old,new\n" + lines(million, func(i int) string {
			return fmt.Sprintf("%s,%d", address(spread(i)), i%65536)
		}), frame: frame},
		{name: "1,000 prefixes", text: lines(1000, func(i int) string {
			return fmt.Sprintf("if ip_src %s/24 then ip_dscp %d", address((lookedForSource+uint32(i)*4096*41)&^255), i%64)
		}), frame: frame},
		{name: "1,000 ranges", text: lines(1000, func(i int) string {
			lo := lookedForSource + uint32(i)*4099*41
			return fmt.Sprintf("if ip_src %s-%s then ip_dscp %d", address(lo), address(lo+1+uint32(i)), i%64)
		}), frame: frame},
		{name: "200 rules of 20 shapes", text: lines(200, func(i int) string {
			return fmt.Sprintf("if ip_src %s ip_ttl ne %d then udp_dest %d", address(spread(i)), i%20, 5202+i)
		}), frame: frame},
	}
}

// lookedForFrame is the UDP packet that all rule sets take. None looks at its
// checksums, which are wrong.
func lookedForFrame() []byte {
	const ethernet, ip, length = 14, 20, 60
	b := make([]byte, length)
	copy(b, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, 0x45})
	binary.BigEndian.PutUint16(b[ethernet+2:], length-ethernet)
	b[ethernet+8], b[ethernet+9] = 64, 17
	binary.BigEndian.PutUint16(b[ethernet+10:], 0x1234)
	binary.BigEndian.PutUint32(b[ethernet+12:], lookedForSource)
	binary.BigEndian.PutUint32(b[ethernet+16:], 0xc0000202)
	binary.BigEndian.PutUint16(b[ethernet+ip:], lookedForPort)
	binary.BigEndian.PutUint16(b[ethernet+ip+2:], 443)
	binary.BigEndian.PutUint16(b[ethernet+ip+4:], length-ethernet-ip)
	binary.BigEndian.PutUint16(b[ethernet+ip+6:], 0xbeef)
	return b
}

// tablesPart shows what rule sets cost: a packet, and loading them.
func tablesPart(o options) (string, error) {
	entrants := []*entrant{{name: "nothing", load: nothing}}
	took := map[string]time.Duration{}
	var largest *engine.Loaded
	for _, s := range ruleSets() {
		began := time.Now()
		p, err := s.check()
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.name, err)
		}
		l, err := engine.Load(p, engine.LoadOptions{})
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.name, err)
		}
		took[s.name] = time.Since(began)
		defer l.Close()
		if s.name == millionRows {
			largest = l
		}
		loaded := &program{prog: l.Program, close: func() {}} // loaded once: what is large takes long
		entrants = append(entrants, &entrant{name: s.name, load: func() (*program, error) { return loaded, nil }})
	}
	if err := measure(entrants, ruleSets()[0].frame, o.rounds); err != nil {
		return "", err
	}
	t := table{words: 1}
	t.add("rule set", "median", "lowest", "highest", "over nothing", "to nothing", "to 1 rule", "text to kernel, ms")
	for i, e := range entrants {
		cells := append([]any{e.name}, spreadOf(e.ns)...)
		if i > 0 {
			cells = append(cells, over(e.ns, entrants[0].ns), ratio(e.ns, entrants[0].ns), ratio(e.ns, entrants[1].ns), float64(took[e.name].Microseconds())/1000)
		}
		t.add(cells...)
	}
	random, err := randomPart(o, largest, ruleSets()[0].frame)
	if err != nil {
		return "", fmt.Errorf("random rows: %w", err)
	}
	return fmt.Sprintf("Nanoseconds for one packet that the last rule takes: BPF_PROG_TEST_RUN, slope as above, %d rounds in turn,\n"+
		"one packet, so that what it looks up is in the caches.\n\n%s\n%s", o.rounds, &t, random), nil
}
