package hook

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// action is what was asked of the kernel.
type action struct {
	verb string // as in "cannot attach to eth1"
	need []capability
	// feature is what older kernels lack, since the first version to have it.
	feature, since string
	// attaches: drivers and qdiscs have a say in it.
	attaches bool
}

var (
	actLoad    = action{"load the program", []capability{capBPF, capNetAdmin, capPerfmon}, "BPF programs as they are used here", "5.10", false}
	actLabel   = action{"label the program", []capability{capBPF}, "maps bound to programs", "5.10", false}
	actLink    = action{"attach to %s", []capability{capBPF, capNetAdmin}, "links for XDP", "5.9", true}
	actAttach  = action{"attach to %s", []capability{capNetAdmin}, "XDP of this mode", "4.12", true}
	actDetach  = action{"detach from %s", []capability{capNetAdmin}, "XDP that is detached by program", "5.7", false}
	actReplace = action{"replace the program on %s", []capability{capNetAdmin}, "XDP that is replaced by program", "5.7", true}
	actFind    = action{"inspect the program on %s", []capability{capSysAdmin}, "BPF programs found by number", "4.13", false}
	actQuery   = action{"inspect the tc programs on %s", []capability{capNetAdmin, capSysAdmin}, "BPF programs found by number", "4.13", false}
	actHooks   = action{"ask for the hooks of the kernel", []capability{capNetAdmin}, "BPF", "4.4", false}
	actList    = action{"list the interfaces", nil, "XDP", "4.12", false}
	actRoute   = action{"list the routes", nil, "routes", "2.2", false}
)

// attempt is where an action was tried, and by whom.
type attempt struct {
	iface  string
	dir    run.Direction
	mode   run.Hook
	have   capabilities
	kernel string // the release, such as "6.1.0-13-amd64"
	// hardware: the interface has queues of its own, which the driver can run out of.
	hardware bool
}

func (a action) doing(s attempt) string {
	if strings.Contains(a.verb, "%s") {
		return fmt.Sprintf(a.verb, s.iface)
	}
	return a.verb
}

// errNotSupported is the kernel's own ENOTSUPP, which some drivers let out.
const errNotSupported = unix.Errno(524)

// explain turns an error of the kernel into one of this package's types. It is
// a function of its arguments alone; what it cannot know (who has taken the
// interface) is left zero.
func explain(err error, a action, s attempt) error {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return nil
	case is(ebpf.ErrNotSupported, unix.ENOSYS):
		return tooOld(err, a, s)
	case is(unix.EPERM, unix.EACCES):
		return &PrivilegeError{Doing: a.doing(s), Missing: s.have.missing(a.need), Err: err}
	case is(unix.EBUSY, unix.EEXIST):
		return s.taken(err)
	case is(unix.ESTALE, errQdiscChanged) && s.mode == run.TC:
		return s.taken(err)
	case is(unix.ENODEV):
		return &NoInterfaceError{Name: s.iface, Err: err}
	case s.mode == run.TC && a.attaches:
		if refused := tcRefuses(err, a, s); refused != nil {
			return refused
		}
	case is(unix.EINVAL) && s.mode != run.TC && older(s.kernel, a.since):
		return tooOld(err, a, s)
	case (s.mode == run.XDP || s.mode == run.Auto) && a.attaches:
		if refused := driverRefuses(err, s); refused != nil {
			return refused
		}
	}
	return fmt.Errorf("cannot %s: %w", a.doing(s), err)
}

func (s attempt) taken(err error) error {
	taken := &TakenError{Interface: s.iface, Direction: s.dir, Err: err}
	if s.mode == run.TC {
		taken.Hook = run.TC
	}
	return taken
}

func tooOld(err error, a action, s attempt) error {
	return &UnsupportedError{
		Interface: s.iface,
		Hook:      s.mode,
		Reason: fmt.Sprintf("cannot %s: this kernel (%s) lacks %s, which came with Linux %s",
			a.doing(s), s.kernel, a.feature, a.since),
		Since: a.since,
		Err:   err,
	}
}

