package doctor

import (
	"errors"
	"fmt"

	"repacket/internal/hook"
	"repacket/internal/run"
	"repacket/internal/spelling"
)

// interfaces is the table of checks of an interface.
var interfaces = []check{
	{"interface", iface},
	{"driver", driver},
	{"native-xdp", nativeXDP},
	{"mtu", mtu},
	{"lro", lro},
	{"gro", gro},
	{"queues", queues},
	{"vlan-stripping", vlanStripping},
	{"peer", peer},
	{"peer-checksums", peerChecksums},
	{"peer-vlan", peerVLAN},
	{"programs-in", func(f *Facts) Row { return f.programsOn(run.In) }},
	{"programs-out", func(f *Facts) Row { return f.programsOn(run.Out) }},
	{"auto-in", func(f *Facts) Row { return auto(f.In) }},
	{"auto-out", func(f *Facts) Row { return auto(f.Out) }},
}

// describe says what the interface is.
func (f *Facts) describe() string {
	i := f.Iface
	kind := i.Kind
	switch {
	case kind == "tun" && i.Ethernet:
		kind = "tap"
	case kind == "" && i.Link == hook.LoopbackLink:
		kind = "loopback"
	case kind == "":
		kind = "hardware"
	}
	text := fmt.Sprintf("%s, MTU %d", kind, i.MTU)
	if i.Link != hook.LoopbackLink {
		text = fmt.Sprintf("%s, %s, MTU %d", kind, i.Link, i.MTU)
	}
	if !i.Up {
		text += ", down"
	}
	return text
}

func iface(f *Facts) Row {
	row := Row{Level: OK, Text: f.describe()}
	if f.Iface.Master != 0 {
		row.Text += fmt.Sprintf(", part of interface %d", f.Iface.Master)
	}
	if !f.Iface.Up {
		row.Level, row.Command = Note, "ip link set dev "+spelling.InShell(f.Iface.Name)+" up"
		row.Text += ": no packets come or go"
	}
	return row
}

func driver(f *Facts) Row {
	if f.Iface.Driver == "" {
		return Row{Level: OK, Text: "does not tell its name"}
	}
	return Row{Level: OK, Text: f.Iface.Driver}
}

func nativeXDP(f *Facts) Row {
	switch f.Iface.Native {
	case hook.Supported:
		return Row{Level: OK, Text: "the driver has it"}
	case hook.Missing:
		return Row{Level: Note, Text: "the driver has none; tc is the faster hook here"}
	}
	return Row{
		Level: Unknown, Text: "neither the kernel tells it nor is the driver known here; to try",
		Command: fmt.Sprintf("repacket -i %s --hook xdp --for 1s if all", spelling.InShell(f.Iface.Name)),
	}
}

// onePage is the largest MTU whose packets XDP finds in one page, in any of the
// drivers: with the packet there are room for headers that grow (256 bytes),
// the kernel's struct skb_shared_info (320), the Ethernet header (14), a tag (4)
// and the frame's own checksum (4).
func (f *Facts) onePage() int { return f.Page - 256 - 320 - 14 - 4 - 4 }

func mtu(f *Facts) Row {
	n, kernel := f.Iface.MTU, f.Has[hook.XDPFragments]
	text := fmt.Sprintf("%d: more than a page of memory holds", n)
	refused := Row{
		Level: f.grade(), Text: text + ", and native XDP takes it only with multi-buffer, which ",
		Command: fmt.Sprintf("ip link set dev %s mtu %d", spelling.InShell(f.Iface.Name), f.onePage()),
	}
	switch {
	case f.Iface.Native == hook.Missing:
		return Row{Level: OK, Text: fmt.Sprintf("%d: no matter without native XDP", n)}
	case n <= f.onePage():
		return Row{Level: OK, Text: fmt.Sprintf("%d: native XDP needs no multi-buffer", n)}
	case kernel.Err == nil && !kernel.Value:
		refused.Text += "this kernel lacks"
	case f.Fragments == hook.Missing:
		refused.Text += "the driver lacks"
	case f.Fragments == hook.Supported && kernel.Err == nil:
		return Row{Level: OK, Text: text + ": native XDP needs multi-buffer, which kernel and driver have"}
	default:
		return Row{Level: Unknown, Text: text + ": native XDP needs multi-buffer, and whether it is there is not to be seen"}
	}
	return refused
}

// Offloads by the kernel's names, and ethtool's words for them.
const (
	rxLRO   = "rx-lro"
	rxGROHW = "rx-gro-hw"
	rxGRO   = "rx-gro"
	rxVLAN  = "rx-vlan-hw-parse"
	rxSVLAN = "rx-vlan-stag-hw-parse"
	txVLAN  = "tx-vlan-hw-insert"
	txSVLAN = "tx-vlan-stag-hw-insert"
)

// txChecksums leave the sums of TCP and UDP to the device. What ethtool calls tx
// is all of them, and those of SCTP.
var txChecksums = []string{"tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"}

var ethtoolWords = map[string]string{rxLRO: "lro", rxGRO: "gro", rxVLAN: "rxvlan", txVLAN: "txvlan"}

