package live

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"repacket/internal/engine"
	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// The ports that clients ask, and those that the servers listen on.
const (
	askedHTTP, servedHTTP = 443, 8080
	askedDNS, servedDNS   = 53, 5353
)

// serviceRules redirect both services, and otherRules do so behind another rule.
const (
	serviceRules = "web: if tcp_dest 443 then tcp_dest 8080 replies\ndns: if udp_dest 53 then udp_dest 5353 replies"
	otherRules   = "if udp_dest 9 then udp_dest 7 replies\n" + serviceRules
)

// service is a client and a server, and rules on the way between them.
type service struct {
	client, server *lab.Namespace
	addrs          []netip.Addr // of the server
	rulesIn        *lab.Namespace
	target         run.Target
	hook           run.Hook
	tracked        bool // the rules keep flows
}

// services are a client and a server over each kind of link.
var services = []struct {
	name string
	make func(t *testing.T) service
}{
	{"veth", func(t *testing.T) service { return vethService(t, run.In, run.Auto) }},
	{"veth out", func(t *testing.T) service { return vethService(t, run.Out, run.Auto) }},
	{"veth tracked", func(t *testing.T) service {
		s := vethService(t, run.In, run.Auto)
		s.tracked = true
		return s
	}},
	{"veth XDP", func(t *testing.T) service { return vethService(t, run.In, run.XDP) }},
	{"bridge", bridgeService},
	{"tun", tunService},
}

// The ends of the links.
var (
	clientEnd = lab.End{
		Name: "left", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		Addr: netip.MustParsePrefix("192.0.2.1/24"), Addr6: netip.MustParsePrefix("2001:db8::1/64"),
	}
	serverEnd = lab.End{
		Name: "right", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		Addr: netip.MustParsePrefix("192.0.2.2/24"), Addr6: netip.MustParsePrefix("2001:db8::2/64"),
	}
)

// vethService has the rules on the server's end for packets that come in, and on the client's
// for packets that leave.
func vethService(t *testing.T, d run.Direction, hook run.Hook) service {
	// XDP cannot see that a checksum is offloaded.
	pair, err := lab.NewPair(lab.PairConfig{A: clientEnd, B: serverEnd, Offload: hook != run.XDP})
	fatal(t, err)
	t.Cleanup(func() { check(t, pair.Close()) })
	s := service{client: pair.A, server: pair.B, rulesIn: pair.B, hook: hook}
	s.target = run.Target{Interface: serverEnd.Name, Direction: d}
	if d == run.Out {
		s.rulesIn, s.target.Interface = pair.A, clientEnd.Name
	}
	return s
}

