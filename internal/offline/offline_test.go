package offline_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"go.uber.org/goleak"

	"repacket/internal/capture"
	"repacket/internal/field"
	"repacket/internal/offline"
	"repacket/internal/packetgen"
	"repacket/internal/pcapng"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output notes how a run has told it to end.
type output struct {
	bytes.Buffer
	ended string
}

func (o *output) Commit() error { o.ended += "committed"; return nil }
func (o *output) Abort() error  { o.ended += "aborted"; return nil }

func check(t *testing.T, text string) *rule.Program {
	t.Helper()
	p, err := rule.Check(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// session runs rules on a file to its end.
func session(t *testing.T, rules string, file []byte, change func(*offline.Options)) (*output, run.Counts, run.FileSession, error) {
	t.Helper()
	out := &output{}
	o := offline.Options{Program: check(t, rules), From: bytes.NewReader(file), Size: int64(len(file)), To: &out.Buffer, Output: out}
	if change != nil {
		change(&o)
	}
	p, err := offline.Prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	started, err := p.Start(func() {})
	if err != nil {
		t.Fatal(err)
	}
	s := started.(run.FileSession)
	<-s.Done()
	counts, err := s.Close()
	return out, counts, s, err
}

// file is a pcap file of frames.
func file(t testing.TB, frames [][]byte) []byte {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<18, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(f), Length: len(f)}, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// framesOf are the packets of a pcap file, by another library.
func framesOf(t *testing.T, file []byte) (frames [][]byte) {
	t.Helper()
	r, err := pcapgo.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for {
		f, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
}

// TestAsReference runs rules on many packets, in more than one batch and so by more than one
// worker: each packet is what the reference makes of it, in its place.
func TestAsReference(t *testing.T) {
	rules := "if udp_dest 443 then udp_dest 8080 ip_ttl -1 else if tcp then tcp_seq +7 else if icmp then drop else if arp"
	p := check(t, rules)
	frames := packetgen.FramesOn(field.Ethernet, rand.New(rand.NewPCG(18, 1)), p, 20_000)
	var want [][]byte
	var counted [4]run.Count
	for _, f := range frames {
		w := reference.Run(p, f)
		if w.Index >= 0 {
			counted[w.Index].Matched++
			counted[w.Index].MatchedBytes += uint64(len(f))
		}
		if w.Verdict != rule.Drop {
			want = append(want, w.Frame)
		}
	}
	out, counts, s, err := session(t, rules, file(t, frames), nil)
	if err != nil || out.ended != "committed" || s.Over() != run.LimitEnd {
		t.Fatalf("%v, %s, ended by %q", err, out.ended, s.Over())
	}
	if got := framesOf(t, out.Bytes()); !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d packets, want %d, or not the same", len(got), len(want))
	}
	for i, c := range counts.Rules {
		if c.Matched != counted[i].Matched || c.MatchedBytes != counted[i].MatchedBytes || c.Matched == 0 {
			t.Errorf("rule %d counted %+v, want %+v", i+1, c.Count, counted[i])
		}
	}
	if got := s.Progress(); got.Packets != 20_000 || got.Bytes != got.Size {
		t.Errorf("%+v was read", got)
	}
}

// ng is a section with an interface and a packet, whose options are given.
func ng(o pcapng.Order, data []byte, options ...func([]byte) []byte) []byte {
	b, at := pcapng.OpenSection(nil, o)
	b = pcapng.Close(b, o, at)
	b, at = pcapng.OpenInterface(b, o, 1, 0)
	b = pcapng.Close(b, o, at)
	b, at = pcapng.OpenPacket(b, o, 0, 7, uint32(len(data)), data)
	for _, option := range options {
		b = option(b)
	}
	return pcapng.Close(b, o, at)
}

// udp is a UDP packet to port 443, without a UDP checksum.
func udp() []byte {
	return []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00" +
		"\x45\x00\x00\x1c\x00\x01\x00\x00\x40\x11\x66\xce\x0a\x00\x00\x01\x0a\x00\x00\x02" + "\x03\xe8\x01\xbb\x00\x08\x00\x00")
}

// TestHashIsRemoved of packets that change, and of no other.
func TestHashIsRemoved(t *testing.T) {
	for _, o := range []pcapng.Order{binary.LittleEndian, binary.BigEndian} {
		hash := func(b []byte) []byte {
			return pcapng.AppendEndOfOptions(pcapng.AppendOption(b, o, pcapng.PacketHash, []byte{2, 1, 2, 3, 4}), o)
		}
		in := ng(o, udp(), hash)
		changed := bytes.Replace(udp(), []byte("\x01\xbb"), []byte("\x1f\x90"), 1)
		out, _, s, err := session(t, "if udp_dest 443 then udp_dest 8080", in, nil)
		want := ng(o, changed, func(b []byte) []byte { return pcapng.AppendEndOfOptions(b, o) })
		if err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%v: %x\nwant %x", err, out.Bytes(), want)
		}
		if r := s.Remarks(); len(r) != 1 || !strings.Contains(r[0].Message, "1 changed packets had a hash") {
			t.Errorf("remarks %v", r)
		}
		for _, rules := range []string{"if udp_dest 443 then udp_dest 443", "if udp_dest 53 then udp_dest 54", "if udp"} {
			if out, _, s, err := session(t, rules, in, nil); err != nil || !bytes.Equal(out.Bytes(), in) || len(s.Remarks()) > 0 {
				t.Errorf("%s: %v, %v: %x", rules, err, s.Remarks(), out.Bytes())
			}
		}
	}
}

