package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// childRule is set for a child process of the tests: the rules that it runs
// until it is killed.
const childRule = "REPACKET_ENGINE_CHILD"

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// child runs rules on packets that leave the interface right and says when
// they are there.
func child(text string) {
	p, err := rule.Check(text)
	if err == nil {
		_, err = Start(run.Options{Program: p, Target: run.Target{Interface: "right", Direction: run.Out}})
	}
	fmt.Println("ready", err)
	select {} // until it is killed
}

func newPair(t *testing.T, cfg lab.PairConfig) *lab.Pair {
	t.Helper()
	pair, err := lab.NewPair(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, pair.Close()) })
	return pair
}

func newNamespace(t *testing.T) *lab.Namespace {
	t.Helper()
	ns, err := lab.NewNamespace()
	check(t, err)
	t.Cleanup(func() { check(t, ns.Close()) })
	return ns
}

func openTun(t *testing.T, ns *lab.Namespace, cfg testnet.TunConfig) {
	t.Helper()
	tun, err := testnet.OpenTun(ns, cfg)
	check(t, err)
	t.Cleanup(func() { check(t, tun.Close()) })
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// programsOn are the names of the programs on an interface, in both directions.
func programsOn(name string) ([]string, error) {
	i, err := hook.Interface(name)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, dir := range []run.Direction{run.In, run.Out} {
		all, err := hook.Programs(i.Index, dir)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			names = append(names, a.ProgramName)
		}
	}
	return names, nil
}

func wantPrograms(t *testing.T, iface string, want ...string) {
	t.Helper()
	got, err := programsOn(iface)
	check(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("on %s is %q, want %q", iface, got, want)
	}
}

// TestAutoByInterface: what has no native XDP worth it gets tc, in both
// directions, and leaves nothing behind.
func TestAutoByInterface(t *testing.T) {
	ns := newNamespace(t)
	openTun(t, ns, testnet.TunConfig{})
	openTun(t, ns, testnet.TunConfig{Tap: true})
	check(t, testnet.AddBridge(ns, lab.End{Name: "br0"}))
	check(t, lab.Connect(ns, ns, lab.PairConfig{A: lab.End{Name: "v0"}, B: lab.End{Name: "v1"}}))
	p := checked(t, "if udp_dest 53 then udp_dest 5353 else if ip6 then ip6_hlim 9")
	for iface, why := range map[string]string{
		"lo": "no native XDP", "br0": "a bridge", "tun0": "no Ethernet header", "tap0": "a tap", "v0": "a veth",
	} {
		for _, dir := range []run.Direction{run.In, run.Out} {
			check(t, ns.Do(func() error {
				session, err := Start(run.Options{Program: p, Target: run.Target{Interface: iface, Direction: dir}})
				if err != nil {
					return fmt.Errorf("%s %s: %w", iface, dir, err)
				}
				if dir == run.Out {
					why = "packets that arrive"
				}
				if session.Attachment().Hook != run.TC || !strings.HasPrefix(session.Attachment().Note, "tc: ") || !strings.Contains(session.Attachment().Note, why) {
					t.Errorf("%s %s: %s, %q", iface, dir, session.Attachment().Hook, session.Attachment().Note)
				}
				wantPrograms(t, iface, hook.ProgramName)
				_, err = session.Close()
				wantPrograms(t, iface)
				return err
			}))
		}
	}
}

// TestKilledRunLeavesNothingAtTC: kill -9, and no hook has a program.
func TestKilledRunLeavesNothingAtTC(t *testing.T) {
	pair := newPair(t, lab.PairConfig{})
	cmd := testnet.Command(pair.B, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childRule+"=if all then ip_ttl 9")
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready <nil>" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	check(t, pair.B.Do(func() error {
		wantPrograms(t, "right", hook.ProgramName)
		return cmd.Process.Kill()
	}))
	_ = cmd.Wait() // killed
	for deadline := time.Now().Add(patience); ; {
		var left []string
		check(t, pair.B.Do(func() (err error) {
			left, err = programsOn("right")
			return err
		}))
		// On a kernel without tcx an inert stub stays.
		if !slices.Contains(left, hook.ProgramName) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %q", left)
		}
	}
	check(t, pair.B.Do(func() error {
		_, err := Detach(run.Target{Interface: "right", Direction: run.Out})
		wantPrograms(t, "right")
		return err
	}))
}