// bridgeService has the server's addresses and the rules on a bridge.
func bridgeService(t *testing.T) service {
	s := service{client: namespace(t), server: namespace(t), target: run.Target{Interface: "br0"}}
	bridge := serverEnd
	bridge.Name = "br0"
	port := lab.End{Name: "port0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 3}}
	wire := lab.PairConfig{A: lab.End{Name: clientEnd.Name, MAC: clientEnd.MAC}, B: port, Offload: true}
	fatal(t, lab.Connect(s.client, s.server, wire))
	fatal(t, testnet.AddBridge(s.server, bridge, port.Name))
	fatal(t, s.client.Do(func() error { return lab.SetUp(clientEnd, bridge) }))
	fatal(t, testnet.AddNeighbour(s.server, bridge.Name, clientEnd))
	s.rulesIn = s.server
	return s
}

// tunService has two tuns whose other ends are joined here.
func tunService(t *testing.T) service {
	s := service{client: namespace(t), server: namespace(t), target: run.Target{Interface: "tun0"}}
	var tuns []*testnet.Tun
	var carry sync.WaitGroup
	t.Cleanup(carry.Wait)
	for ns, end := range map[*lab.Namespace]lab.End{s.client: clientEnd, s.server: serverEnd} {
		end.Name, end.MAC = "tun0", nil
		tun, err := testnet.OpenTun(ns, testnet.TunConfig{End: end})
		fatal(t, err)
		t.Cleanup(func() { check(t, tun.Close()) })
		tuns = append(tuns, tun)
	}
	for i, from := range tuns {
		to := tuns[1-i]
		carry.Go(func() {
			for {
				p, err := from.Read(time.Time{})
				if err != nil {
					return // it is closed
				}
				_ = to.Write(p.Data) // as a wire, where what is lost is lost
			}
		})
	}
	s.rulesIn = s.server
	return s
}

// requests is how many requests are sent of each kind where rules are replaced meanwhile: as
// many as REPACKET_REQUESTS says, or 10,000.
func requests(t *testing.T) int {
	text := os.Getenv("REPACKET_REQUESTS")
	if text == "" {
		return 10_000
	}
	n, err := strconv.Atoi(text)
	fatal(t, err)
	return n
}

// TestServices: clients of real servers ask one port and are answered from another one, over
// IPv4 and IPv6, by TCP and UDP, and no request fails, also while rules are replaced. Each
// packet that left is counted once.
func TestServices(t *testing.T) {
	needRoot(t)
	for i, place := range services {
		t.Run(place.name, func(t *testing.T) {
			s := place.make(t)
			n, replaced := 500, 10
			switch {
			case needs.Few():
				n, replaced = 100, 3
			case i == 0:
				n, replaced = requests(t), 100
			case s.tracked: // to test these at each replace takes longer
				replaced = 3
			}
			s.serve(t)
			session := s.start(t, serviceRules)
			before := sentBy(t, s.rulesIn)
			var failed atomic.Int64
			asking := s.ask(t, n, &failed)
			for k := range replaced {
				text := []string{otherRules, serviceRules}[k%2]
				fatal(t, s.rulesIn.Do(func() error {
					_, err := session.Replace(s.program(t, text))
					return err
				}))
			}
			sent := asking()
			if failed.Load() > 0 {
				t.Errorf("%d of %d requests failed", failed.Load(), sent)
			}
			t.Logf("figure: %d requests, %d failed, while rules were replaced %d times", sent, failed.Load(), replaced)
			s.wantCounted(t, session, before)
		})
	}
}

// TestServiceInNetnsExec: what a command in ip netns exec has attached rewrites both directions
// when the command has ended, and one that detaches takes both.
func TestServiceInNetnsExec(t *testing.T) {
	s := vethService(t, run.In, run.Auto)
	s.serve(t)
	inChild := func(does string) {
		t.Helper()
		cmd := testnet.Command(s.server, "/proc/self/exe")
		cmd.Env = append(os.Environ(), childRule+"="+serviceRules, childDoes+"="+does)
		if out, err := cmd.Output(); err != nil || string(out) != "done <nil>\n" {
			t.Fatalf("%s: %q, %v", does, out, err)
		}
	}
	inChild("attach")
	var failed atomic.Int64
	before := sentBy(t, s.server)
	sent := s.ask(t, 200, &failed)()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), sent)
	}
	listed := func() (all []run.Attached) {
		fatal(t, s.server.Do(func() (err error) {
			all, err = engine.List(s.target.Interface)
			return err
		}))
		return all
	}
	eventually(t, "all packets are counted", func() bool {
		all := listed()
		return len(all) == 1 && all[0].Total().Replies == sentBy(t, s.server)-before
	})
	if r := listed()[0].Replies; r == nil || *r != (run.RepliesAt{Direction: run.Out, Hook: run.TC}) {
		t.Errorf("replies are listed at %+v", r)
	}
	inChild("detach")
	fatal(t, s.server.Do(func() error {
		for _, d := range []run.Direction{run.In, run.Out} {
			if there, err := hook.Ours(index(t, s.target.Interface), d); err != nil || len(there) > 0 {
				t.Errorf("%s: %d programs, %v", d, len(there), err)
			}
		}
		return nil
	}))
}

