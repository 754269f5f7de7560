package engine

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
)

const (
	webReplies = "web: if udp_dest 443 then udp_dest 8080 replies"
	dnsReplies = "dns: if udp_dest 53 then udp_dest 5353 replies"
	webAlone   = "web: if udp_dest 443 then udp_dest 8080"
)

// exchange is a client on left and a server on right; the rules are on right, at tc unless
// the hook is another.
type exchange struct {
	t    *testing.T
	pair *lab.Pair
}

func newExchange(t *testing.T) exchange {
	t.Helper()
	needs.Kernel(t)
	return exchange{t, newPair(t, lab.PairConfig{})}
}

// do calls f in the namespace of the rules.
func (e exchange) do(f func()) {
	e.t.Helper()
	check(e.t, e.pair.B.Do(func() error { f(); return nil }))
}

func (e exchange) options(text string) run.Options {
	e.t.Helper()
	return run.Options{Program: checked(e.t, text), Target: run.Target{Interface: "right"}}
}

func (e exchange) start(opt run.Options) (r *Session) {
	e.t.Helper()
	e.do(func() {
		var err error
		r, err = Start(opt)
		check(e.t, err)
	})
	return r
}

// asks sends n datagrams to a port, each of which a server at another port answers, and reports
// whether the answers came from the port that was asked. A client that is connected takes no
// others.
func (e exchange) asks(n int, asked, served uint16) bool {
	e.t.Helper()
	host := e.pair.Config.B.Addr.Addr()
	var server net.PacketConn
	e.do(func() {
		var err error
		server, err = net.ListenPacket("udp4", netip.AddrPortFrom(host, served).String())
		check(e.t, err)
	})
	defer server.Close()
	var client net.PacketConn
	check(e.t, e.pair.A.Do(func() (err error) {
		client, err = net.ListenPacket("udp4", ":0")
		return err
	}))
	defer client.Close()
	buf := make([]byte, 64)
	for range n {
		deadline := time.Now().Add(patience)
		check(e.t, errors.Join(client.SetDeadline(deadline), server.SetDeadline(deadline)))
		_, err := client.WriteTo([]byte("ask"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, asked)))
		check(e.t, err)
		_, from, err := server.ReadFrom(buf)
		check(e.t, err)
		_, err = server.WriteTo([]byte("answer"), from)
		check(e.t, err)
		_, from, err = client.ReadFrom(buf)
		check(e.t, err)
		if from.(*net.UDPAddr).Port != int(asked) {
			return false
		}
	}
	return true
}

// counted compares what rules have rewritten and their replies, by rule.
func (e exchange) counted(counts run.Counts, err error, want ...[2]uint64) {
	e.t.Helper()
	check(e.t, err)
	var got [][2]uint64
	for _, c := range counts.Rules {
		got = append(got, [2]uint64{c.Rewritten, c.Replies})
	}
	if !slices.Equal(got, want) {
		e.t.Errorf("counted %v, want %v: %+v", got, want, counts.Rules)
	}
}

// TestRepliesComeAndGo: rules with replies, rules without and other rules take each other's place
// in a run. What is in both goes on and counts on, and no program is there that serves nothing.
func TestRepliesComeAndGo(t *testing.T) {
	e := newExchange(t)
	r := e.start(e.options(webReplies))
	there := func(n int) {
		t.Helper()
		e.do(func() { wantPrograms(t, "right", slices.Repeat([]string{hook.ProgramName}, n)...) })
	}
	replace := func(text string, programs int) {
		t.Helper()
		e.do(func() {
			a, err := r.Replace(checked(t, text))
			check(t, err)
			if (a.Replies != nil) != (programs == 2) {
				t.Errorf("%s: replies at %+v", text, a.Replies)
			}
		})
		there(programs)
	}
	want := func(counts ...[2]uint64) {
		t.Helper()
		now, err := r.Counts()
		e.counted(now, err, counts...)
	}
	there(2)
	if !e.asks(3, 443, 8080) {
		t.Error("answers come from elsewhere")
	}
	want([2]uint64{3, 3})
	replace(dnsReplies+"\n"+webReplies, 2)
	if !e.asks(2, 443, 8080) || !e.asks(1, 53, 5353) {
		t.Error("answers come from elsewhere")
	}
	want([2]uint64{1, 1}, [2]uint64{5, 5})
	replace(webAlone, 1)
	if e.asks(1, 443, 8080) {
		t.Error("without replies the answers come from the port that was asked")
	}
	want([2]uint64{1, 0}, [2]uint64{1, 1}, [2]uint64{5, 5})
	replace(webAlone+" else "+dnsReplies, 2)
	if !e.asks(4, 53, 5353) {
		t.Error("answers come from elsewhere")
	}
	want([2]uint64{1, 0}, [2]uint64{5, 5}, [2]uint64{5, 5})
	replace(webReplies, 2)
	if !e.asks(1, 443, 8080) {
		t.Error("answers come from elsewhere")
	}
	final, err := r.Close()
	e.counted(final, err, [2]uint64{6, 6}, [2]uint64{1, 0}, [2]uint64{5, 5})
	if total := final.Total(); total.Replies != 11 || total.RepliesBytes != 11*(14+20+8+uint64(len("answer"))) {
		t.Errorf("the total is %+v", total)
	}
	there(0)
}

