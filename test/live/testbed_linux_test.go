package live

import (
	"bytes"
	"os"
	"testing"
	"time"

	"repacket/internal/engine"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// before are the sites whose work a raw socket at the right end sees.
var before = []site{native, generic, tcEgress}

// testbed is a veth pair: frames go in at left, rules sit at right, those of
// egress at left.
type testbed struct {
	t     *testing.T
	pair  *lab.Pair
	left  *testnet.Port
	right *testnet.Port
}

// newTestbed makes a pair without checksum offload: raw frames carry the sums
// that they were built with, and so must what arrives.
func newTestbed(t *testing.T) *testbed {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("live tests need root: sudo make test")
	}
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	b := &testbed{t: t, pair: pair}
	t.Cleanup(func() { check(t, pair.Close()) })
	b.left = b.open(pair.A, pair.Config.A)
	b.right = b.open(pair.B, pair.Config.B)
	return b
}

func (b *testbed) open(ns *lab.Namespace, end lab.End) *testnet.Port {
	b.t.Helper()
	p, err := testnet.OpenPort(ns, end.Name, leftMAC)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { check(b.t, p.Close()) })
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// end is where rules for a direction sit.
func (b *testbed) end(dir run.Direction) (*lab.Namespace, string) {
	if dir == run.Out {
		return b.pair.A, b.pair.Config.A.Name
	}
	return b.pair.B, b.pair.Config.B.Name
}

// stop detaches, and says what the first rule has counted.
func (b *testbed) stop(session *engine.Session) run.Count {
	b.t.Helper()
	counts, err := session.Close()
	if err != nil {
		b.t.Fatal(err)
	}
	return counts.Rules[0].Count
}

// cross sends a frame and returns what arrives of it.
func (b *testbed) cross(frame []byte) []byte {
	b.t.Helper()
	if err := b.left.Send(frame); err != nil {
		b.t.Fatal(err)
	}
	got, err := b.right.Receive(time.Now().Add(5 * time.Second))
	if err != nil {
		b.t.Fatalf("sent %x: %v", frame, err)
	}
	return got
}

// expect sends a frame and wants another one to arrive.
func (b *testbed) expect(what string, sent, want []byte) {
	b.t.Helper()
	if got := b.cross(sent); !bytes.Equal(got, want) {
		b.t.Errorf("%s\nsent %x\nwant %x\ngot  %x", what, sent, want, got)
	}
}
