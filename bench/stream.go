package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"repacket/internal/engine"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/internal/run"
)

const (
	// streamRule rewrites every packet of a stream.
	streamRule = "if all then ip_dscp af31"
	// streamTime is how long each stream lasts.
	streamTime   = time.Second
	streamRounds = 9
)

// streaming is one way for a stream to go, and how fast it went.
type streaming struct {
	name string
	mode run.Hook
	off  bool // no rules at all
	rate []float64
}

// streamPart sends TCP over a veth pair whose offloads are on, without rules and
// with them at the interface where it arrives, in turn.
func streamPart(options) (_ string, err error) {
	p, err := rule.Check(streamRule)
	if err != nil {
		return "", err
	}
	pair, err := lab.NewPair(lab.PairConfig{Offload: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	ways := []*streaming{
		{name: "no rules", off: true},
		{name: "default hook", mode: run.Auto},
		{name: "--hook xdp", mode: run.XDP},
		{name: "--hook xdp-generic", mode: run.GenericXDP},
	}
	for range streamRounds {
		for _, w := range ways {
			if err := w.once(pair, p); err != nil {
				return "", fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	t := &table{words: 1}
	t.add("", "Gbit/s", "lowest", "highest", "to no rules")
	for _, w := range ways {
		t.add(slices.Concat([]any{w.name}, spreadOf(w.rate), []any{ratio(w.rate, ways[0].rate)})...)
	}
	return fmt.Sprintf("TCP over a veth pair with its offloads on, %d streams of %v in turn; the rule: %s.\n\n%s", streamRounds, streamTime, streamRule, t), nil
}

// once lets one stream go this way.
func (w *streaming) once(pair *lab.Pair, p *rule.Program) (err error) {
	if !w.off {
		var session *engine.Session
		err = pair.B.Do(func() (err error) {
			session, err = engine.Start(run.Options{Program: p, Target: run.Target{Interface: pair.Config.B.Name}, Hook: w.mode})
			return err
		})
		if err != nil {
			return err
		}
		defer func() {
			counts, closing := session.Close()
			if closing == nil && counts.Total().Rewritten == 0 {
				closing = errors.New("nothing was rewritten")
			}
			err = errors.Join(err, closing)
		}()
	}
	rate, err := stream(pair)
	w.rate = append(w.rate, rate)
	return err
}

// stream sends for streamTime, and returns what arrived in 10^9 bits a second.
func stream(pair *lab.Pair) (rate float64, err error) {
	var listener net.Listener
	to := netip.AddrPortFrom(pair.Config.B.Addr.Addr(), 5201)
	err = pair.B.Do(func() (err error) {
		listener, err = net.Listen("tcp", to.String())
		return err
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, listener.Close()) }()
	var sender net.Conn
	err = pair.A.Do(func() (err error) {
		sender, err = net.Dial("tcp", to.String())
		return err
	})
	if err != nil {
		return 0, err
	}
	receiver, err := listener.Accept()
	if err != nil {
		return 0, errors.Join(err, sender.Close())
	}
	begin := time.Now()
	sent := make(chan error, 1)
	go func() { sent <- send(sender, begin.Add(streamTime)) }()
	n, err := io.CopyBuffer(nowhere{}, plain{receiver}, make([]byte, 256<<10))
	took := time.Since(begin)
	return float64(n) * 8 / took.Seconds() / 1e9, errors.Join(err, <-sent, receiver.Close())
}

// plain hides what would let the copy not pass through memory.
type plain struct{ io.Reader }

// nowhere throws away what is written. The writer of package io asks for 8 KiB
// at a time, and its many small reads would be what is measured.
type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }

// send writes until a time, then closes.
func send(to net.Conn, until time.Time) error {
	block := make([]byte, 256<<10)
	for time.Now().Before(until) {
		if _, err := to.Write(block); err != nil {
			return errors.Join(err, to.Close())
		}
	}
	return to.Close()
}
