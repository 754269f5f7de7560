package hook

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/run"
)

// Interfaces as they are in the wild.
var (
	ixgbe    = Iface{Name: "eth1", Link: EthernetLink, Ethernet: true, Driver: "ixgbe", Native: Supported}
	e1000    = Iface{Name: "eth1", Link: EthernetLink, Ethernet: true, Driver: "e1000", Native: Missing}
	nameless = Iface{Name: "eth1", Link: EthernetLink, Ethernet: true, Native: Unknown}
	unknown  = Iface{Name: "eth1", Link: EthernetLink, Ethernet: true, Driver: "foo", Native: Unknown}
	virtio   = Iface{Name: "eth1", Link: EthernetLink, Ethernet: true, Driver: "virtio_net", Native: Supported}
	veth     = Iface{Name: "v0", Link: EthernetLink, Ethernet: true, Kind: "veth", Driver: "veth", Native: Supported}
	tap      = Iface{Name: "tap0", Link: EthernetLink, Ethernet: true, Kind: "tun", Driver: "tun", Native: Supported}
	tun      = Iface{Name: "tun0", Link: RawIPLink, Kind: "tun", Driver: "tun", Native: Missing}
	wg       = Iface{Name: "wg0", Link: RawIPLink, Kind: "wireguard", Native: Missing}
	bridge   = Iface{Name: "br0", Link: EthernetLink, Ethernet: true, Kind: "bridge", Native: Missing}
	ifb      = Iface{Name: "ifb0", Link: EthernetLink, Ethernet: true, Kind: "ifb", Native: Missing}
	bond     = Iface{Name: "bond0", Link: EthernetLink, Ethernet: true, Kind: "bond", Driver: "bonding", Native: Supported}
	lo       = Iface{Name: "lo", Link: LoopbackLink, Ethernet: true, Native: Missing}
	slip     = Iface{Name: "sl0", Link: OtherLink, Native: Missing}
)

