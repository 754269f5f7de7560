package cli

import (
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"repacket/internal/dissect"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// level is a flag that can be given several times.
type level int

// Set counts a flag that is given once more, or takes all back.
func (l *level) Set(value string) error {
	on, err := strconv.ParseBool(value)
	if *l++; !on {
		*l = 0
	}
	return err
}

// Type and String are those of a flag without a value.
func (*level) Type() string     { return "bool" }
func (l *level) String() string { return strconv.FormatBool(*l > 0) }

// terminalRate is how many packets a second a terminal is shown, unless --show-rate says
// otherwise.
const terminalRate = 1000

// showing is what packets a run shows, and how.
type showing struct {
	level    int  // of -v; 0 shows none
	hex      bool // their bytes too
	rate     uint32
	every    uint32
	most     uint64
	terminal bool // it is a person who looks at them
}

// asksToShow reports whether a flag asks for packets.
func (o *options) asksToShow() bool {
	return o.verbose > 0 || o.hex || o.show != "" || o.showRate != "" || o.showEvery != ""
}

// checkShow reads the flags of what is shown.
func (o *options) checkShow() error {
	for _, f := range []struct {
		name, value string
		highest     uint64
		to          *uint64
	}{
		{"--show", o.show, math.MaxInt64, &o.showMost},
		{"--show-rate", o.showRate, math.MaxInt32, &o.showPerSecond},
		{"--show-every", o.showEvery, math.MaxInt32, &o.showOneOf},
	} {
		if f.value == "" {
			continue
		}
		n, err := strconv.ParseUint(f.value, 10, 64)
		if err != nil || n == 0 || n > f.highest {
			return usage(f.name+" 10", "%s takes a number from 1 to %d, not %q", f.name, f.highest, f.value)
		}
		*f.to = n
	}
	o.snap = wholePackets
	if o.snaplen != "" {
		n, err := strconv.ParseUint(o.snaplen, 10, 32)
		if err != nil || n == 0 || n > wholePackets {
			return usage("-s 128", "-s takes a number of bytes from 1 to %d, not %q", wholePackets, o.snaplen)
		}
		o.snap = int(n)
	}
	if o.snaplen != "" && (o.write == "" || o.read != "") {
		return usage("-w FILE.pcapng", "-s is for the packets that a run writes to a file")
	}
	switch {
	case o.backend == "clang" && o.asksToShow():
		return usage("the built-in compiler records packets: leave out --backend", "-v does not work with --backend clang")
	case o.backend == "clang" && o.why:
		return usage("the built-in compiler counts why: leave out --backend", "--why does not work with --backend clang")
	}
	return nil
}

// showing is which packets a run of rules shows: those that were asked for, and where all rules
// are dry runs those that match, since that is what they are for.
func (a *app) showing(p *rule.Program) showing {
	o := &a.opt
	s := showing{
		level: int(o.verbose), hex: o.hex, rate: uint32(o.showPerSecond), every: uint32(o.showOneOf), most: o.showMost,
		terminal: a.env.IsTerminal(a.env.Stdout),
	}
	if o.read != "" { // what is read waits for whoever looks at it
		s.rate = 0
		if o.write == "" && !o.quiet && !o.json {
			s.level = max(1, s.level)
		}
		if o.asksToShow() {
			s.level = max(1, s.level)
		}
		return s
	}
	looks := !slices.ContainsFunc(p.Written, func(w rule.Written) bool { return !w.DryRun })
	if o.asksToShow() || looks && !o.quiet && !o.json && o.write == "" && o.backend != "clang" {
		s.level = max(1, s.level)
	}
	if s.rate == 0 && s.terminal && !o.json {
		s.rate = terminalRate
	}
	return s
}

// shownAtOnce is how many packets wait to be written before who reads them off the ring waits.
const shownAtOnce = 256

// shower makes texts of packets where they are read, and hands them to the run, which writes
// them: nobody else writes.
type shower struct {
	showing
	style dissect.Style
	json  bool
	iface string   // by its primary name
	files *filesOf // where packets are those of a file, or nil
	width func() int
	texts chan []byte
	save  *savefile // of -w, or nil
	// admit says which packets are shown, where the kernel does not.
	admit limiter
	// wire counts what was shown as packets on the wire, unread what was saved and not shown because
	// nobody reads fast enough.
	shown, wire, lost, unread atomic.Uint64
	counted                   uint64 // packets, when soFar was asked last
}

// newShower is nil where packets are neither shown nor saved; save may be nil.
func (a *app) newShower(s showing, save *savefile) *shower {
	if save == nil && s.level == 0 {
		return nil
	}
	return &shower{
		showing: s, style: dissect.Style{Color: a.out.colorOut}, json: a.opt.json, save: save, admit: limiter{showing: s},
		width: func() int { return a.env.Width(a.env.Stdout) }, texts: make(chan []byte, shownAtOnce),
	}
}

// recording is what the run is asked for. Where packets are saved the kernel records all, and
// those to show are chosen here.
func (s *shower) recording() *run.Recording {
	switch {
	case s == nil:
		return nil
	case s.save != nil:
		return &run.Recording{
			Bytes: s.save.snap, Packet: s.packet, Drained: s.save.flush,
			Lost: func(n uint64) { s.lost.Add(n); s.save.lost(n) },
		}
	}
	return &run.Recording{
		Rate: s.rate, Every: s.every, Most: s.most, Packet: s.packet, Lost: func(n uint64) { s.lost.Add(n) },
	}
}

// limiter chooses packets as programs in the kernel do.
type limiter struct {
	showing
	mu                  sync.Mutex
	seen, taken, inside uint64
	window              time.Time
}

// takes reports whether a packet of a time is one to show.
func (l *limiter) takes(at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen++
	if l.every > 1 && (l.seen-1)%uint64(l.every) != 0 || l.most > 0 && l.taken >= l.most {
		return false
	}
	if at.Sub(l.window) >= time.Second {
		l.window, l.inside = at, 0
	}
	if l.rate > 0 && l.inside >= uint64(l.rate) {
		return false
	}
	l.inside++
	l.taken++
	return true
}

// on says on which interface, by its primary name, the packets are; s may be nil.
func (s *shower) on(iface string) {
	if s == nil {
		return
	}
	if s.iface = iface; s.save != nil {
		s.save.iface = iface
	}
}

// saved is the file of -w, or nil.
func (s *shower) saved() *savefile {
	if s == nil {
		return nil
	}
	return s.save
}

// lostSoFar is how many packets were read too slowly to be shown or saved.
func (s *shower) lostSoFar() uint64 {
	if s == nil {
		return 0
	}
	return s.lost.Load() + s.unread.Load()
}

// savedLine says for the summary what was saved, or "".
func (s *shower) savedLine() string {
	if s == nil {
		return ""
	}
	return s.save.line(s.lost.Load())
}

// queue is where texts come from; nil never has any.
func (s *shower) queue() <-chan []byte {
	if s == nil {
		return nil
	}
	return s.texts
}

func (s *shower) packet(p *run.Packet) {
	if s.save != nil {
		s.save.packet(p)
		if s.level == 0 || !s.admit.takes(p.Time) {
			return
		}
		p.Before = p.Before[:min(len(p.Before), shownBytes)]
		p.After = p.After[:min(len(p.After), shownBytes)]
	}
	p.OffloadedChecksum = p.OffloadedChecksum || dissect.ChecksumOffloaded(p)
	text := s.text(dissect.New(p))
	if s.save == nil {
		s.texts <- text
	} else {
		select { // the file does not wait for a terminal
		case s.texts <- text:
		default:
			s.unread.Add(1)
			return
		}
	}
	s.shown.Add(1)
	s.wire.Add(uint64(max(1, p.Segments)))
}

// shownBytes is how many bytes of a packet are shown at most.
const shownBytes = 128

// text is the packet as it was asked for.
func (s *shower) text(d dissect.Packet) []byte {
	if s.json {
		return jsonLine(s.object(d))
	}
	style, text := s.style, ""
	if s.level == 1 {
		text = d.Line(style) + "\n"
	} else {
		style.Width = s.width()
		text = d.Block(style)
	}
	if s.hex {
		text += d.Bytes(style)
	}
	return []byte(strings.Map(visibleOrPainted, text))
}

// visibleOrPainted is visible, but lets escapes of colours and tabs be.
func visibleOrPainted(r rune) rune {
	if r == '\x1b' || r == '\t' {
		return r
	}
	return visible(r)
}

// packetEvent is a packet as JSON.
type packetEvent struct {
	event
	*run.Target
	*filesOf
	// Rule is the rule's number, from 1.
	Rule     int    `json:"rule"`
	Name     string `json:"name,omitempty"`
	Verdict  string `json:"verdict"`
	Redirect string `json:"redirect,omitempty"`
	Length   int    `json:"length"`
	Segments int    `json:"segments,omitempty"` // of a GSO packet
	// OffloadedChecksum: the checksum of TCP or UDP is computed behind the hook, and left out.
	OffloadedChecksum bool           `json:"offloaded_checksum,omitempty"`
	Before            dissect.Object `json:"before"`
	After             dissect.Object `json:"after,omitempty"` // but where it was dropped
	Changed           []string       `json:"changed"`
	BytesBefore       string         `json:"bytes_before,omitempty"` // -x: in hexadecimal
	BytesAfter        string         `json:"bytes_after,omitempty"`
}

func (s *shower) object(d dissect.Packet) packetEvent {
	e := packetEvent{
		event: event{schema, "packet", d.Time}, filesOf: s.files,
		Rule: d.Rule + 1, Name: d.Written().Name, Verdict: d.Written().Verdict.String(), Redirect: d.Redirect(),
		Length: d.Length, OffloadedChecksum: d.OffloadedChecksum, Changed: []string{},
	}
	if s.files == nil {
		e.Target = &run.Target{Interface: s.iface, Direction: d.Direction}
	}
	if d.Segments > 1 {
		e.Segments = d.Segments
	}
	e.Before, e.After = d.Objects()
	for _, v := range d.Changes() {
		e.Changed = append(e.Changed, v.Field.Name)
	}
	if s.hex {
		e.BytesBefore, e.BytesAfter = hex.EncodeToString(d.Before), hex.EncodeToString(d.After)
	}
	return e
}

// close closes a session while what it still hands over is written.
func (r *running) close() (counts run.Counts, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		counts, err = r.session.Close()
		r.leave() // what follows is printed, which may take a reader as long as it likes
	}()
	for {
		select {
		case text := <-r.shower.queue():
			_, _ = r.out.Write(text)
		case <-done:
			for {
				select {
				case text := <-r.shower.queue():
					_, _ = r.out.Write(text)
				default:
					return counts, err
				}
			}
		}
	}
}
