package dissect_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"repacket/internal/dissect"
	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// look is a program of which every packet is shown as it is.
var look = mustCheck("if all")

func mustCheck(source string) *rule.Program {
	p, err := rule.Check(source)
	if err != nil {
		panic(err)
	}
	return p
}

// summary is a frame in one line, without the time and the direction.
func summary(link field.Link, frame []byte) string {
	p := dissect.New(&run.Packet{Program: look, Link: link, Length: len(frame), Before: frame, After: frame})
	_, text, _ := strings.Cut(p.Line(dissect.Style{}), " in ")
	return text
}

// byTcpdump is frames as tcpdump prints them, each by the text from one time to the next.
func byTcpdump(t *testing.T, link field.Link, frames [][]byte) []string {
	t.Helper()
	linkType := layers.LinkTypeEthernet
	if link == field.RawIP {
		linkType = layers.LinkTypeRaw
	}
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	if err := w.WriteFileHeader(65535, linkType); err != nil {
		t.Fatal(err)
	}
	for _, frame := range frames {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(frame), Length: len(frame)}
		if err := w.WritePacket(ci, frame); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "frames.pcap")
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tcpdump", "-nn", "-S", "-tt", "-r", path).Output()
	if err != nil {
		t.Fatalf("tcpdump: %v", err)
	}
	texts := strings.Split("\n"+string(out), "\n1.000000 ")[1:]
	if len(texts) != len(frames) {
		t.Fatalf("tcpdump prints %d of %d frames", len(texts), len(frames))
	}
	return texts
}

// without is what tcpdump shows with -e only, the fields of routing headers, the payload in
// hexadecimal, what follows an option that is wrong, and blanks: it prints two here and there.
var without = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`vlan \d+, p \d+, (DEI, )?`), ""},
	{regexp.MustCompile(`(segleft=\d+)[^)]*\)`), "$1)"},
	{regexp.MustCompile(`(?s):?\s+0x0000:.*`), ""},
	{regexp.MustCompile(`\[bad opt\].*`), "[bad opt]"},
	{regexp.MustCompile(`\s+`), " "},
}

func simplified(text string) string {
	for _, w := range without {
		text = w.pattern.ReplaceAllString(text, w.by)
	}
	return strings.TrimSpace(text)
}

// others are texts of packets of which tcpdump tells more, or other things than are told
// here: payloads, what was cut off, lengths of 0 as segmentation offload has them, and
// packets that should not be.
var others = regexp.MustCompile(`ip-proto-\d+ \d|ethertype [a-z]|0x9100|SAP|802\.3|[uU]nknown|` +
	`\[\||truncated-(udp|icmp)|bad-len 0|frag \(\d+\|\d{16,}\)|truncated-ip6 - 6\d{4} |Jumbo|invalid|bad hdr length|not IPv4 over Ethernet|` +
	`router advertisement|address mask|time stamp reply|multicast listener [qrd]`)

// TestAsTcpdump compares what is shown of packets with what tcpdump prints, for ports whose
// payload it does not look into.
func TestAsTcpdump(t *testing.T) {
	if testing.Short() {
		t.Skip("make check needs no tcpdump")
	}
	t.Parallel()
	r := rand.New(rand.NewPCG(16, 16))
	const perProgram = 300
	for _, source := range []string{
		"if tcp_src 61000-61999 tcp_dest 62000-62999",
		"if udp_src 61000-61999 udp_dest 62000-62999",
		"if icmp_type 0,3,5,8,11", "if icmp6_type 1-4,128,129,133,135-137", "if arp_op 1-4", "if vlan tcp_dest 62000-62999",
	} {
		frames := packetgen.FramesOn(field.Ethernet, r, mustCheck(source), perProgram)
		same := 0
		for i, text := range byTcpdump(t, field.Ethernet, frames) {
			got, want := simplified(summary(field.Ethernet, frames[i])), simplified(text)
			switch {
			case got == want:
				same++
			case others.MatchString(got + want):
			default:
				t.Errorf("%x\n  got %s\n want %s", frames[i], got, want)
			}
		}
		if same < perProgram/2 {
			t.Errorf("%s: only %d of %d packets could be compared", source, same, perProgram)
		}
	}
}
