package lockout

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// attempt is a line that a session runs, and what comes of it.
type attempt struct {
	prefix string // what starts the command
	line   string
	status int
	want   string // in what is said; "" is that the session is not spoken of
}

// TestSessionIsGuarded: from within a session of ssh no rules are attached that cut it off.
func TestSessionIsGuarded(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const drops = "rule 1 would drop the ssh session: tcp 192.0.2.1."
	// As sudo does, which leaves SSH_CONNECTION out.
	sudo := "env -i"
	if _, err := exec.LookPath("sudo"); err == nil {
		sudo = "sudo -n"
	}
	attempts := []attempt{
		// The classic mistakes.
		{sudo, "attach -i right 'if all then drop'", 2, drops},
		{sudo, "attach -i right 'if tcp_dest 80,443 or arp then pass else drop'", 2, "rule 2 would drop the ssh session: tcp 192.0.2.1."},
		{sudo, "attach -i right 'if tcp_dest 22 then tcp_dest 2222'", 2, "rule 1 would change tcp_dest of the ssh session"},
		{sudo, "attach -i right 'if ip_src 192.0.2.0/24 then ip_src 10.0.0.0/24'", 2, "rule 1 would change ip_src of the ssh session"},
		{sudo, "attach -i right -Q out 'if ip then ip_ttl 1'", 2, "rule 1 would change ip_ttl of the ssh session: tcp 192.0.2.2.22 > 192.0.2.1."},
		{sudo, "attach -i right -Q out 'if eth_type ipv4 then eth_type 0x8100'", 2, "rule 1 would change eth_type of the ssh session"},

		// Every hook, and every way to attach.
		{sudo, "attach -i right --hook xdp-generic 'if tcp then drop'", 2, drops},
		{sudo, "attach -i right --hook tc 'if tcp then drop'", 2, drops},
		{sudo, "attach -i right -Q out 'if tcp then drop'", 2, "rule 1 would drop the ssh session: tcp 192.0.2.2.22 > 192.0.2.1."},
		{sudo, "-i right 'if tcp then drop'", 2, drops},
		{"", "replace -i right 'if arp then drop'", 2, "rule 1 would drop ARP of the ssh session: arp 192.0.2.1 > 192.0.2.2"},
		{"", "list", 0, "nothing of Repacket is attached"},

		// Honest rules, and what is meant.
		{sudo, "attach -i right 'if tcp_dest 22 or arp then pass else drop'", 0, ""},
		{sudo, "replace -i right 'if udp_dest 443 then udp_dest 8080'", 0, ""},
		{sudo, "replace -i right 'if tcp then drop'", 2, drops},
		{sudo, "replace -i right --allow-lockout 'if tcp_dest 22 tcp_syn off tcp_urg on then drop'", 0, ""},
		{sudo, "replace -i right --for 10m 'if tcp_dest 22 tcp_urg on then drop'", 0, "warning: " + drops},
		{sudo, "detach -i right", 0, ""},

		// Where nothing can be checked, that is said.
		{sudo, "attach -i lo 'if tcp then drop'", 0, "nothing was checked for the ssh session from 192.0.2.1: it uses right, not lo"},
		{sudo, "detach -i lo", 0, ""},
		{sudo + " unshare -n", "attach -i lo 'if all then drop'", 0, "nothing was checked for the ssh session from 192.0.2.1: its socket is in another network namespace"},
	}
	var script strings.Builder
	for _, a := range attempts {
		fmt.Fprintf(&script, "%s %s %s %s 2>&1; echo \"status $?\"; echo ---\n", a.prefix, s.self, commandWord, a.line)
	}
	answers := strings.Split(s.run(script.String()), "---\n")
	if len(answers) != len(attempts)+1 {
		t.Fatalf("%d answers to %d lines: %q", len(answers)-1, len(attempts), answers)
	}
	for i, a := range attempts {
		spoken := strings.Contains(answers[i], "ssh session")
		if !strings.HasSuffix(answers[i], fmt.Sprintf("status %d\n", a.status)) || !strings.Contains(answers[i], a.want) || a.want == "" && spoken {
			t.Errorf("%s: want status %d and %q, got\n%s", a.line, a.status, a.want, answers[i])
		}
	}
}

// TestSessionBehindScreen: the server of screen is no descendant of the session that it is used in.
func TestSessionBehindScreen(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	out := s.run(fmt.Sprintf(`
cp "$(readlink -f /bin/sh)" %[1]s/screen
mkfifo %[1]s/out
setsid -f %[1]s/screen -c '{ env -i %[2]s %[3]s attach -i right if all then drop; echo "status $?"; } >%[1]s/out 2>&1' </dev/null >/dev/null 2>&1
cat %[1]s/out
`, s.folder, s.self, commandWord))
	if !strings.Contains(out, "rule 1 would drop the ssh session: tcp 192.0.2.1.") || !strings.HasSuffix(out, "status 2\n") {
		t.Errorf("behind screen: %s", out)
	}
}

// TestSessionComesBack: rules that cut the session off go back by themselves, with the command at
// its end, and the session goes on.
func TestSessionComesBack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	out := s.run(fmt.Sprintf("%s %s attach -i right --revert-after 1s 'if tcp_dest 22 then drop' 2>&1; echo \"status $?\"; echo more\n", s.self, commandWord))
	if !strings.Contains(out, "warning: rule 1 would drop the ssh session: tcp 192.0.2.1.") || !strings.HasSuffix(out, "status 0\nmore\n") {
		t.Errorf("attach: %s", out)
	}
	// A new session begins with a packet from the other side, which is dropped until then.
	out = s.run(fmt.Sprintf("%[1]s %[2]s list 2>&1; %[1]s %[2]s detach -i right 2>&1\n", s.self, commandWord))
	cut := regexp.MustCompile(`\s[1-9]\d*\s+\d+\s+not confirmed: if tcp_dest 22 then drop\n`)
	if !strings.Contains(out, "went back at") || !cut.MatchString(out) || !strings.HasSuffix(out, "right: detached\n") {
		t.Errorf("list: %s", out)
	}
}
