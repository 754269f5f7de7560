package capture_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/capture"
)

// readAll reads a file to its end and gives all bytes and packets. The error is that behind
// the last part, where it is not io.EOF.
func readAll(from io.Reader) (all []byte, packets []packet, err error) {
	r, err := capture.NewReader(from)
	if err != nil {
		return nil, nil, err
	}
	var b capture.Batch
	for {
		if err := r.Next(&b); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all, packets, err
		}
		if int(b.First) != len(packets) {
			return all, packets, fmt.Errorf("packet %d follows %d", b.First, len(packets))
		}
		all = append(all, b.Bytes...)
		for i := range b.Packets {
			p := &b.Packets[i]
			at, _ := b.Time(p)
			fcs, hashed := b.Options(p)
			packets = append(packets, packet{
				data: bytes.Clone(b.Data(p)), length: int(p.Length), link: uint16(b.Interface(p).Link), at: at, fcs: fcs, hashed: hashed,
			})
		}
	}
}

func samePackets(a, b []packet) bool {
	return slices.EqualFunc(a, b, func(p, q packet) bool {
		return bytes.Equal(p.data, q.data) && p.length == q.length && p.link == q.link && p.at.Equal(q.at) && p.fcs == q.fcs && p.hashed == q.hashed
	})
}

// TestForms reads each form, at once and byte by byte: all of it comes out as it went in.
func TestForms(t *testing.T) {
	t.Parallel()
	for _, f := range append(forms(t), mixed()) {
		for _, from := range []io.Reader{bytes.NewReader(f.file), iotest.OneByteReader(bytes.NewReader(f.file)), bytes.NewReader(compressed(f.file))} {
			got, packets, err := readAll(from)
			if err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
			if !bytes.Equal(got, f.file) {
				t.Errorf("%s:\n got %x\nwant %x", f.name, got, f.file)
			}
			if !samePackets(packets, f.packets) {
				t.Errorf("%s:\n got %v\nwant %v", f.name, packets, f.packets)
			}
		}
	}
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

// TestCut ends each form at each byte: what comes before is whole, and the place is told.
func TestCut(t *testing.T) {
	t.Parallel()
	for _, f := range append(forms(t), mixed()) {
		ends := 0
		for n := range f.file {
			got, packets, err := readAll(bytes.NewReader(f.file[:n]))
			var damaged *capture.DamagedError
			var format *capture.FormatError
			switch {
			case errors.As(err, &format):
				if n >= 24 {
					t.Errorf("%s, cut at %d: %v", f.name, n, err)
				}
				continue
			case err == nil:
				ends++
			case !errors.As(err, &damaged) || !damaged.Cut || damaged.At != int64(len(got)) || damaged.Packets != uint64(len(packets)):
				t.Errorf("%s, cut at %d: %v, behind %d bytes and %d packets", f.name, n, err, len(got), len(packets))
			}
			if !bytes.HasPrefix(f.file, got) || err == nil && len(got) != n {
				t.Errorf("%s, cut at %d: not what was there", f.name, n)
			}
		}
		if ends > 12 {
			t.Errorf("%s: cut at %d places without a word", f.name, ends)
		}
	}
}

// TestDamaged reads files that are wrong from a place on.
func TestDamaged(t *testing.T) {
	t.Parallel()
	good := forms(t)
	ng := good[slices.IndexFunc(good, func(f form) bool { return f.name == "pcapng, LittleEndian" })].file
	old := good[slices.IndexFunc(good, func(f form) bool { return f.name == "pcap, LittleEndian" })].file
	change := func(b []byte, at int, to ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], to)
		return b
	}
	for _, test := range []struct {
		file []byte
		want string
	}{
		{change(old, 24+8, 0xff, 0xff, 0xff, 0x7f), "a packet claims to have 2147483647 bytes, at byte 24, behind 0 packets"},
		{change(ng, 28+4, 3), "a block claims to have 3 bytes, at byte 28, behind 0 packets"},
		{change(ng, 28+4, 21), "a block claims to have 21 bytes, at byte 28, behind 0 packets"},
		{change(ng, 48+8, 9), "a packet is of an interface that its section does not describe, at byte 48, behind 0 packets"},
		{change(ng, 48+20, 0xff), "a packet has more bytes than its block, at byte 48, behind 0 packets"},
		{change(ng, len(ng)-4, 1), "a block has 108 bytes at its beginning and 1 at its end, at byte 48, behind 0 packets"},
		{change(ng, 48+4, 0xfc, 0xff, 0xff, 0xff), "a block of type 6 claims to have 4294967292 bytes, at byte 48, behind 0 packets"},
		{change(ng, 28, 7, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff), "the file ends in the middle of a block, which begins at byte 156, behind 0 packets"},
		{change(ng, 12, 2), "a section is of another version than 1, at byte 0, behind 0 packets"},
		{change(ng, 8, 0), "a section has neither byte order, at byte 0, behind 0 packets"},
	} {
		_, _, err := readAll(bytes.NewReader(test.file))
		if err == nil || err.Error() != test.want {
			t.Errorf("%v\nwant %s", err, test.want)
		}
	}
}

