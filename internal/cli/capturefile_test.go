package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"repacket/internal/run"
)

// captureOf is a pcap file of UDP packets to ports, without UDP checksums.
func captureOf(t *testing.T, ports ...uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		f := []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00" +
			"\x45\x00\x00\x1c\x00\x01\x00\x00\x40\x11\x66\xce\x0a\x00\x00\x01\x0a\x00\x00\x02" + "\x03\xe8\x00\x00\x00\x08\x00\x00")
		f[36], f[37] = byte(port>>8), byte(port)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(f), Length: len(f)}, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// inFolder makes a folder with a capture file, in.pcap, of packets to ports.
func inFolder(t *testing.T, ports ...uint16) (in, out string) {
	t.Helper()
	folder := t.TempDir()
	in, out = filepath.Join(folder, "in.pcap"), filepath.Join(folder, "out.pcap")
	if err := os.WriteFile(in, captureOf(t, ports...), 0o644); err != nil {
		t.Fatal(err)
	}
	return in, out
}

func expectFile(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v\n got %x\nwant %x", path, err, got, want)
	}
}

// TestCaptureFile rewrites a file to another one, to itself, and from stdin to stdout.
func TestCaptureFile(t *testing.T) {
	t.Parallel()
	in, out := inFolder(t, 443, 53, 443)
	want := captureOf(t, 8080, 53, 8080)
	rules := []string{"if", "udp_dest", "443", "then", "udp_dest", "8080"}
	f := newFake(t, append([]string{"-r", in, "-w", out}, rules...)...)
	if status, stdout, stderr := f.run(); status != 0 || stdout != "" || stderr != "rewrite 2 pkts in 0.000 s (read 3 pkts, 0.0 MB)\n" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	expectFile(t, out, want)
	if len(f.kernel.jobs) > 0 {
		t.Error("the kernel was asked")
	}

	f = newFake(t, append([]string{"-q", "-r", in, "-w", in}, rules...)...)
	if status, stdout, stderr := f.run(); status != 0 || stdout != "" || stderr != "" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	expectFile(t, in, want)

	f = newFake(t, append([]string{"-r", "-", "-w", "-"}, rules...)...)
	f.Stdin = bytes.NewReader(captureOf(t, 443, 53, 443))
	if status, stdout, stderr := f.run(); status != 0 || stdout != string(want) || !strings.HasPrefix(stderr, "rewrite 2 pkts") {
		t.Errorf("status %d, %x, %q", status, stdout, stderr)
	}
}

// TestCaptureFileVerdicts: verdicts need no interface, and are told.
func TestCaptureFileVerdicts(t *testing.T) {
	t.Parallel()
	in, out := inFolder(t, 1, 2, 3, 4)
	f := newFake(t, "-r", in, "-w", out, "if udp_dest 1 then drop else if udp_dest 2 then ip_ttl 63 reflect else if udp_dest 3 then redirect eth9")
	const want = `repacket: note: a file has no interfaces: packets that are reflected or redirected stay in it, rewritten and counted
1  1 pkts  42 bytes  if udp_dest 1 then drop
2  1 pkts  42 bytes  if udp_dest 2 then ip_ttl 63 reflect
3  1 pkts  42 bytes  if udp_dest 3 then redirect eth9
drop 1, reflect 1, redirect 1 pkts in 0.000 s (read 4 pkts, 0.0 MB)
`
	if status, _, stderr := f.run(); status != 0 || stderr != want {
		t.Errorf("status %d\n%s", status, stderr)
	}
	written := captureOf(t, 2, 3, 4)
	written[24+16+22], written[24+16+24], written[24+16+25] = 63, 0x67, 0xce // TTL, and the checksum by RFC 1624
	expectFile(t, out, written)
}

// TestCaptureFileNothing: what there was is told where nothing matched.
func TestCaptureFileNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ports []uint16
		want  string
	}{
		{[]uint16{53}, "nothing matched: 1 packet in IN, but none that the rules match\n  hint: --why says which test of a rule fails, and on which packets\n  hint: to see them: tcpdump -ner 'IN'\n"},
		{nil, "nothing matched: there are no packets in IN\n"},
	} {
		in, _ := inFolder(t, test.ports...)
		_, _, stderr := newFake(t, "-r", in, "if", "udp_dest", "443").run()
		if got := strings.ReplaceAll(stderr, in, "IN"); !strings.HasSuffix(got, test.want) {
			t.Errorf("%s\nwant %s", got, test.want)
		}
	}
}

