package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// A command that changes an interface ends with the status of what it did, also where
// stdout or stderr is a pipe that nobody reads.
func TestBrokenPipes(t *testing.T) {
	t.Parallel()
	needs.Kernel(t)
	exe, err := os.Executable()
	must(t, err)
	for _, broken := range []string{"stdout", "stderr", "both"} {
		t.Run(broken, func(t *testing.T) {
			t.Parallel()
			ns, err := lab.NewNamespace()
			must(t, err)
			defer ns.Close()
			run := func(breaks bool, args ...string) (status int, stdout, stderr string) {
				var out, errs bytes.Buffer
				cmd := testnet.Command(ns, exe, args...)
				cmd.Args[0], cmd.Stdout, cmd.Stderr = "repacket", &out, &errs
				if breaks {
					nobody, pipe, err := os.Pipe()
					must(t, err)
					must(t, nobody.Close())
					defer pipe.Close()
					if broken != "stderr" {
						cmd.Stdout = pipe
					}
					if broken != "stdout" {
						cmd.Stderr = pipe
					}
				}
				_ = cmd.Run()
				return cmd.ProcessState.ExitCode(), out.String(), errs.String() // -1: killed by a signal
			}
			for _, step := range []struct{ command, listed, told string }{
				{"attach -i lo if udp then ip_ttl 9", "ip_ttl 9", "the rules are attached, but"},
				{"replace -i lo if udp then ip_ttl 8", "ip_ttl 8", "the rules are attached, but"},
				{"detach -i lo", "", "the rules are detached, but"},
			} {
				for _, json := range []string{"", "--json"} {
					if json != "" && strings.HasPrefix(step.command, "attach") {
						_, _, _ = run(false, "detach", "-i", "lo")
					}
					if json != "" && strings.HasPrefix(step.command, "detach") {
						_, _, _ = run(false, "attach", "-i", "lo", "if", "udp")
					}
					status, _, stderr := run(true, strings.Fields(step.command+" "+json)...)
					if status != exitDone || broken == "stdout" && json != "" && !strings.Contains(stderr, step.told) {
						t.Errorf("%s %s: exit status %d, stderr %q", step.command, json, status, stderr)
					}
					_, stdout, _ := run(false, "list")
					if !strings.Contains(stdout, step.listed) || (step.listed == "") != (stdout == "") {
						t.Errorf("%s %s: list says %q", step.command, json, stdout)
					}
				}
			}
		})
	}
}