// TestNoCaptureFile: other files are told by name.
func TestNoCaptureFile(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"":                         "this is no capture file of the formats pcap or pcapng, but an empty one",
		"if udp then drop":         "this is no capture file: it is neither pcap nor pcapng",
		"\x28\xb5\x2f\xfd\x00":     "this is no capture file of the formats pcap or pcapng, but compressed by zstd",
		"snoop\x00\x00\x00":        "this is no capture file of the formats pcap or pcapng, but of the format snoop",
		"\xd4\xc3\xb2\xa1\x02\x00": "this is no capture file of the formats pcap or pcapng, but the beginning of one: its header is cut off",
	} {
		var format *capture.FormatError
		_, err := capture.NewReader(strings.NewReader(content))
		if !errors.As(err, &format) || err.Error() != want {
			t.Errorf("%q: %v\nwant %s", content, err, want)
		}
	}
}

// TestLargeBlocks copies blocks of unknown kinds that are larger than what is read at once,
// and packets behind them.
func TestLargeBlocks(t *testing.T) {
	t.Parallel()
	for _, size := range []int{300 << 10, 5 << 20} {
		f := (&file{ByteOrder: binary.LittleEndian}).section(-1).iface(1, 0, nil).
			block(0x7777, func(f *file) { f.bytes(bytes.Repeat([]byte("large"), size/5)) })
		f.enhanced(0, 0, frame(0), 42, nil)
		got, packets, err := readAll(bytes.NewReader(f.b))
		if err != nil || !bytes.Equal(got, f.b) || len(packets) != 1 {
			t.Errorf("%d bytes: %d of %d bytes, %d packets, %v", size, len(got), len(f.b), len(packets), err)
		}
	}
}