// TestPeer: what native XDP sends to a veth arrives, because the other end gets
// a program for as long as the rules are there.
func TestPeer(t *testing.T) {
	for _, text := range []string{"if udp then ip_ttl 9 reflect", "if udp then ip_ttl 9 redirect w0"} {
		ns := newNamespace(t)
		check(t, lab.Connect(ns, ns, lab.PairConfig{A: lab.End{Name: "v0"}, B: lab.End{Name: "v1"}}))
		check(t, lab.Connect(ns, ns, lab.PairConfig{A: lab.End{Name: "w0"}, B: lab.End{Name: "w1"}}))
		back := "v1"
		if strings.Contains(text, "w0") {
			back = "w1"
		}
		sent := datagram(t, 1)
		from := net.HardwareAddr(sent[6:12])
		at, err := testnet.OpenPort(ns, back, from)
		check(t, err)
		to, err := testnet.OpenPort(ns, "v1", from)
		check(t, err)
		for _, mode := range []run.Hook{run.XDP, run.GenericXDP, run.TC, run.Auto} {
			var session *Session
			check(t, ns.Do(func() (err error) {
				session, err = Start(run.Options{Program: checked(t, text), Target: run.Target{Interface: "v0"}, Hook: mode})
				if mode == run.XDP {
					wantPrograms(t, back, hook.PeerName)
				} else {
					wantPrograms(t, back)
				}
				return err
			}))
			check(t, to.Send(sent))
			got, err := at.Receive(time.Now().Add(patience))
			if err != nil || got[22] != 9 {
				t.Errorf("%s (%s): %x, %v", text, mode, got, err)
			}
			check(t, ns.Do(func() error {
				_, err := session.Close()
				wantPrograms(t, "v0")
				wantPrograms(t, back)
				return err
			}))
		}
		check(t, at.Close())
		check(t, to.Close())
	}
}

// datagram is an Ethernet frame with a UDP datagram.
func datagram(t *testing.T, size int) []byte {
	return frame(t, layers.IPProtocolUDP, &layers.UDP{SrcPort: 1, DstPort: 53}, size)
}

func frame(t *testing.T, protocol layers.IPProtocol, transport interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}, size int,
) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2)}
	check(t, transport.SetNetworkLayerForChecksum(ip))
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	check(t, gopacket.SerializeLayers(buf, opts, eth, ip, transport, gopacket.Payload(make([]byte, size))))
	return bytes.Clone(buf.Bytes())
}

// TestRefusedOutlets: what the kernel would lose silently is refused, and
// nothing is attached.
func TestRefusedOutlets(t *testing.T) {
	pair := newPair(t, lab.PairConfig{})
	openTun(t, pair.B, testnet.TunConfig{})
	check(t, lab.Connect(pair.B, pair.B, lab.PairConfig{A: lab.End{Name: "v0"}, B: lab.End{Name: "v1"}}))
	const elsewhere = "right is a veth, where what native XDP sends is lost unless there is an XDP program at its other end, which is in another network namespace, where it cannot be seen"
	for _, c := range []struct {
		iface, text string
		mode        run.Hook
		dir         run.Direction
		stay        bool
		want        string // "" is taken
	}{
		{iface: "right", text: "if udp then reflect"},
		{iface: "right", text: "if udp then redirect v0"},
		{iface: "right", text: "if udp then redirect v0", dir: run.Out},
		{iface: "right", text: "if udp then redirect v0", mode: run.XDP},
		{iface: "right", text: "if udp then redirect v0", mode: run.GenericXDP, stay: true},
		{iface: "right", text: "if udp then redirect tun0"},
		{iface: "tun0", text: "if udp then reflect"},
		{iface: "right", text: "if udp then reflect", mode: run.XDP, want: elsewhere},
		{iface: "v0", text: "if udp then redirect right", mode: run.XDP, want: elsewhere},
		{
			iface: "v0", text: "if udp then reflect", mode: run.XDP, stay: true,
			want: "v0 is a veth, where what native XDP sends is lost unless there is an XDP program at its other end, which would have to stay there too",
		},
		{
			iface: "v0", text: "if udp then redirect tun0", mode: run.GenericXDP,
			want: "XDP redirects packets of v0 with their Ethernet header, which tun0 does not have",
		},
		{
			iface: "tun0", text: "if udp then redirect v0",
			want: "packets of tun0 have no Ethernet header, so the kernel drops them where they are redirected to v0",
		},
		{
			iface: "right", text: "if udp then reflect", dir: run.Out,
			want: "reflect is for packets that come in: those that leave are on their way out already",
		},
		{
			iface: "right", text: "if tcp then tcp_check 5", dir: run.Out,
			want: "an exact tcp_check cannot reach the wire: TCP packets leave with an offloaded checksum (CHECKSUM_PARTIAL)",
		},
		{iface: "right", text: "if tcp then tcp_check bad", dir: run.Out},
		{iface: "right", text: "if udp then redirect nowhere0", want: "there is no interface nowhere0"},
		{iface: "right", text: "if udp", mode: run.XDP, dir: run.Out, want: "XDP sees only packets that arrive, not those that leave right"},
	} {
		check(t, pair.B.Do(func() error {
			cfg := run.Options{Program: checked(t, c.text), Target: run.Target{Interface: c.iface, Direction: c.dir}, Hook: c.mode, Stay: c.stay}
			_, advised := advise(cfg)
			err := attachOnce(cfg)
			if message(err) != c.want || message(advised) != c.want {
				t.Errorf("%+v: %v; before: %v", c, err, advised)
			}
			for _, iface := range []string{"right", "tun0", "v0", "v1"} {
				wantPrograms(t, iface)
			}
			return nil
		}))
	}
}

