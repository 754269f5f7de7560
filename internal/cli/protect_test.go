package cli

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"repacket/internal/field"
	"repacket/internal/guard"
)

// bySSH is what is found of a session from 192.0.2.7.
func bySSH() guard.Found {
	return guard.Found{Connections: []guard.Connection{{
		Name: "the ssh session", Protocol: field.TCP, Established: true,
		Here: netip.MustParseAddrPort("192.0.2.1:22"), There: netip.MustParseAddrPort("192.0.2.7:51234"),
		Link: guard.Link{Ethernet: true, Tags: [][]uint16{{}}, NextHop: netip.MustParseAddr("192.0.2.7")},
	}}}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	const dropsIt = "rule 1 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"
	elsewhere := guard.Found{Missed: []guard.Missed{{Name: "the ssh session from 192.0.2.7", Why: "it uses eth0, not eth1"}}}
	tests := map[string]struct {
		args   string
		found  guard.Found
		status int
		stderr string // a part of it
		sought bool
	}{
		"a run":                  {"-i eth1 if tcp then drop", bySSH(), exitUsage, "repacket: error: " + dropsIt + "\n    if tcp then drop\n    ^~~~~~~~~~~~~~~~\n  hint: let these packets pass first; to try it: --for 60s; if it is meant: --allow-lockout\n", true},
		"attach":                 {"attach -i eth1 if tcp then drop", bySSH(), exitUsage, dropsIt, true},
		"how to try it":          {"attach -i eth1 if tcp then drop", bySSH(), exitUsage, "to try it: --revert-after 60s;", true},
		"what goes back":         {"attach -i eth1 --revert-after 1h if tcp then drop", bySSH(), exitDone, "repacket: warning: " + dropsIt, true},
		"replace":                {"replace -i eth1 if tcp then drop", bySSH(), exitUsage, dropsIt, true},
		"packets that leave":     {"attach -i eth1 -Q out if ip_src 192.0.2.1 then ip_ttl 1", bySSH(), exitUsage, "rule 1 would change ip_ttl of the ssh session: tcp 192.0.2.1.22 > 192.0.2.7.51234", true},
		"replies":                {"attach -i eth1 if tcp_dest 80 then tcp_dest 22 replies", bySSH(), exitUsage, "replies to rule 1 would change tcp_src of the ssh session", true},
		"tried":                  {"attach -i eth1 --for 10m if tcp then drop", bySSH(), exitDone, "repacket: warning: " + dropsIt, true},
		"tried for too long":     {"attach -i eth1 --for 601s if tcp then drop", bySSH(), exitUsage, dropsIt, true},
		"meant":                  {"attach -i eth1 --allow-lockout if tcp then drop", bySSH(), exitDone, "attached until", false},
		"an honest rule":         {"attach -i eth1 if udp_dest 443 then udp_dest 8080", bySSH(), exitDone, "attached until", true},
		"rules that harm nobody": {"attach -i eth1 if tcp then ip_dscp ef ip_ttl 64", bySSH(), exitDone, "attached until", false},
		"a dry run":              {"attach -i eth1 if tcp", bySSH(), exitDone, "attached until", false},
		"elsewhere":              {"attach -i eth1 if tcp then drop", elsewhere, exitDone, "repacket: note: nothing was checked for the ssh session from 192.0.2.7: it uses eth0, not eth1\n", true},
		"no session":             {"attach -i eth1 if tcp then drop", guard.Found{}, exitDone, "attached until", true},
		"an end":                 {"attach -i eth1 --protect 192.0.2.9 if udp", guard.Found{}, exitDone, "attached until", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, strings.Fields(test.args)...)
			f.kernel.found = test.found
			f.vars["SSH_CONNECTION"] = "192.0.2.7 51234 192.0.2.1 22"
			status, stdout, stderr := f.run()
			if status != test.status || stdout != "" || !strings.Contains(stderr, test.stderr) {
				t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
			}
			if attached := len(f.kernel.jobs) == 1; attached != (status == exitDone) {
				t.Errorf("status %d, attached %v", status, attached)
			}
			if sought := len(f.kernel.sought) == 1; sought != test.sought {
				t.Errorf("looked for connections: %v", sought)
			}
			if test.sought && (f.kernel.sought[0].Index != 1 || f.kernel.sought[0].SSHConnection != f.vars["SSH_CONNECTION"]) {
				t.Errorf("looked for %+v", f.kernel.sought[0])
			}
		})
	}
}