// TestCaptureFileJSON: an event at the beginning and one at the end.
func TestCaptureFileJSON(t *testing.T) {
	t.Parallel()
	in, out := inFolder(t, 443, 53)
	status, stdout, stderr := newFake(t, "--json", "-r", in, "-w", out, "if", "udp_dest", "443", "then", "udp_dest", "8080").run()
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if status != 0 || stderr != "" || len(lines) != 2 {
		t.Fatalf("status %d, %q, %q", status, stdout, stderr)
	}
	var reading, summary struct {
		Event, Read, Write, Ended string
		Packets, Bytes            int
		Total                     struct{ Rewritten int }
		Rules                     []struct{ Text string }
		Interface                 *string
	}
	for i, to := range []any{&reading, &summary} {
		if err := json.Unmarshal([]byte(lines[i]), to); err != nil {
			t.Fatal(err)
		}
	}
	if reading.Event != "reading" || reading.Read != in || reading.Write != out || len(reading.Rules) != 1 || reading.Interface != nil {
		t.Errorf("%s", lines[0])
	}
	if summary.Event != "summary" || summary.Read != in || summary.Ended != "end" || summary.Packets != 2 || summary.Bytes != 24+2*58 ||
		summary.Total.Rewritten != 1 || len(summary.Rules) != 1 || summary.Interface != nil {
		t.Errorf("%s", lines[1])
	}
}

// TestCaptureFileRefused: what is wrong is told, and nothing is written.
func TestCaptureFileRefused(t *testing.T) {
	t.Parallel()
	in, out := inFolder(t, 443)
	text := filepath.Join(filepath.Dir(in), "rules.txt")
	if err := os.WriteFile(text, []byte("if udp then drop"), 0o644); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"-r IN -i eth1 if udp":                        "error: -i is for live packets, and -r reads them from a file\n  hint: leave out -i",
		"-r IN -Q out if udp":                         "error: -Q is for live packets, and -r reads them from a file\n  hint: leave out -Q: a file holds packets of both directions; tests on addresses tell them apart",
		"-r IN --hook tc if udp":                      "error: --hook is for live packets, and -r reads them from a file\n  hint: leave out --hook",
		"-r IN --for 3s if udp":                       "error: --for is for live packets, and -r reads them from a file\n  hint: -c N acts on the first N packets; editcap -A and -B choose by time",
		"attach -r IN if udp":                         "error: -r means nothing to attach\n  hint: a run works on a file: repacket -r FILE -w FILE RULES",
		"-r IN -w - -v if udp":                        "error: both the packets that are shown and -w - are to go to stdout\n  hint: -w FILE",
		"-r IN --show-rate 9 if udp":                  "error: --show-rate is for live packets: a file waits for whoever looks\n  hint: --show N and --show-every N show fewer packets",
		"-r - -f -":                                   "error: both -r and -f are to read stdin\n  hint: put the rules on the line, or into a file",
		"-r IN --comment if udp":                      "error: --comment writes to a file, and there is no -w\n  hint: -w FILE.pcapng",
		"-r IN --seed x if udp":                       "error: --seed takes a number, not \"x\"\n  hint: --seed 1",
		"--seed 1 if udp":                             "error: --seed is for capture files: on an interface the kernel draws\n  hint: -r FILE reads packets from a capture file",
		"-r IN -w OUT --comment if udp then ip_ttl 9": "error: --comment: the format pcap has no comments\n  hint: editcap IN.pcap IN.pcapng makes a file of the format pcapng of it",
		"-r none.pcap -w OUT if udp":                  "error: none.pcap: there is no such file",
		"-r TEXT -w OUT if udp":                       "error: TEXT: this is no capture file: it is neither pcap nor pcapng",
		"-r IN -w OUT/x if udp":                       "error: OUT/x: no such file or directory",
		"-r IN -w FOLDER if udp":                      "error: FOLDER: it is a folder",
		"-r IN -w OUT if tcp_dest 443 then tcp_dest 8080 replies": "error: replies are for an interface: a file holds those to the packets as they were\n" +
			"  hint: leave out replies, and where the file holds replies to rewritten packets, write the inverse: if tcp_src 8080 then tcp_src 443",
	} {
		names := strings.NewReplacer("IN", in, "OUT", out, "TEXT", text, "FOLDER", filepath.Dir(in))
		status, stdout, stderr := newFake(t, strings.Fields(names.Replace(line))...).run()
		wantStatus := exitUsage
		if strings.Contains(want, "no such file or directory") || strings.Contains(want, "it is a folder") {
			wantStatus = exitFailed
		}
		if want = "repacket: " + strings.NewReplacer("OUT", out, "TEXT", text, "FOLDER", filepath.Dir(in)).Replace(want) + "\n"; strings.Contains(want, "editcap IN") {
			want = strings.ReplaceAll(want, in, "IN")
		}
		if status != wantStatus || stdout != "" || stderr != want {
			t.Errorf("%s: status %d\n%s\nwant\n%s", line, status, stderr, want)
		}
	}
	list, err := os.ReadDir(filepath.Dir(in))
	if err != nil || len(list) != 2 {
		t.Errorf("the folder holds %v", list)
	}
}