func attachOnce(cfg run.Options) error {
	if cfg.Stay {
		if _, err := attachRules(cfg); err != nil {
			return err
		}
		_, err := Detach(cfg.Target)
		return err
	}
	session, err := Start(cfg)
	if err != nil {
		return err
	}
	_, err = session.Close()
	return err
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestAutoAvoidsWhatIsLost: a network card with native XDP gets tc all the same
// where packets go to a veth that would lose them.
func TestAutoAvoidsWhatIsLost(t *testing.T) {
	card := hook.Iface{Name: "eth1", Index: 2, Ethernet: true, Driver: "ice", Native: hook.Supported}
	veth := hook.Iface{Name: "v0", Index: 3, Ethernet: true, Kind: "veth", PeerElsewhere: true}
	tun := hook.Iface{Name: "tun0", Index: 4, Kind: "tun", Link: hook.RawIPLink}
	for _, to := range []hook.Iface{card, veth, tun} {
		p := checked(t, "if udp then redirect "+to.Name)
		c, err := hook.Choose(run.Auto, run.In, card, need(p))
		check(t, err)
		s := &Prepared{opt: run.Options{Program: p}, iface: card, outlets: map[string]hook.Iface{to.Name: to}, peers: map[int]hook.Iface{}}
		c, err = s.settle(c)
		check(t, err)
		want := run.TC
		if to.Name == card.Name {
			want = run.XDP
		}
		if c.Hook != want || want == run.TC && !strings.Contains(c.Why, to.Name) {
			t.Errorf("to %s: %s, want %s", to.Name, c.Why, want)
		}
		if o := s.options(c.Hook); o.Redirect[to.Name] != to.Index {
			t.Errorf("to %s: %+v", to.Name, o)
		}
	}
}

// TestSkipped: a packet that is yet to be segmented keeps the field that this depends
// on, and is counted: while rules run, behind their end, and in the list.
func TestSkipped(t *testing.T) {
	pair := newPair(t, lab.PairConfig{Offload: true})
	port, err := testnet.OpenPort(pair.A, "left", nil)
	check(t, err)
	defer port.Close()
	whole := frame(t, layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: 80, ACK: true}, 4000)
	super, offload, err := testnet.Partial(whole, 1000)
	check(t, err)
	want := []run.Skipped{{Packets: 4, Reason: "segments", Why: skipReasons[bpf.ReasonSegments]}} // 4000 bytes, 1000 each
	opt := run.Options{Program: checked(t, "if tcp then tcp_hlen 5"), Target: run.Target{Interface: "right"}}
	check(t, pair.B.Do(func() error {
		session, err := Start(opt)
		if err != nil {
			return err
		}
		check(t, port.SendOffloaded(super, offload))
		await(t, want, session.Counts)
		counts, err := session.Close()
		if last, lastErr := session.Counts(); !slices.Equal(last.Skipped, want) || lastErr != nil || counts.Rules[0].Count != (run.Count{}) {
			t.Errorf("at the end: %v, %v, %+v", last, lastErr, counts)
		}
		return err
	}))
	check(t, pair.B.Do(func() error {
		if _, err := attachRules(opt); err != nil {
			return err
		}
		check(t, port.SendOffloaded(super, offload))
		await(t, want, func() (run.Counts, error) {
			all, err := List("")
			if err != nil || len(all) != 1 {
				return run.Counts{}, fmt.Errorf("listed %d: %w", len(all), err)
			}
			return all[0].Counts, nil
		})
		_, err := Detach(opt.Target)
		return err
	}))
}

// await waits until as many packets have been skipped.
func await(t *testing.T, want []run.Skipped, counts func() (run.Counts, error)) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		got, err := counts()
		check(t, err)
		if slices.Equal(got.Skipped, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("skipped: %v, want %v", got.Skipped, want)
		}
	}
}

// attachRules prepares and attaches rules that stay, replaceRules in the place of others.
func attachRules(opt run.Options) (run.Attachment, error) {
	opt.Stay = true
	s, err := Prepare(opt)
	if err != nil {
		return run.Attachment{}, err
	}
	return s.Attach()
}

func replaceRules(opt run.Options) (run.Attachment, error) {
	opt.Replace = true
	return attachRules(opt)
}

// replaced is what is left of Session.Replace where only its error counts.
func replaced(_ run.Attachment, err error) error { return err }