// TestAttachedRepliesComeAndGo: the same with rules that stay, and list names both directions in
// one entry.
func TestAttachedRepliesComeAndGo(t *testing.T) {
	for _, at := range []struct {
		dir  run.Direction
		hook run.Hook
		want run.RepliesAt
	}{
		{run.In, run.TC, run.RepliesAt{Direction: run.Out, Hook: run.TC}},
		{run.In, run.XDP, run.RepliesAt{Direction: run.Out, Hook: run.TC}},
		{run.Out, run.TC, run.RepliesAt{Direction: run.In, Hook: run.TC}},
	} {
		t.Run(at.hook.String()+" "+at.dir.String(), func(t *testing.T) {
			e := newExchange(t)
			replace := func(text string, programs int, answered bool) {
				t.Helper()
				e.do(func() {
					opt := e.options(text)
					opt.Direction, opt.Hook = at.dir, at.hook
					_, err := replaceRules(opt)
					check(t, err)
					wantPrograms(t, "right", slices.Repeat([]string{hook.ProgramName}, programs)...)
					all, err := List("")
					check(t, err)
					if len(all) != 1 || all[0].Direction != at.dir || all[0].Hook != at.hook || all[0].Missing != "" {
						t.Fatalf("listed %+v", all)
					}
					if r := all[0].Replies; (r != nil) != answered || r != nil && *r != at.want {
						t.Errorf("replies are listed at %+v", r)
					}
				})
			}
			replace(webReplies, 2, true)
			replace(dnsReplies+"\n"+webReplies, 2, true)
			replace(webAlone, 1, false)
			replace(webReplies, 2, true)
			e.do(func() {
				d, err := Detach(run.Target{Interface: "right", Direction: at.want.Direction}) // named by either direction
				check(t, err)
				if !d.Found || !d.Replies || d.Direction != at.dir || d.Missing != "" || d.Other != nil {
					t.Errorf("detached %+v", d)
				}
				wantPrograms(t, "right")
			})
		})
	}
}

// TestOtherDirectionIsTaken: rules with replies take both directions or none.
func TestOtherDirectionIsTaken(t *testing.T) {
	e := newExchange(t)
	e.do(func() {
		out := e.options("if udp then ip_ttl 9")
		out.Direction = run.Out
		_, err := attachRules(out)
		check(t, err)
		taken := func(what string, err error, replies bool) {
			t.Helper()
			var taken *hook.TakenError
			if !errors.As(err, &taken) || taken.Direction != run.Out || taken.Replies != replies {
				t.Errorf("%s: %v", what, err)
			}
		}
		session := e.options(webAlone)
		r, err := Start(session)
		check(t, err)
		taken("replaced in a run", replaced(r.Replace(checked(t, webReplies))), false)
		wantPrograms(t, "right", hook.ProgramName, hook.ProgramName)
		_, err = r.Close()
		check(t, err)
		_, err = Start(e.options(webReplies))
		taken("a run", err, false)
		_, err = attachRules(e.options(webReplies))
		taken("attach", err, false)
		_, err = replaceRules(e.options(webReplies))
		taken("replace", err, false)
		_, err = attachRules(e.options(webAlone))
		check(t, err)
		_, err = replaceRules(e.options(webReplies))
		taken("replace of rules without", err, false)
		wantPrograms(t, "right", hook.ProgramName, hook.ProgramName)
		for _, d := range []run.Direction{run.In, run.Out} {
			_, err = Detach(run.Target{Interface: "right", Direction: d})
			check(t, err)
		}
		_, err = attachRules(e.options(webReplies))
		check(t, err)
		_, err = attachRules(out)
		taken("attach where replies are rewritten", err, true)
		_, err = replaceRules(out)
		taken("replace where replies are rewritten", err, true)
		_, err = Start(out)
		taken("a run where replies are rewritten", err, true)
		_, err = Detach(run.Target{Interface: "right"})
		check(t, err)
		wantPrograms(t, "right")
	})
}

// TestRepliesLastLonger: a limit is about what the rules rewrite; replies are rewritten for a while
// longer, and then the run is over.
func TestRepliesLastLonger(t *testing.T) {
	const longer = 200 * time.Millisecond
	former := repliesLonger
	repliesLonger = longer
	t.Cleanup(func() { repliesLonger = former })
	e := newExchange(t)
	for _, limit := range []run.Limit{run.LimitCount, run.LimitTime} {
		opt := e.options(webReplies)
		opt.Limit = 3
		if limit == run.LimitTime {
			opt.Limit, opt.For = 0, 50*time.Millisecond
		}
		began := time.Now()
		r := e.start(opt)
		if limit == run.LimitCount && !e.asks(3, 443, 8080) {
			t.Error("answers come from elsewhere")
		}
		if got := <-r.Reached(); got != limit {
			t.Errorf("reached %q, want %q", got, limit)
		}
		<-r.Done()
		if time.Since(began) < longer {
			t.Errorf("%s: replies did not last longer", limit)
		}
		if r.Over() != limit {
			t.Errorf("over by %q, want %q", r.Over(), limit)
		}
		counts, err := r.Close()
		check(t, err)
		if limit == run.LimitCount {
			e.counted(counts, nil, [2]uint64{3, 3})
		}
		e.do(func() { wantPrograms(t, "right") })
	}
}

// TestVerifyBoth: both programs are tested at length, and rules without replies are not missed in
// the second.
func TestVerifyBoth(t *testing.T) {
	needs.Kernel(t)
	p := checked(t, "if udp_dest 53 then ip_ttl 9\n"+webReplies)
	v, err := Verify(run.Options{Program: p}, 500)
	check(t, err)
	if v.Replies == nil || v.Replies.Acted == 0 || len(v.Unreached)+len(v.Replies.Unreached) > 0 {
		t.Errorf("verified %+v, replies %+v", v, v.Replies)
	}
	if _, err := SelfTest(p.Replies, LoadOptions{Hook: bpf.TC, Broken: true}, 500); err == nil {
		t.Error("a broken program for replies is not found out")
	}
}
