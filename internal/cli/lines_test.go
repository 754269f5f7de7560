package cli

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"repacket/internal/rule"
	"repacket/internal/syntax"
)

// leastHome is how many of 100 lines lead home at least.
const leastHome = 90

// TestLinesLeadHome types the lines of testdata/lines.txt, in the words of other tools, mistyped
// or as people speak. At least 90 of 100 are accepted with the meaning that stands beside them, or
// have a hint that leads in one step to a line that is accepted and has it.
func TestLinesLeadHome(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/lines.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, home := 0, 0
	for text := range strings.Lines(string(data)) {
		typed, want, ok := cutLast(strings.TrimSpace(text), " => ")
		if !ok || strings.HasPrefix(text, "#") {
			continue
		}
		all++
		got := leadsTo(t, typed)
		if slices.ContainsFunc(got, func(line string) bool { return sameLine(line, want) }) {
			home++
		} else {
			t.Logf("lost: %s leads to %q, meant is %s", typed, got, want)
		}
		for _, line := range strings.Split(want, " & ") {
			if !acceptedLine(t, line) {
				t.Errorf("%s is not accepted: the table is wrong", line)
			}
		}
	}
	if all < 150 {
		t.Errorf("%d lines are too few", all)
	}
	if 100*home < leastHome*all {
		t.Errorf("%d of %d lines lead home, less than %d of 100", home, all, leastHome)
	}
	t.Logf("figure: %d of %d foreign or mistyped lines lead home in one step", home, all)
}

