package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/csource"
	"repacket/internal/demo"
	"repacket/internal/engine"
	"repacket/internal/hook"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/internal/syntax"
)

// systemDemo is the demo, in network namespaces that it takes root to make.
func systemDemo(ctx context.Context, out io.Writer) error {
	err := demo.Run(ctx, out)
	if errors.Is(err, unix.EPERM) {
		return &Failure{Status: exitPrivilege, Err: err, Hint: "run it as root: sudo repacket demo"}
	}
	return failure(err)
}

func systemKernel() Kernel { return linuxKernel{} }

// linuxKernel puts engine and hook behind the commands' view of them: their
// types become this package's, their errors get an exit status.
type linuxKernel struct{}

func (linuxKernel) DefaultInterface() (string, error) {
	name, err := hook.DefaultRoute()
	return name, failure(err)
}

func (linuxKernel) Interface(name string) (string, error) {
	i, err := hook.Resolve(name)
	return i.Name, failure(err)
}

func (linuxKernel) Number(name string) (int, error) {
	i, err := hook.Resolve(name)
	return i.Index, failure(err)
}

func (linuxKernel) Interfaces() ([]string, error) {
	all, err := hook.Interfaces()
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names, failure(err)
}

func (linuxKernel) Look(j Job) (Site, error) {
	s, err := engine.Look(config(j))
	if err != nil {
		return nil, failure(err)
	}
	return site{s, j}, nil
}

// site is one of the engine's.
type site struct {
	*engine.Site
	job Job
}

func (s site) Advice() []Advice { return advices(s.Site.Advice()) }

func (s site) Start(ready func()) (Session, error) {
	run, err := s.Site.Start(ready)
	if err != nil {
		return nil, failure(err)
	}
	return session{run}, nil
}

func (s site) Attach() (Attached, error) {
	a, err := s.Site.Attach()
	if err != nil {
		return Attached{}, failure(err)
	}
	return Attached{
		Interface: s.InterfaceName(), Direction: s.job.Direction, Hook: a.Mode.String(), Note: a.Note, Late: advices(a.Late), Replaced: a.Replaced,
	}, nil
}

func (linuxKernel) Detach(iface, direction string) (Detached, error) {
	d, err := engine.Detach(iface, directions[direction])
	return Detached(d), failure(err)
}

func (linuxKernel) List() ([]Attached, error) {
	all, err := engine.List()
	if err != nil {
		return nil, failure(err)
	}
	var ours []Attached
	for _, l := range all {
		a := Attached{Interface: l.Interface, Direction: l.Meta.Direction, Hook: l.Mode.String(), Over: l.Over, PacketsLeft: l.Left, SecondsLeft: l.Remaining.Seconds()}
		if l.Meta.Foreground {
			a.PID, a.PIDElsewhere = l.Meta.PID, l.Elsewhere()
		}
		for i, r := range l.Meta.Rules {
			a.Rules = append(a.Rules, ruleCount{ruleObject{r.Name, kept(r)}, Count(l.Counts[i])})
		}
		a.LeftAlone = leftAlone(l.LeftAlone)
		ours = append(ours, a)
	}
	return ours, nil
}

// kept is the text of a rule as far as it is kept with the rules that are attached.
func kept(r hook.MetaRule) string {
	if r.Sum != "" {
		return r.Text + " (cut)"
	}
	return r.Text
}

func advices(all []engine.Advice) []Advice {
	out := make([]Advice, len(all))
	for i, a := range all {
		out[i] = Advice(a)
	}
	return out
}

func (linuxKernel) Verify(j proofJob) (Verified, error) {
	v, err := engine.Verify(j.Program, j.Packets, engine.LoadOptions{Clang: j.Clang, Broken: j.Broken})
	if err != nil {
		return Verified{}, failure(err)
	}
	out := Verified{Packets: v.Packets, Acted: v.Acted, Instructions: v.Instructions, Nanoseconds: v.Nanoseconds}
	for _, i := range v.Unreached {
		out.Unreached = append(out.Unreached, i+1)
	}
	return out, nil
}

var directions = map[string]hook.Direction{"in": hook.In, "out": hook.Out}

func config(j Job) engine.Config {
	modes := map[string]hook.Mode{"auto": hook.Auto, "xdp": hook.Native, "xdp-generic": hook.Generic, "tc": hook.TC}
	return engine.Config{
		Program: j.Program, Interface: j.Interface, Direction: directions[j.Direction], Mode: modes[j.Hook], Limit: j.Limit, For: j.For,
		Clang: j.Clang, Broken: j.Broken, Stay: j.Stay, Replace: j.Replace,
	}
}

// session is a run of the engine.
type session struct{ *engine.Run }

func (s session) Hook() string { return s.Run.Hook().String() }

func (s session) Counts() ([]tally, error) {
	rules, err := s.Rules()
	return tallies(rules), failure(err)
}