// TestFCSStays, does not count for the rules, and goes stale with a remark.
func TestFCSStays(t *testing.T) {
	o := binary.LittleEndian
	flags := func(b []byte) []byte {
		return pcapng.AppendEndOfOptions(pcapng.AppendUint32Option(b, o, pcapng.PacketFlags, 4<<pcapng.FlagsFCSShift), o)
	}
	with := append(udp(), 1, 2, 3, 4)
	changed := bytes.Replace(with, []byte("\x01\xbb"), []byte("\x1f\x90"), 1)
	out, _, s, err := session(t, "if udp_dest 443 then udp_dest 8080", ng(o, with, flags), nil)
	if err != nil || !bytes.Equal(out.Bytes(), ng(o, changed, flags)) {
		t.Errorf("%v: %x", err, out.Bytes())
	}
	if r := s.Remarks(); len(r) != 1 || !strings.Contains(r[0].Message, "frame check sequence") {
		t.Errorf("remarks %v", r)
	}
}

// TestComment adds the rule to packets on which it acted.
func TestComment(t *testing.T) {
	o := binary.BigEndian
	in := ng(o, udp())
	comment := func(options *offline.Options) { options.Comment = true }
	out, _, _, err := session(t, "web: if udp_dest 443 then redirect eth9", in, comment)
	want := ng(o, udp(), func(b []byte) []byte {
		b = pcapng.AppendText(b, o, pcapng.Comment, "rule: 1\nname: web\ntext: if udp_dest 443 then redirect eth9\nverdict: redirect eth9")
		return pcapng.AppendEndOfOptions(b, o)
	})
	if err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%v: %q\nwant %q", err, out.Bytes(), want)
	}
	for _, rules := range []string{"if udp_dest 53 then drop", "if udp"} {
		if out, _, _, err := session(t, rules, in, comment); err != nil || !bytes.Equal(out.Bytes(), in) {
			t.Errorf("%s: %v, %q", rules, err, out.Bytes())
		}
	}
	_, err = offline.Prepare(offline.Options{Program: check(t, "if udp then drop"), From: bytes.NewReader(file(t, nil)), Comment: true})
	if run.ClassOf(err) != run.Usage {
		t.Errorf("a comment in pcap: %v", err)
	}
}

