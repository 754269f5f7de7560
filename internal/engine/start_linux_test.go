package engine

import (
	"testing"

	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
)

// TestStartAttachesNothingBefore: while ready is waited for, there is no program,
// not at the other end of a veth either.
func TestStartAttachesNothingBefore(t *testing.T) {
	ns := newNamespace(t)
	check(t, lab.Connect(ns, ns, lab.PairConfig{A: lab.End{Name: "v0"}, B: lab.End{Name: "v1"}}))
	check(t, ns.Do(func() error {
		s, err := Prepare(run.Options{Program: checked(t, "if udp then reflect"), Target: run.Target{Interface: "v0"}, Hook: run.XDP})
		if err != nil {
			return err
		}
		waited := false
		session, err := s.Start(func() {
			waited = true
			wantPrograms(t, "v0")
			wantPrograms(t, "v1")
		})
		if err != nil {
			return err
		}
		if !waited {
			t.Error("ready was not called")
		}
		wantPrograms(t, "v0", hook.ProgramName)
		wantPrograms(t, "v1", hook.PeerName)
		_, err = session.Close()
		return err
	}))
}
