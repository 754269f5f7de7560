package cli

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"repacket/internal/syntax"
)

// checkFile is what check says of a rule file.
func checkFile(t *testing.T, name string) (status int, stdout, stderr string) {
	t.Helper()
	return newFake(t, "check", "-f", name).run()
}

func writeTest(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRuleFile: a rule file says what the same words on the line say.
func TestRuleFile(t *testing.T) {
	t.Parallel()
	_, want, _ := newFake(t, "check", "web:", "if", "udp_dest", "443", "then", "udp_dest", "8080;", "if", "tcp").run()
	for name, content := range map[string]string{
		"lines":   "web: if udp_dest 443 then udp_dest 8080\nif tcp\n",
		"one":     "web: if udp_dest 443 then udp_dest 8080; if tcp",
		"several": "# rules\nweb:\n  if udp_dest 443 # a comment\n  then udp_dest 8080\n\nif tcp",
		"windows": "\ufeffweb: if udp_dest 443 then udp_dest 8080\r\n# comment\r\nif tcp\r\n",
	} {
		path := writeTest(t, "rules.txt", []byte(content))
		status, stdout, stderr := checkFile(t, path)
		wantText(t, name, stdout, want)
		wantText(t, name, stderr, "")
		if status != 0 {
			t.Errorf("%s: exit status %d", name, status)
		}
		f := newFake(t, "check", "-f", "-")
		f.Stdin = strings.NewReader(content)
		_, stdout, _ = f.run()
		wantText(t, name+" from stdin", stdout, want)
	}
}

// TestRuleFileWarnings: warnings name the file, and both places.
func TestRuleFileWarnings(t *testing.T) {
	t.Parallel()
	path := writeTest(t, "rules.txt", []byte("if udp then ip_ttl 64\nif udp_dest 53 then ip_dscp ef\n"))
	status, _, stderr := checkFile(t, path)
	wantText(t, "stderr", stderr, "repacket: warning: "+path+":2:1: never acts: line 1 takes these packets (first match wins)\n"+
		"    if udp_dest 53 then ip_dscp ef\n    ^~\n"+
		"  hint: put it before line 1; to do both there: then ip_ttl 64 ip_dscp ef\n")
	if status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestManyWarnings: a file of thousands of odd rules does not fill the screen.
func TestManyWarnings(t *testing.T) {
	t.Parallel()
	path := writeTest(t, "rules.txt", bytes.Repeat([]byte("if udp ip_ttl 5 or tcp then ip_ttl 7\n"), 2000))
	status, _, stderr := checkFile(t, path)
	if n := strings.Count(stderr, "warning: "); status != 0 || n != maxWarnings || !strings.HasSuffix(stderr, "more like these are not shown\n") {
		t.Errorf("exit status %d, %d warnings, and at the end %q", status, n, stderr[len(stderr)-60:])
	}
}

// TestBadRuleFiles: whatever a file is, the answer is short and says why.
func TestBadRuleFiles(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 64<<10)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	long := append([]byte("if udp"), bytes.Repeat([]byte(" "), syntax.MaxSource)...)
	for name, c := range map[string]struct{ path, want string }{
		"absent": {filepath.Join(t.TempDir(), "rules.txt"), ": there is no such file"},
		"folder": {t.TempDir(), ": it is a folder"},
		"empty":  {writeTest(t, "rules.txt", nil), ":1:1: no rule is given"},
		"noise":  {writeTest(t, "rules.txt", noise), "rules.txt:1:"},
		"zeros":  {writeTest(t, "rules.txt", make([]byte, 4096)), ":1:1: unexpected byte 0x00"},
		"utf-16": {writeTest(t, "rules.txt", []byte("\xff\xfei\x00f\x00")), ":1:1: unexpected byte 0xff"},
		"long":   {writeTest(t, "rules.txt", long), ": the rules are longer than the 8388608 bytes that are read"},
	} {
		status, stdout, stderr := checkFile(t, c.path)
		if status != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "repacket: error: ") || len(stderr) > 600 {
			t.Errorf("%s: exit status %d, stdout %q, stderr %q", name, status, stdout, stderr)
		}
		if !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %q is not in %q", name, c.want, stderr)
		}
	}
}

