package chaos

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/test/needs"
	"repacket/test/programs"
)

// documented are the exit statuses of commands that race each other: done, failed (as confirm,
// where nothing waits), and taken. What others do makes no command wrong, no privilege missing and
// no kernel too old.
var documented = []int{0, 1, 5}

// TestRace: four processes at a time attach, replace, confirm, list and detach on one interface, and
// run there. Each ends with a documented status, and when all have ended there is one rule set or
// none, which list shows, packets meet and detach detaches.
func TestRace(t *testing.T) {
	needs.Kernel(t)
	s := seed(t)
	var rounds, commands atomic.Int64
	var statuses [6]atomic.Int64
	began := time.Now()
	t.Run("race", func(t *testing.T) {
		for _, at := range hooks {
			t.Run(at.name, func(t *testing.T) {
				b := newBed(t, at, s)
				for range amount(10, 2, 1) {
					for _, status := range b.race(8) {
						statuses[status].Add(1)
						commands.Add(1)
					}
					rounds.Add(1)
					b.consistent()
				}
				b.end()
			})
		}
	})
	figures(t, "%d commands of four processes that race in %d rounds of %.0f s in all: status 0 %d times, 1 %d, 5 %d; seed %d", commands.Load(), rounds.Load(),
		time.Since(began).Seconds(), statuses[0].Load(), statuses[1].Load(), statuses[5].Load(), s)
}

// race has four processes at a time do so many commands each, and gives their statuses.
func (b *bed) race(each int) (statuses []int) {
	b.t.Helper()
	var mu sync.Mutex
	var racers sync.WaitGroup
	for range 4 {
		random := rand.New(rand.NewPCG(b.random.Uint64(), 1))
		racers.Go(func() {
			for range each {
				status, told := b.racer(random)
				mu.Lock()
				statuses = append(statuses, status)
				mu.Unlock()
				if told != "" {
					b.t.Error(told)
				}
			}
		})
	}
	racers.Wait()
	for i, s := range statuses {
		if !slices.Contains(documented, s) {
			statuses[i] = 0
		}
	}
	return statuses
}

// racer does one command, and says what is wrong with its end.
func (b *bed) racer(random *rand.Rand) (status int, wrong string) {
	rules := []string{oldRules, newRules, oldReplies, newReplies}[random.IntN(4)]
	i := []string{"-i", b.ifname}
	choices := [][]string{
		b.attachArgs(rules),
		b.attachArgs(rules),
		append([]string{"attach", "--revert-after", "1h", "--hook", b.at.word, rules}, i...),
		append([]string{"replace", rules}, i...),
		append([]string{"replace", "--revert-after", "1h", rules}, i...),
		append([]string{"confirm"}, i...),
		append([]string{"detach"}, i...),
		{"list", "--json"},
		append([]string{"--hook", b.at.word, rules}, i...), // a run
	}
	args := choices[random.IntN(len(choices))]
	p := b.prepare(nil, args...)
	p.start()
	if !slices.Contains([]string{"attach", "replace", "confirm", "detach", "list"}, args[0]) {
		select {
		case <-p.ended:
		case <-time.After(time.Duration(random.IntN(300)) * time.Millisecond):
			_ = p.Process.Signal(unix.SIGINT)
		}
	}
	if status = p.status(); p.wasKilled() && p.out.Len() == 0 {
		return 0, "" // before it catches signals; nothing is attached yet
	}
	if !slices.Contains(documented, status) || strings.Contains(p.out.String(), "panic") {
		return status, strings.Join(args, " ") + ": " + p.ProcessState.String() + ": " + p.out.String()
	}
	if status != 0 && !strings.Contains(p.out.String(), "repacket: error:") && !strings.Contains(p.out.String(), `"event":"error"`) {
		return status, strings.Join(args, " ") + ": it fails and does not say why: " + p.out.String()
	}
	return status, ""
}

// visible looks at the programs on the interface, and counts those that list shows. One that acts and
// is not among them is a trace of a command.
func (b *bed) visible(command string) (all programs.State, shown int) {
	b.t.Helper()
	all = b.look()
	for _, p := range all {
		switch {
		case p.Visible():
			shown++
		case !p.Inert():
			b.trace("%s has left a program that nobody sees: %+v", command, p)
		}
	}
	return all, shown
}

// consistent finds one whole rule set or none, which packets meet and list shows, and detaches it.
func (b *bed) consistent() {
	b.t.Helper()
	s, sets := b.visible("one of several commands")
	all := b.list()
	if len(all) > 1 || len(all) == 0 && sets > 0 || sets > 2 {
		b.t.Errorf("there is %+v, and list says %+v", s, all)
	}
	for _, l := range all {
		if l.Missing != "" {
			b.t.Errorf("nobody was killed, and list says %+v", l)
		}
	}
	if m := b.probe(); (m == untouched) != (sets == 0) {
		b.t.Errorf("there is %+v, and packets meet %v", s, m)
	}
	b.clean()
}
