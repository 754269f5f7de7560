package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"repacket/internal/hook"
	"repacket/internal/spelling"
)

// queueRules are what drivers ask of the queues before they take native XDP.
var queueRules = map[string]func(*Facts) Row{
	"ena":        queuesOfENA,
	"virtio_net": queuesOfVirtio,
	"veth":       queuesOfVeth,
}

func queues(f *Facts) Row {
	if rule := queueRules[f.Iface.Driver]; rule != nil && f.Iface.Native == hook.Supported {
		if f.Channels.Err != nil {
			return f.unseen(f.Channels.Err)
		}
		if row := rule(f); row.Level != silent {
			return row
		}
	}
	return Row{Level: OK, Text: f.queuesThere()}
}

// queuesThere says how many queues there are.
func (f *Facts) queuesThere() string {
	c := f.Channels.Value
	switch {
	case f.Channels.Err != nil:
		return fmt.Sprintf("at most %d to receive, %d to transmit", f.Iface.RxQueues, f.Iface.TxQueues)
	case c.Combined > 0:
		return fmt.Sprintf("%d of %d", c.Combined, c.MaxCombined)
	}
	return fmt.Sprintf("%d of %d to receive, %d of %d to transmit", c.Rx, c.MaxRx, c.Tx, c.MaxTx)
}

// queuesOfENA: XDP takes as many queues of its own as there are, so that only a
// half may be in use.
func queuesOfENA(f *Facts) Row {
	c := f.Channels.Value
	if 2*c.Combined <= c.MaxCombined {
		return Row{}
	}
	row := Row{
		Level:   f.grade(),
		Text:    f.queuesThere() + ": native XDP wants at most half of them in use",
		Command: combined(f.Iface.Name, c.MaxCombined/2),
	}
	if c.MaxCombined < 2 {
		row.Text, row.Command = f.queuesThere()+": native XDP wants two at least, which larger machines have", ""
	}
	return row
}

// queuesOfVirtio: XDP takes a queue of its own for each CPU. Where they do not
// suffice the CPUs share them, and older kernels refuse.
func queuesOfVirtio(f *Facts) Row {
	c := f.Channels.Value
	cpus := f.cpus()
	spare := c.MaxCombined - cpus
	switch {
	case cpus == 0 || c.Combined <= spare:
		return Row{}
	case spare < 1:
		return Row{
			Level: Note,
			Text: fmt.Sprintf("%s: native XDP wants one more for each of %d CPUs, else reflect and redirect are slower, and older kernels refuse it; the hypervisor gives them (queues=%d)",
				f.queuesThere(), cpus, 2*cpus),
		}
	}
	return Row{
		Level:   f.grade(),
		Text:    fmt.Sprintf("%s: native XDP wants one more for each of %d CPUs, else reflect and redirect are slower", f.queuesThere(), cpus),
		Command: combined(f.Iface.Name, spare),
	}
}

// queuesOfVeth: XDP wants a receive queue for each queue that the peer sends on.
func queuesOfVeth(f *Facts) Row {
	rx, tx := f.Channels.Value, f.PeerChannels.Value
	if f.Peer.Name == "" || f.PeerChannels.Err != nil || rx.Rx >= tx.Tx {
		return Row{}
	}
	row := Row{
		Level:   f.grade(),
		Text:    fmt.Sprintf("%d to receive, and %s sends on %d: native XDP is refused", rx.Rx, f.Peer.Name, tx.Tx),
		Command: fmt.Sprintf("ethtool -L %s rx %d", spelling.InShell(f.Iface.Name), tx.Tx),
	}
	if rx.MaxRx < tx.Tx {
		row.Command = fmt.Sprintf("ethtool -L %s tx %d", spelling.InShell(f.Peer.Name), rx.Rx)
	}
	return row
}

func combined(iface string, n int) string {
	return fmt.Sprintf("ethtool -L %s combined %d", spelling.InShell(iface), n)
}

// cpus is how many CPUs there can be, or 0 where it is not to be seen. The
// kernel lists them as 0-3 or 0,2-3.
func (f *Facts) cpus() int {
	text, err := f.file(possibleFile)
	if err != nil {
		return 0
	}
	last := text[strings.LastIndexAny(text, ",-")+1:]
	n, err := strconv.Atoi(last)
	if err != nil {
		return 0
	}
	return n + 1
}
