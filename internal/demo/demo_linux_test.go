package demo

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"repacket/test/needs"
)

func TestMain(m *testing.M) {
	needs.KernelMain()
	goleak.VerifyTestMain(m)
}

const story = `two namespaces: client 192.0.2.1 on client0, server 192.0.2.2 on server0
the server listens on UDP port 5202, the client sends to port 5201
without a rule: no answer from port 5201
repacket -i server0 --hook xdp if udp_dest 5201 then udp_dest 5202
10 datagrams sent to port 5201, 10 answers, from port 5202
the first one as it arrived: port 5201 -> 5202, checksum 0xXXXX, which is right
rewrite 10 pkts in S s
the rule is off again
without a rule: no answer from port 5201
that was all; the namespaces go with this process
`

func TestStory(t *testing.T) {
	var out bytes.Buffer
	if err := Run(context.Background(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	got := regexp.MustCompile(`0x[0-9a-f]{4}`).ReplaceAllString(out.String(), "0xXXXX")
	got = regexp.MustCompile(`in \d+\.\d{3} s`).ReplaceAllString(got, "in S s")
	if d := cmp.Diff(story, got); d != "" {
		t.Error(d)
	}
}

// cancelAt is a writer that ends a context once a line has been told.
type cancelAt struct {
	bytes.Buffer
	line string
	end  context.CancelFunc
}

func (c *cancelAt) Write(b []byte) (int, error) {
	n, err := c.Buffer.Write(b)
	if strings.Contains(c.String(), c.line) {
		c.end()
	}
	return n, err
}

// TestStops: a demo that is stopped while its rule is attached detaches it
// and ends well.
func TestStops(t *testing.T) {
	ctx, end := context.WithCancel(context.Background())
	out := &cancelAt{line: "repacket -i server0", end: end}
	if err := Run(ctx, out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "then udp_dest 5202\nstopped\n") {
		t.Errorf("told: %s", out)
	}
}
