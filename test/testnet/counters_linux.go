package testnet

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"repacket/internal/lab"

	"github.com/vishvananda/netlink"
)

// Counters are a namespace's or an interface's counters by name.
type Counters map[string]uint64

// protocolFiles are where the kernel counts by protocol, for the namespace of
// the calling thread.
var protocolFiles = []string{"snmp", "netstat", "snmp6"}

// CountersOf reads what the namespace counts by protocol, named as nstat names
// it: "UdpInCsumErrors", "TcpExtTCPOFOQueue", "Udp6InErrors".
func CountersOf(n *lab.Namespace) (Counters, error) {
	all := Counters{}
	err := n.Do(func() error {
		for _, file := range protocolFiles {
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a kernel without IPv6
			}
			if err != nil {
				return err
			}
			all.parse(string(text))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	return all, nil
}

// parse reads both forms: a line of names above one of numbers, each behind the
// protocol; or a name and its number on each line.
func (c Counters) parse(text string) {
	var names []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case !strings.HasSuffix(words[0], ":"):
			c.put(words[0], words[1:])
		case names == nil || names[0] != words[0]:
			names = words
		default:
			protocol := strings.TrimSuffix(words[0], ":")
			for i := 1; i < min(len(words), len(names)); i++ {
				c.put(protocol+names[i], words[i:i+1])
			}
			names = nil
		}
	}
}

// put leaves out what is no counter, as the -1 for "no limit".
func (c Counters) put(name string, value []string) {
	if len(value) != 1 {
		return
	}
	if n, err := strconv.ParseUint(value[0], 10, 64); err == nil {
		c[name] = n
	}
}

// LinkCounters reads what an interface counts: "rx_packets", "tx_dropped", ….
func LinkCounters(n *lab.Namespace, name string) (Counters, error) {
	var s *netlink.LinkStatistics
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			s = link.Attrs().Statistics
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read counters of %s: %w", name, err)
	}
	return Counters{
		"rx_packets": s.RxPackets, "tx_packets": s.TxPackets, "rx_bytes": s.RxBytes, "tx_bytes": s.TxBytes,
		"rx_errors": s.RxErrors, "tx_errors": s.TxErrors, "rx_dropped": s.RxDropped, "tx_dropped": s.TxDropped,
		"multicast": s.Multicast, "collisions": s.Collisions, "rx_length_errors": s.RxLengthErrors,
		"rx_over_errors": s.RxOverErrors, "rx_crc_errors": s.RxCrcErrors, "rx_frame_errors": s.RxFrameErrors,
		"rx_fifo_errors": s.RxFifoErrors, "rx_missed_errors": s.RxMissedErrors,
		"tx_aborted_errors": s.TxAbortedErrors, "tx_carrier_errors": s.TxCarrierErrors,
		"tx_fifo_errors": s.TxFifoErrors, "tx_heartbeat_errors": s.TxHeartbeatErrors,
		"tx_window_errors": s.TxWindowErrors,
	}, nil
}

// Since is what has been counted since before was read, without what has not
// changed.
func (c Counters) Since(before Counters) Counters {
	d := Counters{}
	for name, n := range c {
		if n != before[name] {
			d[name] = n - before[name]
		}
	}
	return d
}

// troubles are the counters that grow when a packet is broken. Those of what
// merely has no taker ("NoPorts") and of congestion are not among them.
var troubles = []string{"CsumErrors", "ChecksumErrors", "InErrors", "InErrs", "HdrErrors", "TruncatedPkts", "_errors"}

// Troubles are the counters above 0 that say that a packet was broken:
// checksums, headers, lengths.
func (c Counters) Troubles() Counters {
	d := Counters{}
	for name, n := range c {
		bad := slices.ContainsFunc(troubles, func(part string) bool { return strings.Contains(name, part) })
		if n > 0 && bad {
			d[name] = n
		}
	}
	return d
}

// String lists the counters by name.
func (c Counters) String() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		words = append(words, fmt.Sprintf("%s %d", name, c[name]))
	}
	return strings.Join(words, ", ")
}
