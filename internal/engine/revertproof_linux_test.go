package engine

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/run"
)

// TestRevertsUnderLoad: rules go back 100 times while a numbered stream passes. Every packet is
// rewritten by those before or by the new ones, none is lost, and each is counted once.
func TestRevertsUnderLoad(t *testing.T) {
	const reverts, burst, after = 25, 500, 20 * time.Millisecond // on each of four beds
	onBeds(t, func(b *bed) {
		const web = "web: if udp_dest 443 then udp_dest 8080" // is in both, so it counts on
		b.replaceWith(b.with(web))
		next := b.reverting("if tcp then ip_ttl 3 else "+web, after)
		next.Stay, next.Replace = true, true
		var stopped atomic.Bool
		var reverting sync.WaitGroup
		packets, done := uint64(0), 0
		reverting.Go(func() {
			defer stopped.Store(true)
			for range reverts {
				if err := b.ns.Do(func() error { return b.replaceLoaded(next) }); err != nil {
					b.t.Error(err)
					return
				}
				deadline := time.Now().Add(patience)
				for l := b.one(); ; l = b.one() {
					if l.Revert != nil && l.Revert.Over {
						if late := time.Until(l.Revert.At); late < -time.Second {
							b.t.Errorf("it went back %v ago", -late)
						}
						break
					}
					if time.Now().After(deadline) {
						b.t.Error("the rules do not go back")
						return
					}
				}
				done++
			}
		})
		for !stopped.Load() {
			b.stream(burst, 443, 8080)
			packets += burst
		}
		reverting.Wait()
		if l := b.one(); done != reverts || l.Rules[0].Rewritten != packets || len(l.Rules) != 1 {
			b.t.Errorf("%d reverts; counted %+v, want %d packets", done, l.Rules, packets)
		}
	})
}

// replaceLoaded replaces what is attached without the self-test, which takes longer than all else.
func (b *bed) replaceLoaded(opt run.Options) error {
	s, err := Prepare(opt)
	if err != nil {
		return err
	}
	_, err = s.attachOnce()
	return err
}

// TestRevertIsTested: a program is compared with the reference before its deadline and behind, with
// all that a program can have.
func TestRevertIsTested(t *testing.T) {
	for _, texts := range [][2]string{
		{"if udp_dest 443 then udp_dest 8080", "if tcp_syn on then tcp_mss atmost 1360"},
		{"if ip_src 10.0.0.0/8 then ip_src random 10.1.0.0/16 else if udp then udp_check fix", "if chance 50% then ip_ttl -1 else if ip6 then ip6_hlim 9"},
		{"if udp_dest 20000-50000 then udp_dest 443 replies tracked", "if udp_dest 443 then udp_dest 20000 replies tracked else if tcp then drop"},
		{"if udp then ip_ttl 9", ""},
		{"", "if udp then udp_check fix"},
	} {
		p, was := nothing(), nothing()
		if texts[0] != "" {
			p = checked(t, texts[0])
		}
		if texts[1] != "" {
			was = checked(t, texts[1])
		}
		for _, o := range []LoadOptions{{}, {Fragments: true, Limit: 3}, {Hook: bpf.TC, Timed: true}} {
			o.Revert = &Reversion{Rules: was, With: LoadOptions{Limit: 2, Timed: !o.Timed}}
			if _, err := SelfTest(p, o, 200); err != nil {
				t.Errorf("%q, before %q, %+v: %v", texts[0], texts[1], o, err)
			}
		}
	}
}

// TestRevertToWrongRules: rules before that would not do what they say are found out.
func TestRevertToWrongRules(t *testing.T) {
	p, was := checked(t, "if udp_dest 443 then udp_dest 8080"), checked(t, "if udp then ip_ttl 9")
	o := LoadOptions{Revert: &Reversion{Rules: was}}
	l, err := Load(p, o)
	check(t, err)
	defer l.Close()
	o.Revert.Rules = checked(t, "if udp then ip_ttl 8")
	made := make(chan []trial, 1)
	made <- trials(o.Revert.Rules, o, 100, o.Revert.Rules)
	var d *DifferenceError
	if err := l.testFormer(o, made); !errors.As(err, &d) {
		t.Errorf("tested: %v", err)
	}
}

// TestTooLargeTogether: two sets of rules of which each fits are refused together, with their sizes.
func TestTooLargeTogether(t *testing.T) {
	var text strings.Builder
	for i := range 500 {
		text.WriteString("if ip_id " + strings.Repeat("1", 1+i%4) + " or not tcp_seq 5 then ip_ttl 9 ip_src 10.0.0.1\n")
	}
	p := checked(t, text.String())
	var together *bpf.TogetherError
	_, err := Load(p, LoadOptions{Revert: &Reversion{Rules: p}})
	if !errors.As(err, &together) || max(together.New, together.Former) > bpf.MaxInstructions || together.New+together.Former < bpf.MaxInstructions {
		t.Errorf("loaded: %v", err)
	}
}