// TestHugeFiles: a file of 1 GiB is refused unread, as rules and as rows.
func TestHugeFiles(t *testing.T) {
	t.Parallel()
	path := writeTest(t, "huge", nil)
	for size, want := range map[int64]string{1 << 30: "the row is longer than 4 MiB", 1<<30 + 1: "the file is larger than 1 GiB"} {
		if err := os.Truncate(path, size); err != nil { // a hole: it takes no room
			t.Fatal(err)
		}
		status, _, stderr := checkFile(t, path)
		if status != exitUsage || !strings.Contains(stderr, "the rules are longer than") {
			t.Errorf("rules of %d bytes: exit status %d, stderr %q", size, status, stderr)
		}
		status, _, stderr = newFake(t, "check", "if ip_dest @old from "+path).run()
		if status != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("rows of %d bytes: exit status %d, stderr %q", size, status, stderr)
		}
	}
}

// TestStdinFails: what breaks while it is read is a failure, not a mistake.
func TestStdinFails(t *testing.T) {
	t.Parallel()
	f := newFake(t, "check", "-f", "-")
	f.Stdin = iotest.ErrReader(os.ErrDeadlineExceeded)
	status, _, stderr := f.run()
	wantText(t, "stderr", stderr, "repacket: error: stdin: i/o timeout\n")
	if status != exitFailed {
		t.Errorf("exit status %d", status)
	}
}

// TestRowsBesideTheRuleFile: what a rule file names is looked for in its folder.
func TestRowsBesideTheRuleFile(t *testing.T) {
	t.Parallel()
	rules := writeTest(t, "rules.txt", []byte("if ip_dest @old then ip_dest @new from moves.csv\n"))
	moves := filepath.Join(filepath.Dir(rules), "moves.csv")
	_, _, stderr := checkFile(t, rules)
	wantText(t, "stderr", stderr, "repacket: error: "+rules+":1:40: moves.csv: there is no such file\n"+
		"    if ip_dest @old then ip_dest @new from moves.csv\n"+strings.Repeat(" ", 43)+"^~~~~~~~~\n"+
		"  hint: looked for as "+moves+"\n")
	if err := os.WriteFile(moves, []byte("old,new\n10.0.0.1,10.0.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := checkFile(t, rules); status != 0 || stderr != "" {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	status, _, stderr := newFake(t, "check", "if ip_dest @old then ip_dest @new from "+moves).run()
	if status != 0 || stderr != "" {
		t.Errorf("exit status %d: %s", status, stderr)
	}
}

// oneWayWarning is what check says of rules that have a way back, which it cannot know.
var oneWayWarning = regexp.MustCompile(`(?m)^repacket: warning: TCP connections do not survive .*\n.*\n.*\n  hint: .*\n`)

// TestExamples: check takes the lines of examples.txt, flags included.
func TestExamples(t *testing.T) {
	data, err := os.ReadFile("../rule/testdata/examples.txt")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("moves.csv", []byte("old,new\n10.0.0.1,10.1.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		status, stdout, stderr := newFake(t, append([]string{"check"}, strings.Fields(line)...)...).run()
		if strings.HasSuffix(line, " all then ttl 65\n") { // it stops IPv6, and that is said
			stderr = strings.TrimPrefix(stderr, "repacket: warning: neighbour discovery takes a hop limit of 255 only: with another one IPv6 stops\n"+
				"    if all then ttl 65\n                ^~~~~~\n  hint: for all but ICMPv6: if not icmp6 then ttl 65\n")
		}
		stderr = oneWayWarning.ReplaceAllString(stderr, "")
		if status != 0 || stderr != "" || !strings.HasPrefix(stdout, "rule 1: ") {
			t.Errorf("%s: exit status %d\n%s", line, status, stderr)
		}
	}
}
