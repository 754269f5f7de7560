package top

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"repacket/internal/run"
)

// clock is what the kernel measures with.
type clock struct{ on, closed int }

func (c *clock) Close() error {
	c.on--
	c.closed++
	return nil
}

// screenOf is a table that has been given two samples, a second apart.
func screenOf(width, height int) (*model, *clock) {
	c := &clock{}
	runs := uint64(0)
	m := newModel(Config{
		TimePrograms: func() (io.Closer, error) { c.on++; return c, nil },
		RunTime: func(id uint32) (time.Duration, uint64, error) {
			if id != 7 {
				return 0, 0, errors.New("another program")
			}
			runs += 10
			return time.Duration(runs * 33), runs, nil
		},
		Explain: func(text string) string { return "rule 1: " + text + "\n  inverse: none\n" },
	})
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	m.Update(sampled{start, []run.Attached{rules("eth1", "web,", 0, 0)}, nil})
	m.Update(sampled{after(1), []run.Attached{rules("eth1", "web,", 1500, 500)}, nil})
	return m, c
}

// press presses keys, by their names or single letters.
func press(m *model, keys ...string) {
	named := map[string]tea.KeyPressMsg{
		"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "backspace": {Code: tea.KeyBackspace},
		"down": {Code: tea.KeyDown}, "up": {Code: tea.KeyUp}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl},
	}
	for _, k := range keys {
		msg, ok := named[k]
		if !ok {
			msg = tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
		}
		m.Update(msg)
	}
}

// plain is the screen without styles, and without what is blank at the ends.
func plain(m *model) string {
	var lines []string
	for _, line := range m.screen() {
		lines = append(lines, strings.TrimRight(ansi.Strip(line), " "))
	}
	return strings.Trim(regexp.MustCompile(`\n{3,}`).ReplaceAllString(strings.Join(lines, "\n"), "\n\n"), "\n")
}

func wantScreen(t *testing.T, m *model, want string) {
	t.Helper()
	if got := plain(m); got != want {
		t.Errorf("the screen is\n%s\nwant\n%s", got, want)
	}
}

const keysOfList = "\n\nq quit  enter rule  / filter  s sort  p pause  n nanoseconds"

const header = "INTERFACE       DIR RULE       PKTS/S BYTES/S SHARE HISTORY      WORDS\n"

const (
	webLine    = "eth1            in  web         1.50k    150k   75%            █ if udp_dest 4\n"
	secondLine = "eth1            in  2             500   50.0k   25%            █ if udp_dest 44"
)

// TestList: the table of 80 columns.
func TestList(t *testing.T) {
	t.Parallel()
	m, _ := screenOf(Columns, Lines)
	wantScreen(t, m, "repacket top: 2 rules on 1 interface, 2.00k pkts/s, 200k bytes/s\nsorted by pkts/s\n"+header+webLine+secondLine+keysOfList)
}

// TestFilter: it holds while it is typed, and letters are no keys then.
func TestFilter(t *testing.T) {
	t.Parallel()
	m, _ := screenOf(Columns, Lines)
	press(m, "/", "q", "backspace", "w")
	const title = "repacket top: 2 rules on 1 interface, 2.00k pkts/s, 200k bytes/s\nsorted by pkts/s  filter: "
	wantScreen(t, m, title+"w_\n"+header+strings.TrimSuffix(webLine, "\n")+keysOfList)
	press(m, "x")
	wantScreen(t, m, title+"wx_\n"+header+"\nno rule has wx"+keysOfList)
	press(m, "backspace", "enter")
	wantScreen(t, m, title+"w (esc clears)\n"+header+strings.TrimSuffix(webLine, "\n")+keysOfList)
	press(m, "esc")
	if m.filter != "" || m.typing {
		t.Errorf("the filter is %q", m.filter)
	}
}

// TestRulePage: all that is known of the rule that is selected, as long as it is there.
func TestRulePage(t *testing.T) {
	t.Parallel()
	m, _ := screenOf(Columns, Lines)
	press(m, "down", "enter")
	wantScreen(t, m, `repacket top: 2 rules on 1 interface, 2.00k pkts/s, 200k bytes/s
sorted by pkts/s
rule       2
interface  eth1
hook       tc, packets that arrive
owner      attached, by Repacket 0.9.0; stays until detach
counted    500 packets, 50000 bytes
now        500 pkts/s, 50.0k bytes/s, 25% of all
program    not measured (n)
history                                                               █

rule 1: if udp_dest 44
  inverse: none

esc back  p pause  n nanoseconds  q quit`)
	held := rules("eth1", "web", 1500)
	held.PID, held.Release = 4711, ""
	m.Update(sampled{after(2), []run.Attached{held}, nil})
	if got := plain(m); !strings.Contains(got, "owner      a run; goes with process 4711\n") {
		t.Error(got)
	}
	m.Update(sampled{after(3), nil, nil})
	if got := plain(m); !strings.Contains(got, "\nthe rule is gone\n") {
		t.Error(got)
	}
	press(m, "esc")
	if got := plain(m); !strings.Contains(got, "\nnothing of Repacket is attached\n") {
		t.Error(got)
	}
}