func (s session) Close() ([]tally, error) {
	_, err := s.Run.Close()
	rules, _ := s.Rules() // the final ones, without an error
	return tallies(rules), failure(err)
}

func (s session) InterfaceName() (string, error) {
	name, err := s.Run.InterfaceName()
	return name, failure(err)
}

func (s session) Replace(p *rule.Program) error { return failure(s.Run.Replace(p)) }

func (s session) Late() []Advice { return advices(s.Run.Late()) }

func (s session) LeftAlone() ([]LeftAlone, error) {
	counts, err := s.Run.LeftAlone()
	return leftAlone(counts), failure(err)
}

func leftAlone(counts engine.LeftAlone) []LeftAlone {
	var out []LeftAlone
	for why, n := range counts {
		if n > 0 {
			out = append(out, LeftAlone{n, leftAloneWhy[bpf.Reason(why)]})
		}
	}
	return out
}

// leftAloneWhy says for people why packets were left alone.
var leftAloneWhy = map[bpf.Reason]string{
	bpf.ReasonSegments: "segmentation offload is yet to cut them up, and a rule says how packets are cut up",
	bpf.ReasonPartial:  "their checksum is made later, so it cannot be set",
	bpf.ReasonHeaders:  "their headers could not be brought into one buffer",
	bpf.ReasonLimit:    "each stands for more packets, by segmentation offload, than -c has left",
	bpf.ReasonTag:      "the type of their VLAN tag can only be 0x8100 or 0x88a8 at tc",
}

func tallies(rules []engine.RuleCount) []tally {
	var out []tally
	for _, r := range rules {
		out = append(out, tally{ruleCount{ruleObject{r.Name, r.Text}, Count(r.Count)}, r.Look, r.Gone})
	}
	return out
}

// reportHint writes a difference to a file, for whoever can mend it.
func reportHint(d *engine.Difference) string {
	var file *os.File
	err := withCallersRights(func() (err error) {
		file, err = os.CreateTemp("", "repacket-difference-*.txt")
		return err
	})
	if err != nil {
		return "this is a bug; please report it with the rules"
	}
	defer file.Close()
	release, commit := buildVersion()
	if _, err := fmt.Fprintf(file, "repacket %s %s\n%s", release, commit, d.Report()); err != nil {
		return "this is a bug; please report it with the rules"
	}
	return "this is a bug; please report it with " + file.Name()
}

// failure gives an error of hook or engine the exit status that it means.
func failure(err error) error {
	if err == nil {
		return nil
	}
	f := &Failure{Status: exitFailed, Err: err}
	var (
		taken       *hook.ErrTaken
		unsupported *hook.ErrUnsupported
		privilege   *hook.ErrPrivilege
		noInterface *hook.ErrNoInterface
		noRoute     *hook.ErrNoDefaultRoute
		egress      *hook.ErrEgressXDP
		never       *engine.UsageError
		noClang     *csource.NoClangError
		tooMany     *bpf.TooLargeError
		tooManyRows *plan.RowsError
		tooLong     *plan.TooLargeError
		rules       *syntax.Diagnostic
		tableSize   *bpf.TableSizeError
		tooComplex  *engine.TooComplexError
		difference  *engine.Difference
		hinted      interface{ Hint() string }
		path        *fs.PathError
	)
	switch {
	case errors.As(err, &taken):
		f.Status = exitTaken
	case errors.As(err, &unsupported), errors.As(err, &noClang):
		f.Status = exitUnsupported
	case errors.As(err, &tooMany):
		return tooLarge(tooMany)
	case errors.As(err, &tooManyRows):
		return tooLarge(tooManyRows)
	case errors.As(err, &tooLong):
		return tooLarge(tooLong)
	case errors.As(err, &rules):
		return rules
	case errors.As(err, &tableSize):
		return tooLarge(tableSize)
	case errors.As(err, &tooComplex):
		return tooLarge(tooComplex)
	case errors.As(err, &difference):
		f.Err, f.Hint = difference, reportHint(difference)
	case errors.As(err, &privilege):
		f.Status = exitPrivilege
	case errors.As(err, &noInterface), errors.As(err, &noRoute), errors.As(err, &egress), errors.As(err, &never):
		f.Status = exitUsage
	}
	if errors.As(err, &hinted) {
		f.Hint = hinted.Hint()
	} else if errors.As(err, &path) && errors.Is(path, fs.ErrNotExist) {
		switch root, _, _ := strings.Cut(strings.TrimPrefix(path.Path, "/"), "/"); root {
		case "proc", "sys":
			f.Status, f.Hint = exitUnsupported, fmt.Sprintf("the kernel's files are looked for in /%[1]s: mount -t %[2]s %[1]s /%[1]s", root, map[string]string{"proc": "proc", "sys": "sysfs"}[root])
		}
	}
	return f
}