// TestCommentOnSimplePackets: a Simple Packet Block is rewritten and takes no comment, which the
// remarks say; shown are one of so many, whatever blocks they are in.
func TestCommentOnSimplePackets(t *testing.T) {
	for _, o := range []pcapng.Order{binary.LittleEndian, binary.BigEndian} {
		simple := func(b, data []byte) []byte {
			b, at := pcapng.Open(b, o, pcapng.SimplePacket)
			b = append(o.AppendUint32(b, uint32(len(data))), data...)
			return pcapng.Close(append(b, make([]byte, pcapng.Padding(len(data)))...), o, at)
		}
		of := func(data []byte, options ...func([]byte) []byte) []byte {
			return simple(simple(simple(ng(o, data, options...), data), data), data)
		}
		changed := bytes.Replace(udp(), []byte("\x01\xbb"), []byte("\x1f\x90"), 1)
		want := of(changed, func(b []byte) []byte {
			b = pcapng.AppendText(b, o, pcapng.Comment, "rule: 1\ntext: if udp_dest 443 then udp_dest 8080\nverdict: pass")
			return pcapng.AppendEndOfOptions(b, o)
		})
		var shown [][]byte
		out, counts, s, err := session(t, "if udp_dest 443 then udp_dest 8080", of(udp()), func(options *offline.Options) {
			options.Comment = true
			options.Record = &run.Recording{Every: 2, Packet: func(p *run.Packet) { shown = append(shown, bytes.Clone(p.Before), bytes.Clone(p.After)) }}
		})
		if err != nil || counts.Total().Rewritten != 4 || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%v, %+v: %q\nwant %q", err, counts.Total(), out.Bytes(), want)
		}
		if r := s.Remarks(); len(r) != 1 || !strings.HasPrefix(r[0].Message, "3 rewritten packets are in Simple Packet Blocks") {
			t.Errorf("remarks %v", r)
		}
		if both := [][]byte{udp(), changed, udp(), changed}; !slices.EqualFunc(shown, both, bytes.Equal) {
			t.Errorf("shown are %x", shown)
		}
	}
}

// TestLimit acts on so many packets, the first ones, and copies the rest.
func TestLimit(t *testing.T) {
	var frames [][]byte
	for range 30_000 {
		frames = append(frames, udp())
	}
	in := file(t, frames)
	out, counts, _, err := session(t, "if udp_dest 443 then udp_dest 8080", in, func(o *offline.Options) { o.Limit = 12_345 })
	if err != nil || counts.Total().Rewritten != 12_345 {
		t.Fatalf("%v, %+v", err, counts.Total())
	}
	got := framesOf(t, out.Bytes())
	for i, f := range got {
		if changed := f[37] == 0x90; changed != (i < 12_345) {
			t.Fatalf("packet %d is changed: %t", i, changed)
		}
	}
	_, counts, s, err := session(t, "if udp_dest 443", in, func(o *offline.Options) { o.Limit, o.To, o.Output = 10, nil, nil })
	if err != nil || counts.Total().Matched != 10 || s.Over() != run.LimitCount {
		t.Errorf("without a file to write: %v, %+v, ended by %q", err, counts.Total(), s.Over())
	}
}

// TestSeed: the same seed draws the same, by whatever workers, and another one something else.
func TestSeed(t *testing.T) {
	var frames [][]byte
	for range 20_000 {
		frames = append(frames, udp())
	}
	in := file(t, frames)
	const rules = "if chance 50% then ip_src random udp_src random 1000-2000"
	result := func(seed, limit uint64) []byte {
		out, counts, _, err := session(t, rules, in, func(o *offline.Options) { o.Seed, o.Limit = seed, limit })
		if n := counts.Total().Rewritten; err != nil || n < 9_500 || n > 10_500 {
			t.Fatalf("%v, %d of 20000 by chance 50 %%", err, n)
		}
		return out.Bytes()
	}
	one := result(1, 0)
	if !bytes.Equal(one, result(1, 0)) || !bytes.Equal(one, result(1, 1<<40)) { // with a limit there is one worker
		t.Error("one seed has two results")
	}
	if bytes.Equal(one, result(2, 0)) {
		t.Error("two seeds have one result")
	}
}

