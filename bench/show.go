package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/engine"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/internal/run"
)

const (
	// shownRule rewrites every packet, also one that it has rewritten.
	shownRule = "if udp then ip_dscp af31"
	// shownPackets is how many packets flood the rule in a round, shownWarm how many before.
	shownPackets = 400_000
	shownWarm    = 10_000
	// recordedFrame is the size of the packets whose records are timed.
	recordedFrame = 128
)

// showPart shows what it costs to see packets: a record in the kernel, and the throughput of a flood
// of small packets while they are shown or saved.
func showPart(o options) (string, error) {
	records, err := recordsPart(o)
	if err != nil {
		return "", err
	}
	flood, err := floodPart(o)
	return records + "\n" + flood, err
}

// recorder is a program that records, or one that does not.
type recorder struct {
	name string
	ask  *run.Recording // nil for none
	ns   []float64
}

// recordsPart times programs with and without a record.
func recordsPart(o options) (string, error) {
	p, err := rule.Check(shownRule)
	if err != nil {
		return "", err
	}
	all := []*recorder{
		{name: "the rule"},
		{name: "-v", ask: &run.Recording{}},
		{name: "-v, 1000 a second", ask: &run.Recording{Rate: 1000}},
		{name: "-w", ask: &run.Recording{Bytes: 1 << 18}},
	}
	frame := append(lookedForFrame(), make([]byte, recordedFrame-len(lookedForFrame()))...)
	binary.BigEndian.PutUint16(frame[16:], recordedFrame-14)
	for round := range o.rounds {
		for i := range all {
			r := all[(i+round)%len(all)]
			if err := r.once(p, frame); err != nil {
				return "", fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	t := &table{words: 1}
	t.add("", "median", "lowest", "highest", "over the rule")
	for i, r := range all {
		cells := append([]any{r.name}, spreadOf(r.ns)...)
		if i > 0 {
			cells = append(cells, over(r.ns, all[0].ns))
		}
		t.add(cells...)
	}
	return fmt.Sprintf("Nanoseconds for a packet of %d bytes, with its record where there is one: BPF_PROG_TEST_RUN, slope over\n"+
		"%d packets, so that all records have room, %d rounds in turn. The rule: %s.\n\n%s",
		recordedFrame, manyRecorded-fewRecorded, o.rounds, shownRule, t), nil
}

// How often a program runs that records: the ring has room for the more of them.
const (
	fewRecorded  = 2_000
	manyRecorded = 18_000
	recordedRuns = 5 // of which the slope is the mean
)

// once measures one round.
func (r *recorder) once(p *rule.Program, frame []byte) (err error) {
	var handed, lost atomic.Uint64
	o := engine.LoadOptions{}
	if r.ask != nil {
		ask := *r.ask
		ask.Packet, ask.Lost = func(*run.Packet) { handed.Add(1) }, func(n uint64) { lost.Add(n) }
		o.Record = &ask
	}
	l, err := engine.Load(p, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if r.ask != nil {
		if err := l.Deliver(run.Packet{Program: p}); err != nil {
			return err
		}
	}
	var slope time.Duration
	var ran uint64
	for range recordedRuns {
		var took [2]time.Duration
		for i, n := range []uint32{fewRecorded, manyRecorded} {
			if took[i], err = cpuTime(l.Program, frame, n); err != nil {
				return err
			}
			for ran += uint64(n); r.ask != nil && r.ask.Rate == 0 && handed.Load()+lost.Load() < ran; {
				time.Sleep(time.Millisecond)
			}
		}
		slope += took[1] - took[0]
	}
	if lost.Load() > 0 {
		return fmt.Errorf("%d records had no room", lost.Load())
	}
	r.ns = append(r.ns, float64(slope)/(recordedRuns*(manyRecorded-fewRecorded)))
	return nil
}

// flooded is a way to look at packets while they come as fast as they are sent.
type flooded struct {
	name string
	on   func(ns *lab.Namespace, device string) (*viewed, error)
	ns   []float64 // nanoseconds a packet, by round
	sent int       // in all rounds
	seen int       // of these, shown or saved
	most int64     // memory that the command has had, in KiB
}

// floodPart floods a rule whose packets are shown, or saved, and one whose packets are not.
func floodPart(o options) (_ string, err error) {
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	dir, err := memoryFolder()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	where, err := usableCPUs()
	if err != nil {
		return "", err
	}
	order := sending{
		Count: shownPackets, Warm: shownWarm, CPU: where[0], Interface: pair.Config.A.Name,
		Frame: hex.EncodeToString(lookedForFrame()),
	}
	ways := floods(o, dir)
	for round := range o.rounds {
		for i := range ways {
			w := ways[(i+round)%len(ways)]
			if err := w.once(pair, order); err != nil {
				return "", fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return fmt.Sprintf("A flood of UDP packets of %d bytes over a veth pair, sent by a process of its own on one CPU: %d in each of %d\n"+
		"rounds in turn, through the rule above at the default hook. Every packet was counted.\n"+
		"\"to the rule\" is the throughput as a ratio within a round: the median and its %.0f %% confidence interval. Memory is\n"+
		"the most that the command had in any round, the ring included.\n\n%s",
		len(lookedForFrame()), shownPackets, o.rounds, 100*throughputConfidence, floodTable(ways)), nil
}

// floods are the ways, the rule alone first. Files are written to dir.
func floods(o options, dir string) []*flooded {
	words := strings.Fields(shownRule)
	file := filepath.Join(dir, "both.pcapng")
	way := func(name string, reads bool, flags ...string) *flooded {
		return &flooded{name: name, on: func(ns *lab.Namespace, device string) (*viewed, error) {
			args := append(append([]string{"-i", device}, flags...), words...)
			return startViewed(ns, o.binary, reads, args...)
		}}
	}
	return []*flooded{
		way("the rule", true),
		way("-v, to a terminal", true, "-v"),
		way("-v, to a terminal that reads nothing", false, "-v"),
		way("-w, to a file in memory", true, "-w", file),
	}
}

// once sends the packets.
func (f *flooded) once(pair *lab.Pair, order sending) error {
	w, err := f.on(pair.B, pair.Config.B.Name)
	if err != nil {
		return err
	}
	done, err := order.send(pair.A)
	seen, stopping := w.stop(done.Packets)
	if err := errors.Join(err, stopping); err != nil {
		return err
	}
	f.sent, f.seen, f.most = f.sent+done.Packets, f.seen+seen, max(f.most, peak(w.cmd.Cmd))
	f.ns = append(f.ns, mean(done.Nanoseconds))
	return nil
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func floodTable(ways []*flooded) *table {
	t := &table{words: 1}
	t.add("", "ns a packet", "lowest", "highest", "to the rule", "interval", "shown or saved, %", "memory, MiB")
	for i, w := range ways {
		cells := append([]any{w.name}, spreadOf(w.ns)...)
		if i > 0 { // the throughput is the inverse of the time
			cells = append(cells, ratio(ways[0].ns, w.ns), ratioInterval(ways[0].ns, w.ns), 100*float64(w.seen)/float64(w.sent))
		} else {
			cells = append(cells, "", "", "")
		}
		t.add(append(cells, float64(w.most)/1024)...)
	}
	return t
}

// memoryFolder makes a folder in a tmpfs, so that no disk is measured.
func memoryFolder() (string, error) {
	const dir = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("find a tmpfs: %w", err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return "", fmt.Errorf("%s is no tmpfs, and a file on a disk says little of a rule", dir)
	}
	return os.MkdirTemp(dir, "repacket-bench-")
}
