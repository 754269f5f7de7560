package top

import (
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"repacket/internal/run"
)

// Bounds of what is shown, and how often.
const (
	Columns     = 80 // the least that a terminal must have
	Lines       = 24
	mostFrames  = 10 // a second
	sampleEvery = time.Second
)

// Config is what the table is made of.
type Config struct {
	// List finds the rules that are shown.
	List func() ([]run.Attached, error)
	// Everywhere: they are those of all network namespaces.
	Everywhere bool
	// TimePrograms has the kernel measure how long programs run, all of the machine, until what it
	// gives is closed; RunTime is how long a program has run in all and how often.
	TimePrograms func() (io.Closer, error)
	RunTime      func(program uint32) (time.Duration, uint64, error)
	// Explain says what a rule does.
	Explain func(text string) string
	In      io.Reader
	Out     io.Writer
}

// Run shows the table until somebody quits. The terminal is then as it was, and the kernel measures no
// more.
func Run(c Config) error {
	m := newModel(c)
	_, err := tea.NewProgram(m, tea.WithInput(c.In), tea.WithOutput(c.Out), tea.WithFPS(mostFrames)).Run()
	if errors.Is(err, tea.ErrInterrupted) {
		err = nil
	}
	return errors.Join(err, m.untime())
}

// sampled is what was found at a time.
type sampled struct {
	at  time.Time
	all []run.Attached
	err error
}

// page is what is on the screen.
type page int

const (
	list page = iota
	rulePage
	asking // whether the kernel is to measure
)

// model is what is shown, and what keys do to it.
type model struct {
	Config
	width, height int
	table         table
	err           error // of the last sample
	page          page
	sort          order
	filter        string
	typing        bool // the filter
	paused        bool
	selected      string // the key of a row, or ""
	first         int    // the first row on the screen
	timing        io.Closer
	timed         map[uint32]spent
}

func newModel(c Config) *model { return &model{Config: c, timed: map[uint32]spent{}} }

// Init asks for the first sample.
func (m *model) Init() tea.Cmd { return m.sample }

func (m *model) sample() tea.Msg {
	all, err := m.List()
	return sampled{time.Now(), all, err}
}

// Update is called for each key, sample and change of the size.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case sampled:
		if m.err = msg.err; msg.err == nil && !m.paused {
			m.table.add(msg.at, msg.all)
			m.spend()
		}
		return m, tea.Tick(sampleEvery, func(time.Time) tea.Msg { return m.sample() })
	case tea.KeyPressMsg:
		if m.typing && m.typed(msg) {
			return m, nil
		}
		return m, m.key(msg.String())
	}
	return m, nil
}

// typed takes a key for the filter, and reports whether it was one.
func (m *model) typed(k tea.KeyPressMsg) bool {
	switch name := k.String(); {
	case name == "enter":
		m.typing = false
	case name == "esc":
		m.typing, m.filter = false, ""
	case name == "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	case k.Text != "":
		m.filter += printable(k.Text)
	default:
		return false
	}
	return true
}

// key does what a key stands for.
func (m *model) key(name string) tea.Cmd {
	if m.page == asking {
		if m.page = list; name == "n" {
			m.time()
			return nil
		}
		if name != "q" && name != "ctrl+c" {
			return nil
		}
	}
	switch name {
	case "q", "ctrl+c":
		return tea.Quit
	case "esc":
		if m.page == list {
			m.filter = ""
		}
		m.page = list
	case "enter":
		if m.chosen() != nil {
			m.page = rulePage
		}
	case "/":
		m.page, m.typing = list, true
	case "s":
		m.sort = (m.sort + 1) % orders
	case "p", "space":
		m.paused = !m.paused
	case "n":
		if m.timing == nil {
			m.page = asking
		} else {
			m.err = m.untime()
		}
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-m.rows())
	case "pgdown":
		m.move(m.rows())
	}
	return nil
}

// index is the place of the row that is selected among those that are shown.
func (m *model) index(shown []row) int {
	for i, r := range shown {
		if r.key == m.selected {
			return i
		}
	}
	return 0
}

// chosen is the row that is selected, or nil where there is none.
func (m *model) chosen() *row {
	shown := m.table.shown(m.filter, m.sort)
	if len(shown) == 0 {
		return nil
	}
	r := shown[m.index(shown)]
	m.selected = r.key
	return &r
}

func (m *model) move(by int) {
	if shown := m.table.shown(m.filter, m.sort); len(shown) > 0 {
		m.selected = shown[min(max(m.index(shown)+by, 0), len(shown)-1)].key
	}
}

// spent is how long a program has run in all, how often, and what a packet took of late, or 0.
type spent struct {
	all  time.Duration
	runs uint64
	each time.Duration
}

// time has the kernel measure.
func (m *model) time() { m.timing, m.err = m.TimePrograms() }

// untime has the kernel measure no more.
func (m *model) untime() error {
	if m.timing == nil {
		return nil
	}
	err := m.timing.Close()
	m.timing, m.timed = nil, map[uint32]spent{}
	return err
}

// spend asks how long programs have run since it was asked last.
func (m *model) spend() {
	if m.timing == nil {
		return
	}
	now := map[uint32]spent{}
	for _, r := range m.table.rows {
		id := r.in.ProgramID
		if _, asked := now[id]; asked || id == 0 {
			continue
		}
		all, runs, err := m.RunTime(id)
		if err != nil {
			continue // it has gone
		}
		s := spent{all: all, runs: runs}
		if b, known := m.timed[id]; known && runs > b.runs && all >= b.all {
			s.each = (all - b.all) / time.Duration(runs-b.runs)
		}
		now[id] = s
	}
	m.timed = now
}

// nanoseconds says what a packet takes in the program of a row, as far as that is known.
func (m *model) nanoseconds(r row) string {
	switch s := m.timed[r.in.ProgramID]; {
	case m.timing == nil:
		return "not measured (n)"
	case s.each == 0:
		return "no packets yet"
	default:
		return fmt.Sprintf("%d ns a packet, all rules of the program together", s.each.Nanoseconds())
	}
}
