package hook

import "golang.org/x/sys/unix"

// capability is one of capabilities(7).
type capability uint

const (
	capNetAdmin capability = unix.CAP_NET_ADMIN
	capSysAdmin capability = unix.CAP_SYS_ADMIN
	capBPF      capability = unix.CAP_BPF
	capPerfmon  capability = unix.CAP_PERFMON
)

var capabilityNames = map[capability]string{
	capNetAdmin: "CAP_NET_ADMIN",
	capSysAdmin: "CAP_SYS_ADMIN",
	capBPF:      "CAP_BPF",
	capPerfmon:  "CAP_PERFMON",
}

// capabilities is a set: bit n is capability n.
type capabilities uint64

func (s capabilities) has(c capability) bool { return s>>c&1 == 1 }

// missing are the names of the needed capabilities that are not in the set.
// CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON, which were parts of it
// before Linux 5.8.
func (s capabilities) missing(need []capability) []string {
	var names []string
	for _, c := range need {
		split := c == capBPF || c == capPerfmon
		if !s.has(c) && (!split || !s.has(capSysAdmin)) {
			names = append(names, capabilityNames[c])
		}
	}
	return names
}

// effective is the effective set of the calling thread.
func effective() (capabilities, error) {
	var data [2]unix.CapUserData // the version's 64 bits in two words
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, err
	}
	return capabilities(data[0].Effective) | capabilities(data[1].Effective)<<32, nil
}
