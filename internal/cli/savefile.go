package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"repacket/internal/bpf"
	"repacket/internal/dissect"
	"repacket/internal/field"
	"repacket/internal/pcapng"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/spelling"
)

// wholePackets is the snapshot length where none is given, as tcpdump's.
const wholePackets = 1 << 18

// checkSave rejects files of -w that a run cannot write.
func (a *app) checkSave() error {
	o := &a.opt
	switch {
	case o.write == "":
		return nil
	case strings.HasSuffix(o.write, ".pcap"):
		return usage("-w "+o.write+"ng", "-w %s: a run writes both sides of each packet, which only pcapng can hold", o.write)
	case o.write == "-" && (o.json || o.asksToShow()):
		return usage("-w FILE.pcapng", "-w - writes packets to stdout, which -v and --json write to as well")
	case o.write == "-" && a.env.IsTerminal(a.env.Stdout):
		return usage("| wireshark -k -i -, or -w FILE.pcapng", "-w - writes a capture file to stdout, which is a terminal")
	case o.backend == "clang":
		return usage("the built-in compiler records packets: leave out --backend", "-w does not work with --backend clang")
	}
	return nil
}

// savefile is the file of -w: both sides of each packet as it is recorded. Where it cannot be
// written any more, the rest is counted and the rules go on.
type savefile struct {
	name    string
	snap    int
	file    io.Writer
	close   func() error // nil for stdout, which is not ours
	made    bool         // the file was not there before
	mu      sync.Mutex   // held while the file is written, which can take as long as its reader likes
	out     []byte       // to be written
	begun   bool
	iface   string
	next    uint64 // packet to write
	dropped uint64 // not recorded since the last packet
	options map[ruleOf]*savedRule
	last    *savedRule // that acted
	pending uint64     // packets that wait in out
	savedState
}

// savedState is what has become of a file of -w. Its lock is never held for long, so that a reader
// who is stuck does not stop the run.
type savedState struct {
	state sync.Mutex
	// written and failed count packets; err is why the rest could not be written.
	written, failed uint64
	err             error
	told            bool // of the error
}

// ruleOf is a rule of a program.
type ruleOf struct {
	program *rule.Program
	rule    int
}

// savedRule is what the blocks of all packets have on which a rule acts: options, but for those of
// the one packet.
type savedRule struct {
	ruleOf
	options []byte
	alone   bool // there is but one side
}

// saveBuffer is how many bytes are gathered before they are written, at most: what comes within
// 10 ms is.
const saveBuffer = 1 << 18

// newSavefile opens the file of -w, or is nil where there is none. What is in it stays until the
// run has begun.
func (a *app) newSavefile() (*savefile, error) {
	s := &savefile{name: nameOf(a.opt.write, "stdout"), snap: a.opt.snap, options: map[ruleOf]*savedRule{}}
	switch a.opt.write {
	case "":
		return nil, nil //nolint:nilnil // there is none
	case "-":
		s.file = a.env.Stdout
	default:
		err := a.env.AsCaller(func() error {
			_, err := os.Stat(a.opt.write)
			s.made = errors.Is(err, fs.ErrNotExist)
			f, err := os.OpenFile(a.opt.write, os.O_CREATE|os.O_WRONLY, 0o644)
			if err == nil {
				s.file, s.close = f, f.Close
			}
			return err
		})
		if err != nil {
			return nil, &Failure{Status: exitFailed, Err: fmt.Errorf("%s: %w", a.opt.write, reason(err))}
		}
	}
	s.out = make([]byte, 0, 2*saveBuffer)
	return s, nil
}

// abandon leaves the file as it was before a run that has not begun; s may be nil.
func (s *savefile) abandon(a *app) {
	if s == nil || !s.made {
		return
	}
	_ = a.env.AsCaller(func() error { return os.Remove(s.name) }) // it is empty
}

// The link types of pcapng (the registry of LINKTYPE values, tcpdump.org).
var linkTypes = map[field.Link]uint16{field.Ethernet: 1, field.RawIP: 101}

