package lockout

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"repacket/internal/cli"
	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// commandWord makes the test binary the command.
const commandWord = "repacket"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == commandWord {
		env := cli.System()
		env.Args = os.Args[2:]
		os.Exit(cli.Run(env))
	}
	needs.KernelMain()
	os.Exit(m.Run())
}

// server is a machine with a server of ssh, whose interface is right, and a client behind its
// interface left.
type server struct {
	t      *testing.T
	pair   *lab.Pair
	folder string // of keys and files
	self   string // the command
}

// sshdPath is where Debian has the server, which need not be in the PATH.
const sshdPath = "/usr/sbin/sshd"

// newServer starts a server that lets root in by a key of its own.
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, folder: t.TempDir()}
	var err error
	if s.self, err = os.Executable(); err == nil {
		s.pair, err = lab.NewPair(lab.PairConfig{})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.pair.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, key := range []string{"host", "client"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.file(key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where it locks a process of its own in
		t.Fatal(err)
	}
	config := fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nPermitRootLogin yes\nUsePAM %s\nPidFile none\nPrintMotd no\n",
		s.file("host"), s.file("client.pub"), usePAM())
	if err := os.WriteFile(s.file("config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	daemon := testnet.Command(s.pair.B, sshdPath, "-D", "-e", "-f", s.file("config"))
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	s.await()
	return s
}

func (s *server) file(name string) string { return filepath.Join(s.folder, name) }

// usePAM is yes where root has no password and is locked: without PAM the server lets nobody of
// these in, with a key or not.
func usePAM() string {
	shadow, err := os.ReadFile("/etc/shadow")
	if err == nil && strings.HasPrefix(string(shadow), "root:!") {
		return "yes"
	}
	return "no"
}

// await waits until the server answers.
func (s *server) await() {
	s.t.Helper()
	to := net.JoinHostPort(s.pair.Config.B.Addr.Addr().String(), "22")
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := s.pair.A.Do(func() error {
			c, err := net.DialTimeout("tcp", to, time.Second)
			if err == nil {
				err = c.Close()
			}
			return err
		})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server of ssh does not answer: %v", err)
		}
	}
}

// run runs a script of the shell in a session and gives what it prints.
func (s *server) run(script string) string {
	s.t.Helper()
	client := testnet.Command(s.pair.A, "ssh", "-i", s.file("client"), "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@"+s.pair.Config.B.Addr.Addr().String(), "exec sh -s")
	client.Stdin = strings.NewReader(script)
	out, err := client.CombinedOutput()
	if err != nil {
		s.t.Fatalf("ssh: %v: %s", err, out)
	}
	return string(out)
}
