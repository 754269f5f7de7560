package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"repacket/internal/journal"
	"repacket/internal/run"
)

// fakeLog keeps lines.
type fakeLog struct{ lines []map[string]string }

func (l *fakeLog) Write(p journal.Priority, message string, fields ...journal.Field) {
	line := map[string]string{"MESSAGE": message, "PRIORITY": fmt.Sprint(int(p))}
	for _, f := range fields {
		if f.Value != "" {
			line[f.Name] = f.Value
		}
	}
	l.lines = append(l.lines, line)
}

// logged is an environment with a log, called by alice by sudo.
func logged(t *testing.T, args ...string) (*fake, *fakeLog) {
	f, log := newFake(t, args...), &fakeLog{}
	alice := 1000
	f.Origin = func() run.Origin { return run.Origin{SudoUID: &alice, LoginUID: &alice} }
	f.UserName = func(uid int) string { return map[int]string{0: "root", 1000: "alice"}[uid] }
	f.Log = func() Log { return log }
	return f, log
}

// wantLine expects one line with these fields, and no other fields than those and who it was.
func wantLine(t *testing.T, log *fakeLog, want map[string]string) {
	t.Helper()
	if len(log.lines) != 1 {
		t.Fatalf("logged %q, want one line", log.lines)
	}
	for name, value := range want {
		if log.lines[0][name] != value {
			t.Errorf("%s is %q, want %q", name, log.lines[0][name], value)
		}
	}
}

// TestLogOfCommands: each command that changes something writes a line, and each that is refused.
func TestLogOfCommands(t *testing.T) {
	const by = "; by root (0), by sudo of alice (1000)"
	for _, c := range []struct {
		name string
		args []string
		set  func(*fakeKernel)
		want map[string]string
	}{
		{"attach", []string{"attach", "-i", "eth1", "web: if udp_dest 443 then udp_dest 8080"}, nil, map[string]string{
			"REPACKET_EVENT": "attach", "INTERFACE": "eth1", "REPACKET_DIRECTION": "in", "REPACKET_HOOK": "xdp", "PRIORITY": "5",
			"REPACKET_RULES": "web: if udp_dest 443 then udp_dest 8080", "REPACKET_SUDO_UID": "1000", "REPACKET_LOGIN_UID": "1000",
			"REPACKET_COMMAND": "repacket attach -i eth1 'web: if udp_dest 443 then udp_dest 8080'",
			"MESSAGE":          "eth1: attached at xdp: web: if udp_dest 443 then udp_dest 8080" + by,
		}},
		{"refused by the kernel", []string{"attach", "-i", "eth1", "if udp then ip_ttl 9"}, func(k *fakeKernel) {
			k.err = &Failure{Status: exitTaken, Err: errors.New("eth1 is taken\nforged"), Hint: "wait"}
		}, map[string]string{"REPACKET_EVENT": "refuse", "INTERFACE": "eth1", "PRIORITY": "4", "REPACKET_STATUS": "5", "MESSAGE": "eth1: refused: eth1 is taken" + by}},
		{"wrong rules", []string{"-i", "eth1", "if udp_dest 70000"}, nil, map[string]string{"REPACKET_EVENT": "refuse", "REPACKET_STATUS": "2"}},
		{"detach", []string{"detach", "-i", "eth1", "-Q", "out"}, func(k *fakeKernel) {
			k.attached = []run.Attached{{Target: run.Target{Interface: "eth1", Direction: run.Out}}}
		}, map[string]string{
			"REPACKET_EVENT": "detach", "REPACKET_DIRECTION": "out", "MESSAGE": "eth1, packets that leave: detached" + by,
		}},
		{"confirm", []string{"confirm", "-i", "eth1"}, nil, map[string]string{"REPACKET_EVENT": "confirm", "MESSAGE": "eth1: confirmed" + by}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, log := logged(t, c.args...)
			if c.set != nil {
				c.set(f.kernel)
			}
			f.run()
			wantLine(t, log, c.want)
		})
	}
	for _, args := range [][]string{{"check", "if udp_dest 70000"}, {"list"}, {"fields", "nothing"}, {"detach", "-i", "eth1"}} {
		f, log := logged(t, args...)
		f.run()
		if len(log.lines) > 0 {
			t.Errorf("%q logs %q", args, log.lines)
		}
	}
}

// TestLogOfARun: its beginning and its end.
func TestLogOfARun(t *testing.T) {
	f, log := logged(t, rewriteWords...)
	close(f.kernel.done)
	f.run()
	if len(log.lines) != 2 || log.lines[0]["REPACKET_EVENT"] != "start" || log.lines[1]["REPACKET_EVENT"] != "end" {
		t.Fatalf("logged %q", log.lines)
	}
	if m := log.lines[1]["MESSAGE"]; !strings.Contains(m, "run ended (count)") || log.lines[1]["REPACKET_STATUS"] != "0" {
		t.Errorf("the end is %q", log.lines[1])
	}
}

// TestLogOfAReversion: the first command that sees that rules went back writes it down, as long as
// nobody has.
func TestLogOfAReversion(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	for _, first := range []bool{true, false} {
		f, log := logged(t, "list")
		f.kernel.attached = []run.Attached{{Target: run.Target{Interface: "eth1"}, Revert: &run.Revert{At: at, Over: true}}}
		f.kernel.told = !first
		f.run()
		if !first {
			if len(log.lines) > 0 {
				t.Errorf("logged again: %q", log.lines)
			}
			continue
		}
		wantLine(t, log, map[string]string{
			"REPACKET_EVENT": "revert", "PRIORITY": "4",
			"MESSAGE": "eth1: nobody confirmed the rules: since 2026-01-02 03:04:05 those before act again",
		})
	}
}