// shellWords splits a line as a shell does that knows quotes alone.
func shellWords(line string) (words []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// checking is a line that says what it would do, and does nothing.
func checking(words []string) []string {
	switch words[0] {
	case "doctor", "list", "detach":
		return words
	case "attach":
		words = words[1:]
	}
	return append([]string{"check"}, words...)
}

// attempt carries out a line on a machine that is not there.
func attempt(t *testing.T, words []string) error {
	return newApp(newFake(t, checking(words)...).Env).execute()
}

func acceptedLine(t *testing.T, line string) bool {
	err := attempt(t, shellWords(strings.Replace(line, "IFACE", "eth1", 1)))
	return err == nil
}

// leadsTo are the lines that one obedient step leads to from what is typed.
func leadsTo(t *testing.T, typed string) (lines []string) {
	err := attempt(t, shellWords(typed))
	var failure *Failure
	var wrong *syntax.Diagnostic
	switch {
	case err == nil:
		return []string{typed}
	case errors.As(err, &wrong):
		for _, fixed := range wrong.Fixed {
			if acceptedLine(t, fixed) {
				lines = append(lines, fixed)
			}
		}
	case errors.As(err, &failure):
		var commands []string
		for _, fixed := range failure.Fixed {
			fixed = strings.NewReplacer("repacket check ", "", "repacket ", "", "'", "").Replace(fixed)
			if !acceptedLine(t, fixed) {
				return nil
			}
			commands = append(commands, fixed)
		}
		lines = []string{strings.Join(commands, " & ")}
		if strings.HasPrefix(typed, "attach ") {
			lines[0] = "attach " + strings.TrimPrefix(lines[0], "attach ")
		}
	}
	return lines
}

// sameLine reports whether two lines have the same flags and rules of the same meaning.
func sameLine(got, want string) bool {
	as, bs := strings.Split(got, " & "), strings.Split(want, " & ")
	if len(as) != len(bs) {
		return false
	}
	for i := range as {
		if meaning(as[i]) != meaning(bs[i]) {
			return false
		}
	}
	return true
}

// meaning is a line with its rules as they are printed.
func meaning(line string) string {
	flags, rules, _ := strings.Cut(" "+line, " if ")
	p, err := rule.Check(strings.ReplaceAll("if "+rules, `"`, ""))
	if err != nil {
		return line
	}
	for _, r := range p.Rules {
		flags += " else " + r.Print()
	}
	return strings.TrimSpace(flags)
}

func cutLast(text, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

// TestWishesNameTheTool: what Repacket does not do is answered with the tool or the flag that
// does, with no rule that does something else.
func TestWishesNameTheTool(t *testing.T) {
	t.Parallel()
	for typed, tool := range map[string]string{
		"if udp then log":                  "tcpdump",
		"if udp then mirror eth1":          "tc",
		"mirror eth1 if udp":               "tc",
		"if udp then mark 5":               "nft",
		"if fwmark 5":                      "nft",
		"if udp then delay 100ms":          "netem",
		"delay 100ms":                      "netem",
		"if udp then rate 1mbit":           "tc",
		"if udp limit 10/second then drop": "tc",
		"if ct state established":          "nft",
		"if state new then drop":           "nft",
		"if udp then masquerade":           "nft",
		"if uid 1000":                      "nft",
		"if payload GET":                   "iptables",
		"if udp then push vlan 5":          "tc",
		"if udp then count":                "repacket list",
		"iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE":                         "nft",
		"iptables -A INPUT -j LOG":                                                     "tcpdump",
		"iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT":               "nft",
		"iptables -A INPUT -m limit --limit 10/s -j ACCEPT":                            "tc",
		"nft add rule inet filter input tcp dport 22 log":                              "tcpdump",
		"tc qdisc add dev eth1 root netem delay 100ms":                                 "netem",
		"tc filter add dev eth1 ingress matchall action mirred egress mirror dev eth2": "mirred",
		"tcprewrite --enet-vlan=add -i a.pcap -o b.pcap":                               "tc",
	} {
		err := attempt(t, shellWords(typed))
		var failure *Failure
		var wrong *syntax.Diagnostic
		hint, fixed := "", []string(nil)
		switch {
		case errors.As(err, &failure):
			hint, fixed = failure.Hint, failure.Fixed
		case errors.As(err, &wrong):
			hint, fixed = wrong.Hint, wrong.Fixed
		}
		if !strings.Contains(hint, tool) || len(fixed) > 0 {
			t.Errorf("%s: hint %q, %q", typed, hint, fixed)
		}
	}
}

// TestFirstWrongWordIsBlamed: the caret stands below the word that is wrong, not below a good
// value behind it.
func TestFirstWrongWordIsBlamed(t *testing.T) {
	t.Parallel()
	for typed, word := range map[string]string{
		"if tcp_syn on then tcp_mss clamp 1360": "clamp", "if all then ttl dec 1": "dec", "if ip_ttl less than 5": "less",
		"if udp_dest prot 443": "prot", "if udp_dest port 443": "port", "if udp then ip_ttl toto 64": "toto", "if src host 10.0.0.1": "src",
		"if udp dst port 443 then udp dst port 8080": "port", "if host 10.0.0.1": "host",
	} {
		var wrong *syntax.Diagnostic
		if _, err := rule.Check(typed); !errors.As(err, &wrong) {
			t.Fatalf("%s: %v", typed, err)
		}
		if got := wrong.Source[wrong.At.Start:wrong.At.End]; got != word {
			t.Errorf("%s: %q is blamed, not %q", typed, got, word)
		}
	}
}

// TestCheckTellsOneWay: check, and no run, says that TCP needs a way back.
func TestCheckTellsOneWay(t *testing.T) {
	t.Parallel()
	_, _, stderr := newFake(t, "check", "if", "tcp_dest", "443", "then", "tcp_dest", "8443").run()
	wantText(t, "stderr", stderr, `repacket: warning: TCP connections do not survive this: their packets of the other direction keep tcp_src
    if tcp_dest 443 then tcp_dest 8443
                         ^~~~~~~~~~~~~
  hint: the other direction gets the old value back: if tcp_dest 443 then tcp_dest 8443 replies
`)
	_, _, stderr = newFake(t, "check", "if", "udp_dest", "443", "then", "udp_dest", "8443").run()
	wantText(t, "stderr", stderr, "")
}

// TestFlagsAreAnswered: flags that mean nothing where they stand get an answer that fits.
func TestFlagsAreAnswered(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"--output f if udp":                              "repacket: error: --output means nothing to a run\n  hint: --output is for repacket compile\n",
		"--dry-run if udp then ttl 5":                    "repacket: error: there is no --dry-run: rules without then are one\n  hint: repacket if udp\n",
		"-n if udp":                                      "repacket: error: names are never looked up: leave out -n\n",
		"rules.txt":                                      "repacket: error: rules.txt is no rule\n  hint: repacket -f rules.txt\n",
		"check -i eth1 rules.txt":                        "repacket: error: rules.txt is no rule\n  hint: repacket check -i eth1 -f rules.txt\n",
		"if udp -i eth1 if tcp":                          "repacket: error: -i eth1 stands between two rules: it is for the whole line\n  hint: give it before the first rule\n",
		"-i eth1,eth2 if udp then drop":                  "repacket: error: rules are attached to one interface at a time\n  hint: repacket -i eth1 if udp then drop & repacket -i eth2 if udp then drop\n",
		"-p udp --dport 443 -j REDIRECT --to-ports 8080": "repacket: error: this is a line of iptables\n  hint: repacket if udp_dest 443 then udp_dest 8080 replies\n",
	} {
		status, stdout, stderr := newFake(t, strings.Fields(typed)...).run()
		wantText(t, typed+": stderr", stderr, want)
		if status != exitUsage || stdout != "" {
			t.Errorf("%s: exit status %d, stdout %q", typed, status, stdout)
		}
	}
}

// TestObjectIsLoaded: compile says how an object that it has written is attached.
func TestObjectIsLoaded(t *testing.T) {
	t.Chdir(t.TempDir())
	for hook, want := range map[string]string{
		"auto": "to attach it: ip link set dev IFACE xdp obj r.o sec xdp\n",
		"tc":   "to attach it: tc qdisc add dev IFACE clsact; tc filter add dev IFACE ingress bpf direct-action obj r.o sec tc\n",
	} {
		status, _, stderr := newFake(t, "compile", "--emit", "object", "--hook", hook, "-o", "r.o", "if", "udp", "then", "ip_ttl", "5").run()
		wantText(t, "stderr", stderr, want)
		if status != exitDone {
			t.Errorf("exit status %d", status)
		}
	}
}
