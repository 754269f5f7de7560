package cli

import (
	"testing"
	"time"

	"repacket/internal/run"
)

// TestParentOf reads what proc_pid_status(5) says a status looks like.
func TestParentOf(t *testing.T) {
	uid, parent, ok := parentOf("Name:\tsudo\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t71\nPid:\t71\nPPid:\t70\nTracerPid:\t0\nUid:\t1000\t0\t0\t0\nGid:\t1000\t0\t0\t0\n")
	if uid != 0 || parent != 70 || !ok {
		t.Errorf("user %d, parent %d, %v", uid, parent, ok)
	}
	for _, none := range []string{"", "Name:\tsudo\nUid:\t0\t0\t0\t0\n", "PPid:\t0\nUid:\t0\t0\t0\t0\n", "PPid:\t7\nUid:\tx\n"} {
		if uid, parent, ok := parentOf(none); ok {
			t.Errorf("%q: user %d, parent %d", none, uid, parent)
		}
	}
}

// TestOrigins: who it was in words, and what is listed of rules of versions that did not keep it.
func TestOrigins(t *testing.T) {
	one, two := 1000, 1001
	for want, o := range map[string]run.Origin{
		"user 7":                              {UID: 7},
		"root (0), by sudo of alice (1000)":   {User: "root", SudoUID: &one, SudoUser: "alice", LoginUID: &one, LoginUser: "alice"},
		"root (0), logged in as alice (1000)": {User: "root", LoginUID: &one, LoginUser: "alice"},
		"root (0), by sudo of alice (1000), logged in as user 1001": {User: "root", SudoUID: &one, SudoUser: "alice", LoginUID: &two},
	} {
		if got := who(&o); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f := newFake(t, "list", "-v")
	loaded := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	f.kernel.attached = []run.Attached{{
		Target: run.Target{Interface: "eth1"}, Hook: run.TC, Program: &run.Program{ID: 42, Loaded: loaded, UID: 0},
		Counts: run.Counts{Rules: []run.RuleCount{{RuleText: run.RuleText{Text: "if udp"}}}},
	}}
	status, stdout, _ := f.run()
	const want = `INTERFACE  DIRECTION  HOOK  UNTIL   PKTS  BYTES  RULES
eth1       in         tc    detach     0      0  if udp
                                                 attached: by whom was not kept
                                                 in the kernel: program 42, loaded 2026-03-04 05:06:07 by user 0
`
	if status != 0 || stdout != want {
		t.Errorf("status %d, got\n%s", status, stdout)
	}
}