// refusals are the reasons of drivers to refuse native XDP. Which error stands
// for which reason differs between drivers; these are the common ones.
var refusals = []struct {
	err            error
	reason, advice string
}{
	{unix.EOPNOTSUPP, "%s has no native XDP: its driver does not support it, or not as it is set up", ""},
	{errNotSupported, "%s has no native XDP: its driver does not support it, or not as it is set up", ""},
	{unix.ERANGE, "the MTU of %s, or of its peer, is too large for native XDP", "lower the MTU"},
	{unix.ENOSPC, "%s has too few receive queues for native XDP", "give it more: ethtool -L"},
	{unix.ENOMEM, "%s has too few queues or too little memory for native XDP", "change its queues: ethtool -L"},
	{unix.EINVAL, "the driver of %s refuses native XDP as the interface is set up", "lower the MTU"},
}

// driverRefuses is the driver's reason to refuse native XDP, or nil.
func driverRefuses(err error, s attempt) error {
	for _, r := range refusals {
		if errors.Is(r.err, unix.ENOMEM) && !s.hardware {
			continue // it is memory
		}
		if errors.Is(err, r.err) {
			return &UnsupportedError{
				Interface:  s.iface,
				Hook:       s.mode,
				Reason:     fmt.Sprintf(r.reason, s.iface),
				TryGeneric: true,
				Advice:     r.advice,
				Err:        err,
			}
		}
	}
	return nil
}

// tcRefusals are the kernel's reasons to refuse a tc program.
var tcRefusals = []struct {
	err            error
	reason, advice string
	since          string
}{
	// tcx is asked first, so its absence is known where clsact is not there.
	{errIngressOnly, "%s has an ingress qdisc, which has no place for packets that leave", "put clsact and its filters in its place: tc qdisc del dev %s ingress, tc qdisc add dev %s clsact", ""},
	{errNoClsact, "this kernel has neither tcx, which came with Linux 6.6, nor clsact with BPF filters (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)", "", "6.6"},
	{unix.ERANGE, "%s has as many tc programs as there can be", "look at them with: bpftool net", ""},
	{unix.EOPNOTSUPP, "the qdisc of %s takes no filters of its own: it shares a block with others", "", ""},
}

// tcRefuses is the reason to refuse a tc program, or nil.
func tcRefuses(err error, a action, s attempt) error {
	for _, r := range tcRefusals {
		if !errors.Is(err, r.err) {
			continue
		}
		return &UnsupportedError{
			Interface: s.iface,
			Hook:      run.TC,
			Reason:    fmt.Sprintf("cannot %s: %s", a.doing(s), strings.ReplaceAll(r.reason, "%s", s.iface)),
			Since:     r.since,
			Advice:    strings.ReplaceAll(r.advice, "%s", s.iface),
			Err:       err,
		}
	}
	return nil
}

// older reports whether a kernel's release is before a version. It only words
// messages: distributions carry features back, so nothing is chosen by it.
func older(release, version string) bool {
	have, want := majorMinor(release), majorMinor(version)
	return have[0] < want[0] || have[0] == want[0] && have[1] < want[1]
}

// majorMinor is the first two numbers of a release.
func majorMinor(release string) (v [2]int) {
	for i, part := range strings.SplitN(release, ".", 3) {
		if i == len(v) {
			break
		}
		digits := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if digits >= 0 {
			part = part[:digits]
		}
		v[i], _ = strconv.Atoi(part)
	}
	return v
}

// ExplainLoad explains why the kernel did not load a program or make a map:
// PrivilegeError, UnsupportedError, or what it was given. The verifier's own
// errors are not of these, unless a privilege would have satisfied it.
func ExplainLoad(err error) error {
	if isVerifier(err) && errors.Is(err, unix.EACCES) {
		// Without CAP_PERFMON the verifier forbids sums with packet pointers,
		// which stepping over IPv4 options takes.
		s := newAttempt("", run.In, run.Auto)
		if missing := s.have.missing([]capability{capPerfmon}); len(missing) > 0 {
			return &PrivilegeError{Doing: actLoad.doing(s), Missing: missing, Err: err}
		}
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) && !isVerifier(err) ||
		errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.ENOSYS) {
		return explain(err, actLoad, newAttempt("", run.In, run.Auto))
	}
	return err
}

// isVerifier tells the verifier's refusal of a program, often EACCES too.
func isVerifier(err error) bool {
	var refusal *ebpf.VerifierError
	return errors.As(err, &refusal)
}

// newAttempt looks at the process and the kernel; it is not for the way that
// succeeds.
func newAttempt(iface string, dir run.Direction, mode run.Hook) attempt {
	s := attempt{iface: iface, dir: dir, mode: mode, kernel: "unknown"}
	if have, err := effective(); err == nil {
		s.have = have
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		s.kernel = unix.ByteSliceToString(uts.Release[:])
	}
	return s
}