// The interfaces of the file, in their order.
const (
	beforeInterface = iota
	afterInterface
)

// begin writes what is in front of the packets.
func (s *savefile) begin(link field.Link) {
	s.begun = true
	if f, ok := s.file.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			s.fail(f.Truncate(0))
		}
	}
	o := binary.LittleEndian
	release, _ := buildVersion()
	b, start := pcapng.OpenSection(nil, o)
	b = pcapng.AppendText(b, o, pcapng.SectionSystem, runtime.GOOS+"/"+runtime.GOARCH)
	b = pcapng.AppendText(b, o, pcapng.SectionApplication, "repacket "+release)
	b = pcapng.Close(pcapng.AppendEndOfOptions(b, o), o, start)
	for _, side := range []string{"before", "after"} {
		b, start = pcapng.OpenInterface(b, o, linkTypes[link], uint32(s.snap))
		b = pcapng.AppendText(b, o, pcapng.InterfaceName, s.iface+":"+side)
		b = pcapng.AppendOption(b, o, pcapng.InterfaceTimeRes, []byte{pcapng.TimeResNanoseconds})
		b = pcapng.Close(pcapng.AppendEndOfOptions(b, o), o, start)
	}
	s.out = append(s.out, b...)
}

// fail keeps the first error.
func (s *savedState) fail(err error) {
	s.state.Lock()
	defer s.state.Unlock()
	if s.err == nil && err != nil {
		s.err = reason(err)
	}
}

// failure is why packets are not written, or nil.
func (s *savedState) failure() error {
	s.state.Lock()
	defer s.state.Unlock()
	return s.err
}

// count counts packets, as written unless there is an error.
func (s *savedState) count(packets uint64) {
	s.state.Lock()
	defer s.state.Unlock()
	if s.err != nil {
		s.failed += packets
	} else {
		s.written += packets
	}
}

// packet writes both sides of a packet, or the one where it was dropped or nothing is rewritten.
func (s *savefile) packet(p *run.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		s.begin(p.Link)
	}
	s.next++
	s.pending++
	if s.failure() != nil {
		s.settle()
		return
	}
	r := s.last
	if r == nil || r.rule != p.Rule || r.program != p.Program {
		r = s.optionsOf(p)
		s.last = r
	}
	s.side(p, beforeInterface, p.Before, r.options)
	s.dropped = 0
	if p.After != nil && !r.alone {
		s.side(p, afterInterface, p.After, r.options)
	}
	if len(s.out) >= saveBuffer {
		s.write()
	}
}

// side appends the block of one side of a packet, with options.
func (s *savefile) side(p *run.Packet, iface uint32, data, options []byte) {
	o := binary.LittleEndian
	data = data[:min(len(data), s.snap)]
	b, start := pcapng.OpenPacket(s.out, o, iface, uint64(p.Time.UnixNano()), uint32(p.Length), data)
	b = append(b, options...)
	if iface == beforeInterface && s.dropped > 0 {
		b = pcapng.AppendUint64Option(b, o, pcapng.PacketDropCount, s.dropped)
	}
	b = pcapng.AppendUint64Option(b, o, pcapng.PacketID, s.next)
	s.out = pcapng.Close(pcapng.AppendEndOfOptions(b, o), o, start)
}

// optionsOf is what the blocks of a packet have because of the rule that acted on it: a comment, the
// direction, and the verdict.
func (s *savefile) optionsOf(p *run.Packet) *savedRule {
	const inbound, outbound = 1, 2 // bits 0 and 1 of the flags
	of := ruleOf{p.Program, p.Rule}
	if r, ok := s.options[of]; ok {
		return r
	}
	if s.last != nil && s.last.program != p.Program { // those of rules that were read again since are not kept
		s.forget(p.Program, s.last.program)
	}
	flags := uint32(inbound)
	if p.Direction == run.Out {
		flags = outbound
	}
	o := binary.LittleEndian
	b := pcapng.AppendText(nil, o, pcapng.Comment, run.RuleComment(p.Rule, p.Written(), dissect.Packet{Packet: p}.Redirect()))
	b = pcapng.AppendUint32Option(b, o, pcapng.PacketFlags, flags)
	r := &savedRule{ruleOf: of, options: appendVerdict(b, p), alone: p.Written().DryRun}
	s.options[of] = r
	return r
}