// TestCaptureFileCut: what could be read is written, the place is told, and the status is 1.
func TestCaptureFileCut(t *testing.T) {
	t.Parallel()
	in, out := inFolder(t, 443, 443)
	if err := os.Truncate(in, 24+58+30); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := newFake(t, "-r", in, "-w", out, "if", "udp_dest", "443", "then", "udp_dest", "8080").run()
	want := "rewrite 1 pkts in 0.000 s (read 1 pkts, 0.0 MB)\nrepacket: error: IN: the file ends in the middle of a packet, which begins at byte 82, behind 1 packets\n" +
		"  hint: what comes before is in OUT\n"
	if got := strings.NewReplacer(in, "IN", out, "OUT").Replace(stderr); status != exitFailed || got != want {
		t.Errorf("status %d\n%s\nwant\n%s", status, got, want)
	}
	expectFile(t, out, captureOf(t, 8080))
}

// TestCaptureFileStopped: Ctrl-C leaves no half file, and a bar has shown how far it was.
func TestCaptureFileStopped(t *testing.T) {
	t.Parallel()
	_, out := inFolder(t)
	from, feed := io.Pipe()
	f := newFake(t, "-r", "-", "-w", out, "if", "udp_dest", "443", "then", "udp_dest", "8080")
	f.Stdin, f.tty, f.Patience = from, true, time.Millisecond
	f.start()
	if _, err := feed.Write(captureOf(t, 443, 443)); err != nil {
		t.Fatal(err)
	}
	for shown := regexp.MustCompile(`2 pkts, 0\.0 MB`); !shown.MatchString(f.stderr.String()); {
		f.beat(time.Second) // what is read is told with a beat behind it
	}
	f.send(syscall.SIGINT)
	if status := f.wait(); status != exitFailed || !strings.HasSuffix(f.stderr.String(), "stopped before the end of stdin: "+out+" was not written\n") {
		t.Errorf("status %d\n%s", status, f.stderr.String())
	}
	list, err := os.ReadDir(filepath.Dir(out))
	if err != nil || len(list) != 1 {
		t.Errorf("the folder holds %v", list)
	}
	feed.Close()
}

// TestProgressBar of a file whose size is known.
func TestProgressBar(t *testing.T) {
	t.Parallel()
	const want = "[==========          ]  50 % of 4.0 MB, 12,345 pkts, 6,172 pkts/s"
	if got := (&fileReport{}).progress(run.Progress{Bytes: 2_000_000, Size: 4_000_000, Packets: 12_345}, 2); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestCaptureFileShows what would change where nothing is written, and with a rule without then
// what matches.
func TestCaptureFileShows(t *testing.T) {
	t.Parallel()
	in, out := inFolder(t, 443, 53, 443)
	const changed = "00:00:01.000000 IP 10.0.0.1.1000 > 10.0.0.2.443: UDP, length 0 | udp_dest 443 → 8080\n"
	const matched = "00:00:01.000000 IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 0\n"
	for _, test := range []struct{ line, want string }{
		{"-r IN if udp_dest 443 then udp_dest 8080", changed + changed},
		{"-r IN if udp_dest 53", matched},
		{"-r IN -w OUT if udp_dest 443 then udp_dest 8080", ""},
		{"-r IN -w OUT -v if udp_dest 443 then udp_dest 8080", changed + changed},
		{"-r IN --show 1 if udp_dest 443 then udp_dest 8080", changed},
		{"-r IN --show-every 2 if udp_dest 443 then udp_dest 8080", changed},
		{"-r IN --show-every 2 if udp", strings.Replace(matched, ".53:", ".443:", 1) + strings.Replace(matched, ".53:", ".443:", 1)},
		{"-r IN --show-every 3 --show 1 if udp", strings.Replace(matched, ".53:", ".443:", 1)},
		{"-q -r IN if udp_dest 443 then udp_dest 8080", ""},
	} {
		line := strings.NewReplacer("IN", in, "OUT", out).Replace(test.line)
		if status, stdout, stderr := newFake(t, strings.Fields(line)...).run(); status != 0 || stdout != test.want {
			t.Errorf("%s: status %d\n%s\nwant\n%s\n%s", test.line, status, stdout, test.want, stderr)
		}
	}
	status, stdout, _ := newFake(t, "-r", in, "-j", "-v", "if", "udp_dest", "53", "then", "drop").run()
	var packet struct {
		Event, Read, Verdict string
		Interface, Direction *string
		Rule                 int
	}
	lines := strings.Split(stdout, "\n")
	if err := json.Unmarshal([]byte(lines[1]), &packet); err != nil || status != 0 || packet.Event != "packet" || packet.Read != in ||
		packet.Verdict != "drop" || packet.Rule != 1 || packet.Interface != nil || packet.Direction != nil {
		t.Errorf("%v, %s", err, stdout)
	}
}