// TestKilledRunLeavesNoReplies: kill -9, and both directions are free.
func TestKilledRunLeavesNoReplies(t *testing.T) {
	for _, d := range []run.Direction{run.In, run.Out} {
		t.Run(d.String(), func(t *testing.T) {
			s := vethService(t, d, run.Auto)
			cmd := testnet.Command(s.rulesIn, "/proc/self/exe")
			cmd.Env = append(os.Environ(), childRule+"="+serviceRules)
			if d == run.Out {
				cmd.Env = append(cmd.Env, childOut+"=1")
			}
			out, err := cmd.StdoutPipe()
			fatal(t, err)
			fatal(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil || line != "ready <nil>\n" {
				t.Fatalf("the child says %q, %v", line, err)
			}
			programs := func() (n int) {
				fatal(t, s.rulesIn.Do(func() error {
					for _, d := range []run.Direction{run.In, run.Out} {
						there, err := hook.Programs(index(t, s.target.Interface), d)
						fatal(t, err)
						n += len(there)
					}
					return nil
				}))
				return n
			}
			if n := programs(); n != 2 {
				t.Errorf("%d programs are there", n)
			}
			fatal(t, cmd.Process.Kill())
			_ = cmd.Wait() // killed
			eventually(t, "nothing is there", func() bool { return programs() == 0 })
		})
	}
}

func index(t *testing.T, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	fatal(t, err)
	return i.Index
}

// program is the rules, with flows that are tracked where the service has that.
func (s *service) program(t *testing.T, text string) *rule.Program {
	t.Helper()
	if s.tracked && !strings.Contains(text, "tracked") {
		text = strings.ReplaceAll(text, "replies", "replies tracked")
	}
	return checked(t, text)
}

func checked(t *testing.T, text string) *rule.Program {
	t.Helper()
	p, err := rule.CheckWith(text, rule.Options{Open: ports})
	fatal(t, err)
	return p
}

// ports is a file of rows for rules, whose new values are the same.
func ports(string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("asked,served\n20442,8082\n20443,8082\n")), nil
}

func (s *service) start(t *testing.T, text string) *engine.Session {
	t.Helper()
	p := s.program(t, text)
	var session *engine.Session
	fatal(t, s.rulesIn.Do(func() (err error) {
		session, err = engine.Start(run.Options{Program: p, Target: s.target, Hook: s.hook})
		return err
	}))
	t.Cleanup(func() {
		_, err := session.Close()
		check(t, err)
	})
	return session
}

// sentBy is how many segments and datagrams a namespace has sent, as its kernel counts them.
func sentBy(t *testing.T, ns *lab.Namespace) uint64 {
	t.Helper()
	c, err := testnet.CountersOf(ns)
	fatal(t, err)
	return c["TcpOutSegs"] + c["TcpRetransSegs"] + c["UdpOutDatagrams"] + c["Udp6OutDatagrams"]
}

// wantCounted compares what the rules' own end has sent since with what was counted there: the
// replies on the server's end, and what the rules rewrite on the client's.
func (s *service) wantCounted(t *testing.T, session *engine.Session, before uint64) {
	t.Helper()
	var sent, counted uint64
	same := func() bool {
		counts, err := session.Counts()
		fatal(t, err)
		counted = counts.Total().Replies
		if s.target.Direction == run.Out {
			counted = counts.Total().Rewritten
		}
		sent = sentBy(t, s.rulesIn) - before
		return counted == sent
	}
	for deadline := time.Now().Add(patience); !same() && time.Now().Before(deadline); {
	}
	if counted != sent || sent == 0 {
		t.Errorf("%d packets were sent, and %d counted", sent, counted)
	}
}

// ask asks both servers at both addresses from several clients at a time: n times each server,
// and longer until the function that it returns is called, which returns how often in all.
func (s *service) ask(t *testing.T, n int, failed *atomic.Int64) (stop func() int) {
	const clients = 4 // for each server
	var asked [2]atomic.Int64
	var stopped atomic.Bool
	var work sync.WaitGroup
	for kind, one := range []func(i int, at netip.Addr) error{s.askHTTP, s.askDNS} {
		for range clients {
			work.Go(func() {
				for {
					i := int(asked[kind].Add(1))
					if i > n && stopped.Load() {
						asked[kind].Add(-1)
						return
					}
					if err := one(i, s.addrs[i%len(s.addrs)]); err != nil && failed.Add(1) <= 3 {
						t.Error(err)
					}
				}
			})
		}
	}
	return func() int {
		stopped.Store(true)
		work.Wait()
		return int(asked[0].Load() + asked[1].Load())
	}
}

// serve lets the servers run at both addresses until the test is over.
func (s *service) serve(t *testing.T) {
	s.addrs = []netip.Addr{serverEnd.Addr.Addr(), serverEnd.Addr6.Addr()}
	for _, addr := range s.addrs {
		fatal(t, s.server.Do(func() error {
			l, err := net.Listen("tcp", netip.AddrPortFrom(addr, servedHTTP).String())
			if err != nil {
				return err
			}
			serveHTTP(t, l)
			c, err := net.ListenPacket("udp", netip.AddrPortFrom(addr, servedDNS).String())
			if err != nil {
				return err
			}
			serveDNS(t, c)
			return nil
		}))
	}
}

// answer is what the servers answer to request number i.
func answer(i int) string { return fmt.Sprintf("answer %d", i) }