// TestPause: what comes is not shown until it goes on; then the rate is that of the whole time.
func TestPause(t *testing.T) {
	t.Parallel()
	m, _ := screenOf(Columns, Lines)
	press(m, "p")
	m.Update(sampled{after(2), []run.Attached{rules("eth1", "web,", 9000, 9000)}, nil})
	if got := plain(m); !strings.Contains(got, "sorted by pkts/s  PAUSED\n") || !strings.Contains(got, webLine) {
		t.Error(got)
	}
	press(m, "p")
	m.Update(sampled{after(4), []run.Attached{rules("eth1", "web,", 4500, 500)}, nil})
	if got := rates(m.table.rows)["web"]; got != 1000 { // 3000 in 3 seconds
		t.Errorf("%v packets a second", got)
	}
}

// TestNanoseconds: the kernel measures when that was confirmed, and no more when it was switched off
// or top ends.
func TestNanoseconds(t *testing.T) {
	t.Parallel()
	m, c := screenOf(Columns, Lines)
	press(m, "n")
	if got := plain(m); c.on != 0 || !strings.Contains(got, "every eBPF program of this machine") {
		t.Errorf("it measures %d times, and says\n%s", c.on, got)
	}
	if press(m, "x"); c.on != 0 || m.page != list {
		t.Errorf("any other key is a yes")
	}
	press(m, "n", "n")
	if c.on != 1 {
		t.Fatalf("it measures %d times", c.on)
	}
	for i := range 2 {
		m.Update(sampled{after(float64(2 + i)), []run.Attached{rules("eth1", "web,", 2000, 500)}, nil})
	}
	press(m, "enter")
	if got := plain(m); !strings.Contains(got, "program    33 ns a packet, all rules of the program together\n") || !strings.Contains(got, "nanoseconds are on") {
		t.Error(got)
	}
	if press(m, "n"); c.on != 0 || c.closed != 1 {
		t.Errorf("switched off, it measures %d times", c.on)
	}
	press(m, "esc", "n", "n")
	if err := m.untime(); err != nil || c.on != 0 || c.closed != 2 {
		t.Errorf("at the end it measures %d times, %v", c.on, err)
	}
}

// TestErrors: an error of listing is shown until listing works again.
func TestErrors(t *testing.T) {
	t.Parallel()
	m, _ := screenOf(Columns, Lines)
	m.Update(sampled{after(2), nil, errors.New("the kernel is gone\x1b[2J")})
	if got := plain(m); !strings.Contains(got, "error: the kernel is gone\ufffd[2J\n") || !strings.Contains(got, webLine) {
		t.Error(got)
	}
	m.Update(sampled{after(3), []run.Attached{rules("eth1", "web", 0)}, nil})
	if got := plain(m); strings.Contains(got, "error") {
		t.Error(got)
	}
}

// TestQuit: q and Ctrl-C quit on every page, but not while a filter is typed.
func TestQuit(t *testing.T) {
	t.Parallel()
	for _, before := range [][]string{nil, {"enter"}, {"n"}} {
		for _, key := range []tea.KeyPressMsg{{Code: 'q', Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}} {
			m, _ := screenOf(Columns, Lines)
			press(m, before...)
			if _, cmd := m.Update(key); cmd == nil || cmd() != tea.Quit() {
				t.Errorf("%v: behind %q it goes on", key, before)
			}
		}
	}
	m, _ := screenOf(Columns, Lines)
	press(m, "/")
	if _, cmd := m.Update(tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd != nil {
		t.Error("q in a filter quits")
	}
}

// TestTooSmall: a terminal of 20 columns is told what is needed, in lines that it has.
func TestTooSmall(t *testing.T) {
	t.Parallel()
	m, _ := screenOf(20, 10)
	wantScreen(t, m, "the terminal has 20\ncolumns and 10\nlines, and top needs\n80 and 24")
	press(m, "q")
	m.Update(tea.WindowSizeMsg{Width: Columns, Height: Lines})
	if got := plain(m); !strings.Contains(got, webLine) {
		t.Error(got)
	}
}

// style are the only escapes that the screen has.
var style = regexp.MustCompile("\x1b\\[[017]?m")

// TestScreenFits: whatever interfaces and rules are called, whatever is typed and however large the
// terminal is, no line is wider than it, there are no more lines than it has, and it gets nothing that
// it acts on but bold and reverse.
func TestScreenFits(t *testing.T) {
	t.Parallel()
	text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\x1b[2J\x9b\n\r\t世🙂\u202e"))))
	rapid.Check(t, func(t *rapid.T) {
		width, height := rapid.IntRange(1, 200).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
		m, _ := screenOf(width, height)
		m.Everywhere = rapid.Bool().Draw(t, "everywhere")
		var all []run.Attached
		for range rapid.IntRange(0, 60).Draw(t, "rules") {
			p := rules(text.Draw(t, "interface"), "x", rapid.Uint64().Draw(t, "packets"))
			p.Rules[0].Name, p.Rules[0].Text, p.Namespace, p.Release = text.Draw(t, "name"), text.Draw(t, "text"), text.Draw(t, "namespace"), text.Draw(t, "release")
			all = append(all, p)
		}
		m.Update(sampled{after(2), all, nil})
		press(m, rapid.SliceOf(rapid.SampledFrom(strings.Fields("enter esc / n s p down up backspace a q 世"))).Draw(t, "keys")...)
		lines := m.screen()
		if len(lines) > height {
			t.Fatalf("%d lines of %d", len(lines), height)
		}
		for _, line := range lines {
			if ansi.StringWidth(line) > width {
				t.Fatalf("%d columns of %d: %q", ansi.StringWidth(line), width, line)
			}
			for _, r := range style.ReplaceAllString(line, "") {
				if !unicode.IsPrint(r) {
					t.Fatalf("%q in %q", r, line)
				}
			}
		}
	})
}