func TestChoose(t *testing.T) {
	const (
		offload = "v0 is a veth: while native XDP is on it, segmentation offload is off, which halves the speed of TCP"
		sums    = " packets that were on no wire yet may carry checksums that are finished later, which XDP cannot see; rewritten and sent on, they are wrong"
		copies  = "generic XDP copies large packets into one piece, which makes it slower than tc"
	)
	tests := []struct {
		want     run.Hook
		dir      run.Direction
		on       Iface
		need     Need
		why      string
		warnings []string
	}{
		{run.Auto, run.In, ixgbe, Need{Sums: true}, "xdp: the driver of eth1 (ixgbe) has native XDP", nil},
		{run.Auto, run.In, virtio, Need{Sums: true}, "xdp: the driver of eth1 (virtio_net) has native XDP", nil},
		{run.Auto, run.In, bond, Need{Sums: true}, "xdp: the driver of bond0 (bonding) has native XDP", nil},
		{run.Auto, run.Out, ixgbe, Need{}, "tc: XDP sees only packets that arrive", nil},
		{run.Auto, run.Out, veth, Need{Sums: true}, "tc: XDP sees only packets that arrive", nil},
		{run.Auto, run.In, veth, Need{Sums: true}, "tc: v0 is a veth, where XDP would switch segmentation offload off", nil},
		{run.Auto, run.In, tap, Need{Sums: true}, "tc: tap0 is a tap, where XDP could not see checksums that are finished later", nil},
		{run.Auto, run.In, tun, Need{}, "tc: tun0 has no Ethernet header, and so no native XDP", nil},
		{run.Auto, run.In, wg, Need{}, "tc: wg0 has no Ethernet header, and so no native XDP", nil},
		{run.Auto, run.In, bridge, Need{}, "tc: br0 is a bridge, which has no native XDP", nil},
		{run.Auto, run.In, ifb, Need{}, "tc: ifb0 is an ifb, which has no native XDP", nil},
		{run.Auto, run.In, e1000, Need{}, "tc: the driver of eth1 (e1000) has no native XDP", nil},
		{run.Auto, run.In, lo, Need{}, "tc: lo has no native XDP", nil},
		{run.Auto, run.In, unknown, Need{}, "tc: whether eth1 (foo) has native XDP is not known here (to try: --hook xdp)", nil},
		{run.Auto, run.In, nameless, Need{}, "tc: whether eth1 has native XDP is not known here (to try: --hook xdp)", nil},
		{run.TC, run.In, ixgbe, Need{Sums: true}, "tc: as asked", nil},
		{run.TC, run.Out, ixgbe, Need{Sums: true}, "tc: as asked", nil},
		{run.XDP, run.In, ixgbe, Need{Sums: true}, "xdp: as asked", nil},
		{run.XDP, run.In, virtio, Need{Sums: true}, "xdp: as asked", nil},
		{run.XDP, run.In, veth, Need{}, "xdp: as asked", []string{offload}},
		{run.XDP, run.In, veth, Need{Sums: true}, "xdp: as asked", []string{offload, "v0 is a veth:" + sums}},
		{run.XDP, run.In, tap, Need{}, "xdp: as asked", nil},
		{run.XDP, run.In, tap, Need{Sums: true}, "xdp: as asked", []string{"tap0 is a tap:" + sums}},
		{run.GenericXDP, run.In, veth, Need{}, "xdp-generic: as asked", []string{copies}},
		{run.GenericXDP, run.In, bridge, Need{Sums: true}, "xdp-generic: as asked", []string{"br0 is a bridge:" + sums, copies}},
		{run.GenericXDP, run.In, lo, Need{Sums: true}, "xdp-generic: as asked", []string{"lo is a loopback:" + sums, copies}},
		{run.GenericXDP, run.In, wg, Need{Sums: true}, "xdp-generic: as asked", []string{copies}},
		{run.GenericXDP, run.In, e1000, Need{Sums: true}, "xdp-generic: as asked", []string{copies}},
		{run.GenericXDP, run.In, ixgbe, Need{Sums: true}, "xdp-generic: as asked", []string{"generic XDP is slower than native XDP, which the driver of eth1 (ixgbe) has"}},
		{run.GenericXDP, run.In, virtio, Need{Sums: true}, "xdp-generic: as asked", []string{
			"eth1 is a virtio interface:" + sums, "generic XDP is slower than native XDP, which the driver of eth1 (virtio_net) has",
		}},
	}
	reached := map[int]bool{}
	warned := map[int]bool{}
	for _, test := range tests {
		name := fmt.Sprintf("%s %s on %s (%s) %+v", test.want, test.dir, test.on.Name, test.on.Driver, test.need)
		got, err := Choose(test.want, test.dir, test.on, test.need)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Why != test.why {
			t.Errorf("%s: %q, want %q", name, got.Why, test.why)
		}
		var warnings []string
		for _, w := range got.Warnings {
			warnings = append(warnings, w.Message)
			if w.Hint == "" {
				t.Errorf("%s: no hint: %s", name, w.Message)
			}
		}
		if diff := cmp.Diff(test.warnings, warnings); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", name, diff)
		}
		q := question{test.want, test.dir, test.on, test.need}
		for i, r := range rows {
			if r.when(q) {
				reached[i] = true
				break
			}
		}
		for i, c := range cautions {
			warned[i] = warned[i] || c.when(q, got.Hook)
		}
	}
	for i, r := range rows {
		if !reached[i] {
			t.Errorf("no test reaches the row %q", r.why)
		}
	}
	for i, c := range cautions {
		if !warned[i] {
			t.Errorf("no test is warned: %q", c.message)
		}
	}
}

func TestChooseRefuses(t *testing.T) {
	for _, want := range []run.Hook{run.XDP, run.GenericXDP} {
		_, err := Choose(want, run.Out, veth, Need{})
		const text = "*hook.EgressXDPError: XDP sees only packets that arrive, not those that leave v0 | leave out --hook, or --hook tc"
		if diff := cmp.Diff(text, whole(err)); diff != "" {
			t.Errorf("%s out (-want +got):\n%s", want, diff)
		}
	}
	for _, want := range []run.Hook{run.Auto, run.XDP, run.GenericXDP, run.TC} {
		for _, dir := range []run.Direction{run.In, run.Out} {
			_, err := Choose(want, dir, slip, Need{})
			const text = "*hook.UnsupportedError: sl0 carries neither Ethernet nor bare IP: its packets begin with a header that is not known here | "
			if diff := cmp.Diff(text, whole(err)); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", want, dir, diff)
			}
		}
	}
}