// TestGuardJSON: the refusal is an error event as others, with its place.
func TestGuardJSON(t *testing.T) {
	t.Parallel()
	f := newFake(t, "attach", "--json", "-i", "eth1", "if", "udp", "else", "if", "all", "then", "drop")
	f.kernel.found = bySSH()
	status, stdout, stderr := f.run()
	const want = `"event":"error","time":"2023-11-14T22:13:20Z","status":2,"message":"rule 2 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22",`
	if status != exitUsage || !strings.Contains(stdout, want) || !strings.Contains(stdout, `"start":12,"end":28}`) || stderr != "" {
		t.Errorf("status %d, stdout %s, stderr %q", status, stdout, stderr)
	}
}

// TestGuardOfReload: rules that are read again are held against connections too; those before go on.
func TestGuardOfReload(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rules")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("if udp then drop")
	f := newFake(t, "-i", "eth1", "-f", file)
	f.kernel.found = bySSH()
	f.start()
	f.await(&f.stderr, "eth1: native XDP")
	write("if tcp then drop")
	f.send(syscall.SIGHUP)
	f.await(&f.stderr, "eth1: the rules before go on")
	if got := f.stderr.String(); !strings.Contains(got, ":1:1: rule 1 would drop the ssh session") || len(f.kernel.swapped) > 0 {
		t.Errorf("stderr %q, swapped %q", got, f.kernel.swapped)
	}
	f.send(syscall.SIGTERM)
	if status := f.wait(); status != exitDone {
		t.Errorf("status %d", status)
	}
}

// TestProtectValues: what is no address, or no port, is told so, with a caret.
func TestProtectValues(t *testing.T) {
	t.Parallel()
	good := map[string]guard.End{
		"192.0.2.7":             {Addr: netip.MustParseAddr("192.0.2.7")},
		"192.0.2.7:22":          {Addr: netip.MustParseAddr("192.0.2.7"), Port: 22},
		"2001:db8::7":           {Addr: netip.MustParseAddr("2001:db8::7")},
		"[2001:db8::7]":         {Addr: netip.MustParseAddr("2001:db8::7")},
		"[2001:db8::7]:65535":   {Addr: netip.MustParseAddr("2001:db8::7"), Port: 65535},
		"fe80::7%eth0":          {Addr: netip.MustParseAddr("fe80::7")},
		"[::ffff:192.0.2.7]:22": {Addr: netip.MustParseAddr("192.0.2.7"), Port: 22},
	}
	for text, want := range good {
		if got, wrong := parseEnd(text); wrong != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, wrong)
		}
	}
	bad := map[string]struct{ msg, marked string }{
		"host.example.org":   {"host.example.org is a name, and --protect takes an address", "host.example.org"},
		"host:22":            {"host is a name, and --protect takes an address", "host"},
		"192.0.2.7:0":        {`"0" is no port`, "0"},
		"192.0.2.7:65536":    {`"65536" is no port`, "65536"},
		"192.0.2.7:":         {`"" is no port`, ""},
		"192.0.2.7:http":     {"a port is a number, not http", "http"},
		"192.0.2.7:x":        {`"x" is no port`, "x"},
		"[2001:db8::7]22":    {"a colon and a port stand behind the bracket, or nothing", "22"},
		"[2001:db8::7":       {"the bracket before the address is not closed", "[2001:db8::7"},
		"192.0.2.300":        {"192.0.2.300 is no address", "192.0.2.300"},
		"2001:db8::g":        {"2001:db8::g is no address", "2001:db8::g"},
		"192.0.2.0/24":       {"--protect takes one address, not a prefix", "192.0.2.0/24"},
		":22":                {"--protect takes an address, and a port if you like", ":22"},
		"0.0.0.0:22":         {"0.0.0.0 is not the address of one machine", "0.0.0.0"},
		"[ff02::1]:22":       {"ff02::1 is not the address of one machine", "ff02::1"},
		"192.0.2.7:22:extra": {"192.0.2.7:22:extra is no address", "192.0.2.7:22:extra"},
	}
	for text, want := range bad {
		_, wrong := parseEnd(text)
		if wrong == nil {
			t.Errorf("%s is taken", text)
			continue
		}
		marked := wrong.Source[wrong.At.Start:wrong.At.End]
		if wrong.Msg != want.msg || marked != want.marked {
			t.Errorf("%s: %q at %q, want %q at %q", text, wrong.Msg, marked, want.msg, want.marked)
		}
	}
}

// TestProtectWithFile: packets of a capture file are of no connection that could be cut off.
func TestProtectWithFile(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--protect=192.0.2.7", "--allow-lockout"} {
		f := newFake(t, "-r", "in.pcap", flag, "if", "udp", "then", "drop")
		if status, _, stderr := f.run(); status != exitUsage || !strings.Contains(stderr, "is for live packets, and -r reads them from a file") {
			t.Errorf("%s: status %d, stderr %q", flag, status, stderr)
		}
	}
}