// edited writes a form with an edit of each packet.
func edited(t *testing.T, f form, to io.Writer, e capture.Edit) {
	t.Helper()
	r, err := capture.NewReader(bytes.NewReader(f.file))
	if err != nil {
		t.Fatal(err)
	}
	w := capture.NewWriter(to, true)
	var b capture.Batch
	for {
		if err := r.Next(&b); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		var edits []capture.Edit
		for i := range b.Packets {
			if e.Comment == "" || b.TakesComments(&b.Packets[i]) {
				e.Packet = i
				edits = append(edits, e)
			}
		}
		if err := w.Write(&b, b.Edited(nil, edits)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEdits drops, comments and removes hashes in each form, and reads the result.
func TestEdits(t *testing.T) {
	t.Parallel()
	for _, f := range append(forms(t), mixed()) {
		var dropped, commented, unhashed bytes.Buffer
		edited(t, f, &dropped, capture.Edit{Drop: true})
		if _, packets, err := readAll(&dropped); err != nil || len(packets) != 0 {
			t.Errorf("%s without packets: %d packets, %v", f.name, len(packets), err)
		}
		edited(t, f, &commented, capture.Edit{Comment: "a comment"})
		count := strings.Count(commented.String(), "a comment") - strings.Count(string(f.file), "a comment")
		if _, packets, err := readAll(&commented); err != nil || !samePackets(packets, f.packets) {
			t.Errorf("%s with comments: %v, %v", f.name, packets, err)
		}
		if want := len(f.packets); strings.HasPrefix(f.name, "pcapng") && !strings.Contains(f.name, "Simple") && count != want {
			t.Errorf("%s has %d comments, want %d", f.name, count, want)
		}
		if !strings.HasPrefix(f.name, "pcapng") {
			continue
		}
		edited(t, f, &unhashed, capture.Edit{RemoveHash: true})
		want := slices.Clone(f.packets)
		for i := range want {
			want[i].hashed = false
		}
		if _, packets, err := readAll(&unhashed); err != nil || !samePackets(packets, want) {
			t.Errorf("%s without hashes: %v, %v", f.name, packets, err)
		}
	}
}

// TestSectionLengths: a section whose length is known gets the new one where the file can be
// written again, and else none.
func TestSectionLengths(t *testing.T) {
	t.Parallel()
	var pipe bytes.Buffer
	edited(t, mixed(), &pipe, capture.Edit{Drop: true})
	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	edited(t, mixed(), out, capture.Edit{Drop: true})
	out.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Behind each header of 28 bytes is the description of an interface, of 20.
	for name, got := range map[string][2][]byte{"pipe": {pipe.Bytes(), bytes.Repeat([]byte{0xff}, 8)}, "file": {file, {0, 0, 0, 0, 0, 0, 0, 20}}} {
		b, want := got[0], got[1]
		if len(b) != 96 || !bytes.Equal(b[16:24], want) {
			t.Errorf("%s: the first section is of length %x, want %x", name, b[16:24], want)
		}
		slices.Reverse(want)
		if !bytes.Equal(b[64:72], want) {
			t.Errorf("%s: the second section is of length %x, want %x", name, b[64:72], want)
		}
	}
}

// TestOthersAgree has Wireshark's tools judge the forms, and what edits make of them: how many
// packets there are, their lengths and times.
func TestOthersAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("make check needs no tshark")
	}
	t.Parallel()
	folder := t.TempDir()
	var paths []string
	var want strings.Builder
	for i, f := range append(forms(t), mixed()) {
		if !f.judged {
			continue
		}
		var same, commented, dropped bytes.Buffer
		edited(t, f, &same, capture.Edit{})
		edited(t, f, &commented, capture.Edit{Comment: "a comment"})
		edited(t, f, &dropped, capture.Edit{Drop: true})
		for name, b := range map[string][]byte{"file": f.file, "same": same.Bytes(), "commented": commented.Bytes(), "dropped": dropped.Bytes()} {
			path := filepath.Join(folder, fmt.Sprintf("%d %s", i, name))
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			packets := f.packets
			if name == "dropped" {
				packets = nil
			}
			paths = append(paths, path)
			fmt.Fprintf(&want, "%s,%s\n", path, told(packets))
		}
	}
	got := run(t, "capinfos", append([]string{"-T", "-r", "-m", "-c", "-d", "-a", "-e", "-S"}, paths...)...)
	zeros := regexp.MustCompile(`(?m)\.?0*(,|$)`) // how many digits a time has follows from the file's resolution
	if diff := cmp.Diff(zeros.ReplaceAllString(want.String(), "$1"), zeros.ReplaceAllString(got, "$1")); diff != "" {
		t.Errorf("capinfos says otherwise (+):\n%s", diff)
	}
}

// told is what capinfos tells of packets: how many, the sum of their lengths, and the times of
// the earliest and the latest.
func told(packets []packet) string {
	sum := 0
	first, last := "n/a", "n/a"
	for _, p := range packets {
		sum += p.length
	}
	if len(packets) > 0 && !packets[0].at.IsZero() {
		byTime := func(p, q packet) int { return p.at.Compare(q.at) }
		first, last = stamp(slices.MinFunc(packets, byTime)), stamp(slices.MaxFunc(packets, byTime))
	}
	return fmt.Sprintf("%d,%d,%s,%s", len(packets), sum, first, last)
}

func stamp(p packet) string { return fmt.Sprintf("%d.%09d", p.at.Unix(), p.at.Nanosecond()) }

// TestTshark has tshark read the lengths, times and comments of each packet of some forms.
func TestTshark(t *testing.T) {
	if testing.Short() {
		t.Skip("make check needs no tshark")
	}
	t.Parallel()
	for _, f := range append(forms(t), mixed()) {
		if !strings.Contains(f.name, "kinds") && !strings.Contains(f.name, "both orders") {
			continue
		}
		var commented bytes.Buffer
		edited(t, f, &commented, capture.Edit{Comment: "a comment"})
		var want strings.Builder
		for _, p := range f.packets {
			fmt.Fprintf(&want, "%d\t%d\t%s\ta comment\n", len(p.data), p.length, stamp(p))
		}
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, commented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		got := run(t, "tshark", "-n", "-r", path, "-T", "fields",
			"-e", "frame.cap_len", "-e", "frame.len", "-e", "frame.time_epoch", "-e", "frame.comment")
		if got != want.String() {
			t.Errorf("%s: tshark says\n%swant\n%s", f.name, got, want.String())
		}
	}
}

// run is what a program prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, stderr.String())
	}
	return string(out)
}
