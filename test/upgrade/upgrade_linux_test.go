package upgrade

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// older is the commit whose command attaches: the last before there were packages.
const older = "3ea192a"

// command runs a program and gives what it writes to stdout.
func command(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out
}

// build builds the command from a tree of sources.
func build(t *testing.T, tree string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "repacket")
	command(t, tree, "go", "build", "-buildvcs=false", "-o", binary, "./cmd/repacket")
	return binary
}

// olderTree is the tree of the older commit. A clone without history has to get it first.
func olderTree(t *testing.T) string {
	t.Helper()
	trusted := []string{"-c", "safe.directory=*"} // the tests are root's, the clone need not be
	if err := exec.Command("git", append(trusted, "cat-file", "-e", older+"^{tree}")...).Run(); err != nil {
		t.Fatalf("the clone has no commit %s, whose command this test builds: git fetch --unshallow", older)
	}
	tree := t.TempDir()
	archive := filepath.Join(tree, "tree.tar")
	command(t, "../..", "git", append(trusted, "archive", "-o", archive, older)...)
	command(t, tree, "tar", "-xf", archive)
	return tree
}

// TestOlderRules: rules that an older version has attached, in both directions by replies or in
// one, are listed, replaced and detached.
func TestOlderRules(t *testing.T) {
	needs.Kernel(t)
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	before, now := build(t, olderTree(t)), build(t, root)
	for _, rules := range []string{
		"if udp_dest 443 then udp_dest 8080",
		"if tcp_dest 443 then tcp_dest 8080 replies",
		"if udp_dest 20000-50000 then udp_dest 443 replies tracked",
	} {
		for _, hook := range []string{"tc", "xdp", "xdp-generic"} {
			t.Run(hook+" "+rules, func(t *testing.T) {
				m := newMachine(t)
				m.run(before, append([]string{"attach", "-i", "eth1", "--hook", hook}, strings.Fields(rules)...)...)
				m.wants(now, rules)
				const other = "if udp_dest 53 then udp_dest 5353"
				m.run(now, append([]string{"replace", "-i", "eth1"}, strings.Fields(other)...)...)
				m.wants(now, other)
				m.run(now, "detach", "-i", "eth1")
				m.wants(now)
				m.run(before, append([]string{"attach", "-i", "eth1", "--hook", hook}, strings.Fields(rules)...)...)
				m.run(now, "detach", "-i", "eth1")
				m.wants(now)
				m.wants(before)
			})
		}
	}
}

// machine is a network namespace with an interface eth1.
type machine struct {
	t  *testing.T
	ns *lab.Namespace
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	err = ns.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "peer1"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return &machine{t, ns}
}

// run runs a version of the command, which succeeds.
func (m *machine) run(binary string, args ...string) string {
	m.t.Helper()
	cmd := testnet.Command(m.ns, binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, os.Environ()
	if err := cmd.Run(); err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// wants a version of the command to list these rules and no others.
func (m *machine) wants(binary string, rules ...string) {
	m.t.Helper()
	var got []string
	for line := range strings.Lines(m.run(binary, "list", "--json")) {
		var listed struct {
			Interface string
			Rules     []struct{ Text string }
		}
		if err := json.Unmarshal([]byte(line), &listed); err != nil {
			m.t.Fatal(err)
		}
		for _, r := range listed.Rules {
			got = append(got, listed.Interface+": "+r.Text)
		}
	}
	var want []string
	for _, r := range rules {
		want = append(want, "eth1: "+r)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		m.t.Errorf("listed are %q, and not %q", got, want)
	}
}