// What the kernel refuses is tried in another way, if the choice was ours.
func TestInstead(t *testing.T) {
	refused := fmt.Errorf("start: %w", &UnsupportedError{Reason: "eth1 has too few receive queues for native XDP"})
	noTC := &UnsupportedError{Reason: "cannot attach to eth1: this kernel has no tc"}
	tests := map[string]struct {
		want run.Hook
		dir  run.Direction
		on   Iface
		errs []error
		why  string // "" is nothing
	}{
		"native":            {run.Auto, run.In, ixgbe, []error{refused}, "tc: eth1 has too few receive queues for native XDP"},
		"native and no tc":  {run.Auto, run.In, ixgbe, []error{refused, noTC}, "xdp-generic: cannot attach to eth1: this kernel has no tc"},
		"no tc":             {run.Auto, run.In, bridge, []error{noTC}, "xdp-generic: cannot attach to eth1: this kernel has no tc"},
		"nothing at all":    {run.Auto, run.In, bridge, []error{noTC, refused}, ""},
		"no tc out":         {run.Auto, run.Out, ixgbe, []error{noTC}, ""},
		"native as asked":   {run.XDP, run.In, ixgbe, []error{refused}, ""},
		"tc as asked":       {run.TC, run.In, ixgbe, []error{noTC}, ""},
		"taken":             {run.Auto, run.In, ixgbe, []error{&TakenError{}}, ""},
		"privilege missing": {run.Auto, run.In, ixgbe, []error{&PrivilegeError{}}, ""},
		"another error":     {run.Auto, run.In, ixgbe, []error{errors.New("no")}, ""},
	}
	for name, test := range tests {
		c, err := Choose(test.want, test.dir, test.on, Need{Sums: true})
		if err != nil {
			t.Fatal(err)
		}
		ok := true
		for _, err := range test.errs {
			if !ok {
				t.Errorf("%s: nothing is left too early", name)
			}
			c, ok = c.Instead(err)
		}
		if c.Why != test.why || ok != (test.why != "") {
			t.Errorf("%s: %q, %v, want %q", name, c.Why, ok, test.why)
		}
		if ok && c.Hook == run.GenericXDP && len(c.Warnings) == 0 {
			t.Errorf("%s: generic XDP without a warning", name)
		}
	}
}

func TestWords(t *testing.T) {
	got := fmt.Sprint(run.Auto, run.XDP, run.GenericXDP, run.OffloadXDP, run.TC, run.In, run.Out, ByXDP, ByTCX, ByClsact,
		EthernetLink, LoopbackLink, RawIPLink, OtherLink, Unknown, Missing, Supported)
	const want = "auto xdp xdp-generic xdp-offload tc in out xdp tcx clsact Ethernet loopback raw IP other unknown missing supported"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// What kernels before 6.3 do not tell.
func TestNativeByDriver(t *testing.T) {
	tests := []struct {
		on   Iface
		want Support
	}{
		{Iface{Driver: "mlx5_core", Ethernet: true}, Supported},
		{Iface{Driver: "veth", Kind: "veth", Ethernet: true}, Supported},
		{Iface{Driver: "tun", Kind: "tun", Ethernet: true}, Supported},
		{Iface{Driver: "tun", Kind: "tun", Link: RawIPLink}, Missing},
		{Iface{Driver: "bridge", Kind: "bridge", Ethernet: true}, Missing},
		{Iface{Link: LoopbackLink, Ethernet: true}, Missing},
		{Iface{Driver: "foo", Ethernet: true}, Unknown},
		{Iface{Ethernet: true}, Unknown},
	}
	for _, test := range tests {
		if got := nativeByDriver(test.on); got != test.want {
			t.Errorf("%+v: %s, want %s", test.on, got, test.want)
		}
	}
}

// whole is an error's type, message and hint.
func whole(err error) string {
	hint := ""
	if h, ok := err.(interface{ Hint() string }); ok {
		hint = h.Hint()
	}
	return fmt.Sprintf("%T: %v | %s", err, err, hint)
}
