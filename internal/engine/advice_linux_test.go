package engine

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// TestAdviceTexts: each rule that sets a field which segmentation depends on is named, once.
func TestAdviceTexts(t *testing.T) {
	pair := newPair(t, lab.PairConfig{})
	p := checked(t, "cut: if tcp then ip_id 5 ip_ttl 3 tcp_hlen 6 else if dport 53 then ip_tot_len 9")
	const sets = "cut sets ip_id and tcp_hlen, rule 2 sets ip_tot_len"
	for mode, want := range map[run.Hook]string{
		run.TC:         "segmentation-offload packets are skipped: " + sets,
		run.GenericXDP: sets + ", but generic XDP cannot tell segmentation-offload packets from others: their segments will be wrong",
	} {
		check(t, pair.B.Do(func() error {
			got, err := advise(run.Options{Program: p, Target: run.Target{Interface: "right"}, Hook: mode})
			if err != nil {
				return err
			}
			last := got[len(got)-1]
			if last.Message != want || last.Note != (mode == run.TC) || last.Hint == "" {
				t.Errorf("%s: %+v", mode, last)
			}
			return nil
		}))
	}
}

// TestRulesThatNeverAct: on a link without Ethernet a rule on tags is told to be
// idle; attached all the same it is listed and replaced as any other.
func TestRulesThatNeverAct(t *testing.T) {
	ns := newNamespace(t)
	openTun(t, ns, testnet.TunConfig{})
	check(t, ns.Do(func() error {
		for text, idle := range map[string]string{
			"if vlan_id 5 then vlan_id 6":               "rule 1 can match nothing: packets of tun0 begin with the IP header",
			"if ip then ip_ttl 5 else if arp then drop": "rule 2 can match nothing: packets of tun0 begin with the IP header",
			"if not vlan_id 5 then ip_ttl 6":            "",
			"if eth or udp then ip_ttl 6":               "",
		} {
			cfg := run.Options{Program: checked(t, text), Target: run.Target{Interface: "tun0"}}
			advice, err := advise(cfg)
			check(t, err)
			if len(advice) > 1 || len(advice) == 1 && advice[0].Message != idle || len(advice) == 0 && idle != "" {
				t.Errorf("%s: %+v, want %q", text, advice, idle)
			}
			_, err = replaceRules(cfg)
			check(t, err)
			all, err := List("")
			check(t, err)
			if len(all) != 1 || all[0].Rules[0].Count != (run.Count{}) {
				t.Errorf("%s: listed as %+v", text, all)
			}
		}
		done, err := Detach(run.Target{Interface: "tun0"})
		if !done.Found {
			t.Error("detached nothing")
		}
		return err
	}))
}

// advise is the advice of Prepare.
func advise(cfg run.Options) ([]run.Advice, error) {
	s, err := Prepare(cfg)
	if err != nil {
		return nil, err
	}
	return s.Advice(), nil
}

// TestDownInterface: rules on an interface that is down see nothing, which is told.
func TestDownInterface(t *testing.T) {
	needs.Kernel(t)
	pair := newPair(t, lab.PairConfig{})
	check(t, pair.B.Do(func() error {
		for _, up := range []bool{true, false} {
			l, err := netlink.LinkByName("right")
			check(t, err)
			if !up {
				check(t, netlink.LinkSetDown(l))
			}
			all, err := advise(run.Options{Program: checked(t, "if udp then ip_ttl 9"), Target: run.Target{Interface: "right"}})
			check(t, err)
			warning := run.Advice{Message: "right is down: the rules see no packets until it is up", Hint: "ip link set right up"}
			if slices.Contains(all, warning) == up {
				t.Errorf("up %v: %v", up, all)
			}
		}
		return nil
	}))
}
