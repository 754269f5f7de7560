package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/test/needs"
)

// TestDiskIsFull: rules go on where -w has no room any more; what works on capture files fails, and
// leaves no file.
func TestDiskIsFull(t *testing.T) {
	needs.Kernel(t)
	for _, at := range hooks {
		t.Run(at.name, func(t *testing.T) {
			b := newBed(t, at, seed(t))
			disk := t.TempDir()
			prepare := func(args ...string) *process {
				p := b.prepare([]string{diskVariable + "=" + disk}, args...)
				p.SysProcAttr.Unshareflags = unix.CLONE_NEWNS
				return p
			}
			p := prepare("-i", b.ifname, "--hook", at.word, "-w", filepath.Join(disk, "out.pcapng"), newRules).start()
			for deadline := time.Now().Add(patience); b.probe() != byNew; {
				if time.Now().After(deadline) {
					t.Fatal("the run does not begin")
				}
			}
			c, err := b.wire.burst(3000) // of more than 300 bytes each in the file
			b.must(err)
			b.count(c)
			if c.met[byNew] != 3000 {
				untouchedPackets.Add(int64(c.met[untouched]))
				t.Errorf("with the disk full packets meet %+v", c)
			}
			b.must(p.Process.Signal(unix.SIGINT))
			if status := p.status(); status != 1 || !strings.Contains(p.out.String(), "no space left on device") {
				t.Errorf("status %d: %s", status, p.out.String())
			}
			b.awaitNone()

			b.must(os.WriteFile(filepath.Join(b.folder, "in.pcap"), captureFile(20000), 0o600))
			p = prepare("-q", "-r", "in.pcap", "-w", filepath.Join(disk, "out.pcap"), newRules).start()
			if status := p.status(); status != 1 || !strings.Contains(p.out.String(), "no space left on device") || !strings.Contains(p.out.String(), "left on the disk: 0 <nil>") {
				t.Errorf("status %d: %s", status, p.out.String())
			}
			b.end()
		})
	}
	figures(t, "8 commands on a full disk")
}
