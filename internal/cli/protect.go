package cli

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"repacket/internal/field"
	"repacket/internal/guard"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/syntax"
)

// longestTry is the longest time after which rules end by themselves that counts as trying them.
const longestTry = 10 * time.Minute

// guard refuses rules that would cut off the connection by which the caller came, or one that
// --protect names. Rules that are tried are attached with a warning.
func (a *app) guard(opt run.Options) error {
	found := a.connections(opt.Program, func() (int, error) { return a.env.Kernel.Interface(opt.Interface) })
	for _, m := range found.Missed {
		a.out.advise([]run.Advice{{Note: true, Message: m.String()}})
	}
	return a.refuses(opt, found.Connections)
}

// connections finds the connections that rules on an interface, by its number, may cut off.
func (a *app) connections(program *rule.Program, index func() (int, error)) (found guard.Found) {
	sessions := !a.env.NoSession && guard.Harmful(program)
	if a.opt.lockout || !sessions && len(a.opt.ends) == 0 {
		return found
	}
	number, err := index()
	if err != nil {
		return guard.Found{Missed: []guard.Missed{{Name: "the ssh session", Why: err.Error()}}}
	}
	r := guard.Request{Index: number, Sessions: sessions, SSHConnection: a.env.Getenv("SSH_CONNECTION"), Ends: a.opt.ends}
	err = a.env.AsCaller(func() error {
		found = a.env.Kernel.Connections(r)
		return nil
	})
	if err != nil {
		return guard.Found{Missed: []guard.Missed{{Name: "the ssh session", Why: err.Error()}}}
	}
	return found
}

// refuses is the error for rules that would cut off a connection. Rules that are only tried get a
// warning.
func (a *app) refuses(opt run.Options, connections []guard.Connection) error {
	harm := guard.Check(opt.Program, opt.Direction == run.Out, connections)
	switch {
	case harm == nil:
		return nil
	case reversible(opt):
		harm.Severity = syntax.Warning
		a.out.warn(harm)
		return nil
	}
	harm.Hint = lockoutHint(opt)
	return harm
}

// lockoutHint is what to do about rules that would cut a connection off.
func lockoutHint(opt run.Options) string {
	try := "--for 60s"
	if opt.Stay {
		try = "--revert-after 60s"
	}
	return "let these packets pass first; to try it: " + try + "; if it is meant: --allow-lockout"
}

// guardAgain is guard for rules that are read again while others run. It prints nothing.
func (a *app) guardAgain(program *rule.Program, opt run.Options, index func() (int, error)) error {
	found := a.connections(program, index)
	harm := guard.Check(program, opt.Direction == run.Out, found.Connections)
	if opt.Stay = true; harm == nil || reversible(opt) { // it is the rules before that would come back
		return nil
	}
	harm.Hint = lockoutHint(opt)
	return harm
}

// guardEnds refuses, on any machine, rules that would cut off what --protect names. An address that
// this machine does not have is that of the other end.
func (a *app) guardEnds(program *rule.Program) error {
	var connections []guard.Connection
	for _, e := range a.opt.ends {
		connections = append(connections, e.Connections(a.env.IsOwn(e.Addr))...)
	}
	if a.opt.lockout {
		return nil
	}
	target := run.Target{Direction: a.opt.dir}
	return a.refuses(run.Options{Target: target, Program: program, For: a.opt.lasts, RevertAfter: a.opt.back, Stay: true}, connections)
}

// reversible reports whether rules end by themselves soon, or those before come back. A run begins
// with rules that nothing takes back.
func reversible(opt run.Options) bool {
	return opt.For > 0 && opt.For <= longestTry || opt.RevertAfter > 0 && opt.Stay
}

// checkProtect reads --protect.
func (o *options) checkProtect() error {
	for _, text := range o.protect {
		e, wrong := parseEnd(text)
		if wrong != nil {
			return wrong
		}
		o.ends = append(o.ends, e)
	}
	return nil
}

// parseEnd reads ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT.
func parseEnd(text string) (guard.End, *syntax.Diagnostic) {
	address, port, hasPort := splitEnd(text)
	a, wrong := parseAddress(text, address)
	if wrong != nil || !hasPort {
		return guard.End{Addr: a}, wrong
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err == nil && n > 0 {
		return guard.End{Addr: a, Port: uint16(n)}, nil
	}
	at := syntax.Span{Start: len(text) - len(port), End: len(text)}
	if number, named := field.PortNames.Lookup(strings.ToLower(port)); named {
		return guard.End{}, notAnEnd(text, at, port+" is "+strconv.FormatUint(number, 10), "a port is a number, not "+port)
	}
	return guard.End{}, notAnEnd(text, at, "a port is a number from 1 to 65535; without one all packets of the address count", strconv.Quote(port)+" is no port")
}

// endHint shows how ends are written.
const endHint = "--protect 192.0.2.7:22 or --protect [2001:db8::7]:22"

// parseAddress reads the address of an end, without its zone: of whichever interface, it is that
// address.
func parseAddress(text, address string) (netip.Addr, *syntax.Diagnostic) {
	a, err := netip.ParseAddr(address)
	start := strings.Index(text, address)
	at, whole := syntax.Span{Start: start, End: start + len(address)}, syntax.Span{End: len(text)}
	_, behind, closed := strings.Cut(text, "]")
	bracket := strings.HasPrefix(text, "[")
	switch {
	case address == "":
		return a, notAnEnd(text, whole, endHint, "--protect takes an address, and a port if you like")
	case strings.Contains(text, "/"):
		return a, notAnEnd(text, whole, "give --protect again for each address", "--protect takes one address, not a prefix")
	case bracket && !closed:
		return a, notAnEnd(text, whole, endHint, "the bracket before the address is not closed")
	case bracket && behind != "" && behind[0] != ':':
		return a, notAnEnd(text, syntax.Span{Start: len(text) - len(behind), End: len(text)}, endHint, "a colon and a port stand behind the bracket, or nothing")
	case err != nil && strings.ContainsFunc(address, isNameLetter) && !strings.Contains(address, ":"):
		return a, notAnEnd(text, at, "names are never looked up; getent hosts "+address+" tells its address", address+" is a name, and --protect takes an address")
	case err != nil:
		return a, notAnEnd(text, at, endHint, address+" is no address")
	case a.IsUnspecified() || a.IsMulticast():
		return a, notAnEnd(text, at, "", address+" is not the address of one machine")
	}
	return a.WithZone("").Unmap(), nil
}

// notAnEnd is what is wrong with a place in the value of --protect.
func notAnEnd(text string, at syntax.Span, hint, msg string) *syntax.Diagnostic {
	const flag = "--protect "
	return &syntax.Diagnostic{Msg: msg, Hint: hint, Source: flag + text, At: syntax.Span{Start: len(flag) + at.Start, End: len(flag) + at.End}}
}

// isNameLetter reports whether a letter stands in names of machines and in no address of IPv4.
func isNameLetter(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' }

// splitEnd takes the port off an address.
func splitEnd(text string) (address, port string, hasPort bool) {
	if inner, bracket := strings.CutPrefix(text, "["); bracket {
		address, port, _ = strings.Cut(inner, "]")
		return address, strings.TrimPrefix(port, ":"), port != ""
	}
	if strings.Count(text, ":") == 1 {
		return strings.Cut(text, ":")
	}
	return text, "", false
}