// on tells which of some switches are on, and the command that turns them off;
// it is "" where one of them is fixed.
func on(iface string, switches map[string]Switch, names ...string) (there []string, command string) {
	command = "ethtool -K " + spelling.InShell(iface)
	fixed := false
	for _, name := range names {
		s := switches[name]
		if !s.On {
			continue
		}
		word := ethtoolWords[name]
		if word == "" {
			word = name
		}
		there = append(there, word)
		command += " " + word + " off"
		fixed = fixed || s.Fixed
	}
	if fixed {
		command = ""
	}
	return there, command
}

func lro(f *Facts) Row {
	if f.Switches.Err != nil {
		return f.unseen(f.Switches.Err)
	}
	there, command := on(f.Iface.Name, f.Switches.Value, rxLRO, rxGROHW)
	if len(there) == 0 {
		return Row{Level: OK, Text: "off: packets arrive one by one"}
	}
	row := Row{
		Level: f.grade(), Text: list(there) + " on: the hardware joins packets, so some drivers refuse native XDP",
		Command: command,
	}
	if command == "" {
		row.Text += "; it cannot be changed, and tc is taken where they do"
	}
	return row
}

func gro(f *Facts) Row {
	if f.Switches.Err != nil {
		return f.unseen(f.Switches.Err)
	}
	there, command := on(f.Iface.Name, f.Switches.Value, rxGRO)
	switch {
	case len(there) == 0:
		return Row{Level: OK, Text: "off: packets reach every hook one by one"}
	case f.native():
		return Row{Level: OK, Text: "on, which is behind native XDP"}
	}
	return Row{
		Level: Note, Text: "on: tc sees streams joined to large packets, and skips those whose segmentation a rule would change (ip_id, ip_tot_len and the like)",
		Command: command,
	}
}

func vlanStripping(f *Facts) Row {
	switch {
	case f.Iface.Link != hook.EthernetLink:
		return Row{}
	case f.Iface.Kind == "veth":
		return Row{Level: OK, Text: "not of a veth: its peer takes the tags out, or not"}
	case f.Switches.Err != nil:
		return f.unseen(f.Switches.Err)
	}
	there, command := on(f.Iface.Name, f.Switches.Value, rxVLAN, rxSVLAN)
	row := Row{Level: f.grade(), Text: "on: VLAN tags are taken out before XDP, which does not see them (tc does)", Command: command}
	switch {
	case len(there) == 0:
		return Row{Level: OK, Text: "off: VLAN tags stay in their packets"}
	case command == "" && f.native():
		row.Text += "; the driver does not let it be changed"
		row.Command = fmt.Sprintf("repacket -i %s --hook tc RULES", spelling.InShell(f.Iface.Name))
	}
	return row
}

func peer(f *Facts) Row {
	i := f.Iface
	switch {
	case i.Kind != "veth":
		return Row{}
	case i.PeerElsewhere || f.Peer.Name == "":
		return Row{
			Level:   f.grade(),
			Text:    fmt.Sprintf("interface %d of another network namespace: its offloads cannot be seen from here; XDP needs them off there", i.Peer),
			Command: "ethtool -K PEER tx off txvlan off",
		}
	}
	return Row{Level: OK, Text: f.Peer.Name}
}

func peerChecksums(f *Facts) Row {
	if f.Peer.Name == "" {
		return Row{}
	}
	if f.PeerSwitches.Err != nil {
		return f.unseen(f.PeerSwitches.Err)
	}
	if there, _ := on(f.Peer.Name, f.PeerSwitches.Value, txChecksums...); len(there) > 0 {
		return Row{
			Level:   f.grade(),
			Text:    f.Peer.Name + " leaves checksums to be finished later, which XDP cannot see and would break; tc handles them",
			Command: "ethtool -K " + spelling.InShell(f.Peer.Name) + " tx off",
		}
	}
	return Row{Level: OK, Text: f.Peer.Name + " sends whole checksums"}
}

func peerVLAN(f *Facts) Row {
	if f.Peer.Name == "" {
		return Row{}
	}
	if f.PeerSwitches.Err != nil {
		return f.unseen(f.PeerSwitches.Err)
	}
	there, command := on(f.Peer.Name, f.PeerSwitches.Value, txVLAN, txSVLAN)
	if len(there) == 0 {
		return Row{Level: OK, Text: f.Peer.Name + " leaves VLAN tags in their packets"}
	}
	return Row{
		Level: f.grade(), Text: f.Peer.Name + " sends VLAN tags beside their packets, where XDP does not see them (tc does)",
		Command: command,
	}
}

func auto(c Seen[hook.Choice]) Row {
	var hinted interface{ Hint() string }
	switch {
	case c.Err == nil:
	case errors.As(c.Err, &hinted) && hinted.Hint() != "":
		return Row{Level: Error, Text: c.Err.Error() + "; " + hinted.Hint()}
	default:
		return Row{Level: Error, Text: c.Err.Error()}
	}
	row := Row{Level: OK, Text: c.Value.Why}
	if c.Value.Hook == run.XDP {
		row.Text += "; tc, if it refuses all the same"
	}
	for _, w := range c.Value.Warnings {
		row.Level, row.Text = Warning, row.Text+"; "+w.Message+" ("+w.Hint+")"
	}
	return row
}
