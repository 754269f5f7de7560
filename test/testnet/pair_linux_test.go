package testnet

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"repacket/internal/lab"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestNothingIsLeft(t *testing.T) {
	newPair(t, lab.PairConfig{}).Close() // what the libraries keep open is open now
	fds, names := openFDs(t), interfaceNames(t)
	for range 3 {
		p, err := lab.NewPair(lab.PairConfig{})
		if err != nil {
			t.Fatal(err)
		}
		port, err := OpenPort(p.B, p.Config.B.Name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(port.Close(), p.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if got := openFDs(t); got != fds {
		t.Errorf("%d descriptors are open, before it were %d", got, fds)
	}
	if got := interfaceNames(t); strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("interfaces %q, before it were %q", got, names)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads found: %v", err)
	}
	home := inode(t, "/proc/thread-self/ns/net")
	eventually(t, "threads in foreign namespaces end", func() bool {
		for _, task := range tasks {
			var st unix.Stat_t
			if unix.Stat(task, &st) == nil && st.Ino != home {
				return false
			}
		}
		return true
	})
}

func TestPairFailsWhole(t *testing.T) {
	newPair(t, lab.PairConfig{}).Close()
	fds := openFDs(t)
	tests := map[string]lab.PairConfig{
		"name too long":   {A: lab.End{Name: "a-name-of-sixteen"}},
		"peer name":       {B: lab.End{Name: "no/slash"}},
		"multicast MAC":   {A: lab.End{MAC: net.HardwareAddr{1, 0, 0, 0, 0, 1}}},
		"MTU too large":   {MTU: 1 << 20},
		"the same as lo ": {A: lab.End{Name: "lo"}},
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := lab.NewPair(cfg)
			if err == nil {
				p.Close()
				t.Fatal("no error")
			}
			if p != nil {
				t.Error("a pair beside the error")
			}
			if got := openFDs(t); got != fds {
				t.Errorf("%d descriptors are open, before it were %d", got, fds)
			}
		})
	}
}

func TestPairIsAsConfigured(t *testing.T) {
	cfg := lab.PairConfig{
		A:   lab.End{Name: "eth1", MAC: net.HardwareAddr{2, 1, 2, 3, 4, 5}},
		MTU: 9000,
	}
	p := newPair(t, cfg)
	for ns, end := range map[*lab.Namespace]lab.End{p.A: p.Config.A, p.B: p.Config.B} {
		var link netlink.Link
		var addrs []netlink.Addr
		err := ns.Do(func() (err error) {
			if link, err = netlink.LinkByName(end.Name); err != nil {
				return err
			}
			addrs, err = netlink.AddrList(link, netlink.FAMILY_ALL)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		attrs := link.Attrs()
		if attrs.MTU != 9000 || attrs.HardwareAddr.String() != end.MAC.String() || attrs.OperState != netlink.OperUp {
			t.Errorf("%s: MTU %d, MAC %s, %s", end.Name, attrs.MTU, attrs.HardwareAddr, attrs.OperState)
		}
		if len(addrs) != 1 || addrs[0].IPNet.String() != end.Addr.String() {
			t.Errorf("%s: addresses %v, want only %s", end.Name, addrs, end.Addr)
		}
	}
	if p.Config.A.Name != "eth1" || p.Config.B.Name != "right" {
		t.Errorf("names %q and %q", p.Config.A.Name, p.Config.B.Name)
	}
}