// forget forgets all but the rules of two programs: a run has one, and one for replies.
func (s *savefile) forget(but ...*rule.Program) {
	maps.DeleteFunc(s.options, func(of ruleOf, _ *savedRule) bool { return !slices.Contains(but, of.program) })
}

// appendVerdict appends the verdict as the program returned it.
func appendVerdict(b []byte, p *run.Packet) []byte {
	at, kind := bpf.TC, byte(pcapng.VerdictTC)
	if p.Hook.IsXDP() {
		at, kind = bpf.XDP, pcapng.VerdictXDP
	}
	var value [9]byte
	value[0] = kind
	binary.LittleEndian.PutUint64(value[1:], uint64(int64(int32(at.Verdict(p.Written().Verdict)))))
	return pcapng.AppendOption(b, binary.LittleEndian, pcapng.PacketVerdict, value[:])
}

// write writes what has been gathered.
func (s *savefile) write() {
	if s.failure() == nil && len(s.out) > 0 {
		_, err := s.file.Write(s.out)
		s.fail(err)
	}
	s.out = s.out[:0]
	s.settle()
}

// settle counts the packets that waited.
func (s *savefile) settle() {
	s.count(s.pending)
	s.pending = 0
}

// lost counts packets that were not recorded.
func (s *savefile) lost(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped += n
}

// flush writes what has been gathered.
func (s *savefile) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		s.write()
	}
}

// finish ends the file, also one without packets. The error is why some are missing.
func (s *savefile) finish() error {
	if s == nil {
		return nil
	}
	if !s.mu.TryLock() { // whoever hands over packets is gone, or waits for the reader of a pipe
		return &Failure{
			Status: exitFailed, Err: fmt.Errorf("%s: nobody reads it: the last packets were rewritten and not written to it", s.name),
			Hint: "what is there can be read",
		}
	}
	if !s.begun {
		s.begin(field.Ethernet)
	}
	s.write()
	s.mu.Unlock()
	if s.close != nil {
		s.fail(s.close())
	}
	err := s.failure()
	if err == nil {
		return nil
	}
	return &Failure{
		Status: exitFailed, Err: fmt.Errorf("%s: %w: %d packets were rewritten and not written to it", s.name, err, s.failed),
		Hint: "what is there can be read",
	}
}

// tellUnsaved warns once that packets are not written any more.
func (r *running) tellUnsaved() {
	s := r.shower.saved()
	if s == nil {
		return
	}
	s.state.Lock()
	err, told := s.err, s.told
	s.told = err != nil
	s.state.Unlock()
	if err != nil && !told {
		r.report.clear()
		r.out.advise([]run.Advice{{Message: fmt.Sprintf("%s: %v: packets are not written any more, and the rules go on", s.name, err)}})
	}
}

// savedCounts is how many packets were written to the file of -w, and how many were not: because
// the ring was full, or the file could not be written.
type savedCounts struct {
	Written    uint64 `json:"written"`
	NotWritten uint64 `json:"not_written"`
}

// counts is how many packets were written so far; s may be nil.
func (s *savefile) counts(shower *shower) *savedCounts {
	if s == nil {
		return nil
	}
	s.state.Lock()
	defer s.state.Unlock()
	return &savedCounts{s.written, s.failed + shower.lost.Load()}
}

// line says for the summary what was written; s may be nil.
func (s *savefile) line(notRecorded uint64) string {
	if s == nil {
		return ""
	}
	s.state.Lock()
	defer s.state.Unlock()
	text := fmt.Sprintf("%s written to %s", packets(s.written), s.name)
	if notRecorded > 0 {
		text += fmt.Sprintf(", %s not written (ring full)", spelling.Thousands(int(notRecorded)))
	}
	return text
}