// TestCutFile: what could be read is written, and the place is told.
func TestCutFile(t *testing.T) {
	in := file(t, [][]byte{udp(), udp(), udp()})
	out, counts, _, err := session(t, "if udp_dest 443 then udp_dest 8080", in[:len(in)-1], nil)
	var damaged *capture.DamagedError
	if !errors.As(err, &damaged) || damaged.Packets != 2 || damaged.At != 24+2*58 || counts.Total().Rewritten != 2 {
		t.Errorf("%v, %+v", err, counts.Total())
	}
	if got := framesOf(t, out.Bytes()); len(got) != 2 || out.ended != "committed" {
		t.Errorf("%d packets, %s", len(got), out.ended)
	}
}

// TestRefused: link types that are not read, by name, and replies.
func TestRefused(t *testing.T) {
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(100, layers.LinkTypeIEEE80211Radio); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: 4, Length: 4}, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	out, _, _, err := session(t, "if udp then drop", b.Bytes(), nil)
	var link *offline.LinkTypeError
	if !errors.As(err, &link) || !strings.Contains(err.Error(), "IEEE 802.11") || out.ended != "aborted" {
		t.Errorf("%v, %s", err, out.ended)
	}
	_, err = offline.Prepare(offline.Options{Program: check(t, "if tcp_dest 443 then tcp_dest 8080 replies"), From: bytes.NewReader(file(t, nil))})
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || !strings.HasSuffix(hinted.Hint(), "if tcp_src 8080 then tcp_src 443") {
		t.Errorf("replies: %v", err)
	}
}

// TestStopped leaves nothing where the file has not ended.
func TestStopped(t *testing.T) {
	in := file(t, [][]byte{udp(), udp()})
	from, feed := io.Pipe()
	out := &output{}
	p := make(chan *offline.Prepared)
	go func() {
		prepared, err := offline.Prepare(offline.Options{Program: check(t, "if udp then ip_ttl 1"), From: from, To: &out.Buffer, Output: out})
		if err != nil {
			t.Error(err)
		}
		p <- prepared
	}()
	if _, err := feed.Write(in); err != nil {
		t.Fatal(err)
	}
	s, err := (<-p).Start(func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Close(); !errors.Is(err, offline.ErrStopped) || out.ended != "aborted" {
		t.Errorf("%v, %s", err, out.ended)
	}
	feed.Close()
}

// TestFailedWrite ends the run and leaves nothing.
func TestFailedWrite(t *testing.T) {
	full := errors.New("full")
	out := &output{}
	in := file(t, [][]byte{udp()})
	_, _, _, err := session(t, "if udp then ip_ttl 1", in, func(o *offline.Options) {
		o.To, o.Output = failing{full}, out
	})
	var writing *offline.WriteError
	if !errors.As(err, &writing) || !errors.Is(err, full) || out.ended != "aborted" {
		t.Errorf("%v, %s", err, out.ended)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestLinks rewrites the IP packet behind each header of a link, and nothing where there is
// none.
func TestLinks(t *testing.T) {
	ip := udp()[14:]
	for link, header := range map[uint32]string{
		0: "\x02\x00\x00\x00", 101: "", 12: "", 108: "\x00\x00\x00\x02", 228: "",
		113: "\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x02\x00\x00\x08\x00",
		276: "\x08\x00\x00\x00\x00\x00\x00\x02\x00\x01\x00\x06\x02\x00\x00\x00\x00\x02\x00\x00",
	} {
		in := func(body []byte) []byte {
			b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
			for _, w := range []uint32{4<<16 | 2, 0, 0, 65535, link, 1, 2, uint32(len(header) + len(body)), uint32(len(header) + len(body))} {
				b = binary.LittleEndian.AppendUint32(b, w)
			}
			return append(append(b, header...), body...)
		}
		changed := bytes.Replace(ip, []byte("\x01\xbb"), []byte("\x1f\x90"), 1)
		out, _, _, err := session(t, "if eth then drop else if udp_dest 443 then udp_dest 8080", in(ip), nil)
		if err != nil || !bytes.Equal(out.Bytes(), in(changed)) {
			t.Errorf("link type %d: %v: %x\nwant %x", link, err, out.Bytes(), in(changed))
		}
	}
}
