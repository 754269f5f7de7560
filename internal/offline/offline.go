// Package offline carries rules out on the packets of a capture file: it is the run that
// needs no kernel, beside that of package engine. Packets are rewritten in Go (package
// software) in blocks that are otherwise kept as they are (package capture).
package offline

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"repacket/internal/capture"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/software"
	"repacket/internal/why"
)

// Output is where a capture file is written to. One that can be aborted appears when it is
// committed.
type Output interface {
	Commit() error
	Abort() error
}

// Options say what is to be done with which file.
type Options struct {
	Program *rule.Program
	// Name is the file's name, for messages.
	Name string
	// From is the file. Size is how large it is, or 0 where that is not known.
	From io.Reader
	Size int64
	// To is what is written to, or nil: then packets are counted. If it is an io.WriterAt,
	// what was written can be written again.
	To io.Writer
	// Output is told how the run has ended, or nil.
	Output Output
	// Limit is the number of packets to act on before all pass, or 0 for no limit.
	Limit uint64
	// Seed is that of random numbers.
	Seed uint64
	// Comment adds the rule that has acted to a packet as a comment. Only pcapng has comments.
	Comment bool
	// Record asks for the packets on which rules act, or is nil. Its rate does not count: the
	// file waits.
	Record *run.Recording
	// Why has it counted why the first rules do not act.
	Why bool
	// Patience is how long the end of a pipe is waited for when the run is to stop.
	Patience time.Duration
}

// UsageError is what can never be done with a file.
type UsageError struct{ message, hint string }

func (e *UsageError) Error() string { return e.message }

// Hint says what to do instead.
func (e *UsageError) Hint() string { return e.hint }

// Class is that of a command line that cannot be carried out.
func (*UsageError) Class() run.Class { return run.Usage }

// LinkTypeError says that packets of a link type cannot be read.
type LinkTypeError struct{ Link capture.LinkType }

func (e *LinkTypeError) Error() string {
	return fmt.Sprintf("its packets are %s, which Repacket does not read", e.Link)
}

// Hint says what can be read.
func (*LinkTypeError) Hint() string {
	return "it reads Ethernet, raw IP, Linux cooked (any) and loopback captures"
}

// Class is that of a file that cannot be worked on.
func (*LinkTypeError) Class() run.Class { return run.Unsupported }

// Prepared is a run whose file has been found to be one.
type Prepared struct {
	opt    Options
	reader *capture.Reader
	read   *counting
}

// refused is why rules have no meaning in a file, or nil.
func refused(p *rule.Program) error {
	if p.Replies == nil {
		return nil
	}
	var inverse []string
	for _, info := range p.Explanation() {
		if info.Replies != nil && info.Replies.Mode == "replies" { // a flow that is tracked has none in rules
			inverse = append(inverse, info.Replies.Complete...)
		}
	}
	hint := "leave out replies"
	if len(inverse) > 0 {
		hint += ", and where the file holds replies to rewritten packets, write the inverse: " + strings.Join(inverse, "; ")
	}
	return &UsageError{"replies are for an interface: a file holds those to the packets as they were", hint}
}

// Prepare reads the beginning of a file. The errors are capture.FormatError, UsageError, and
// those of reading.
func Prepare(opt Options) (*Prepared, error) {
	if err := refused(opt.Program); err != nil {
		return nil, err
	}
	p := &Prepared{opt: opt, read: &counting{from: opt.From}}
	var err error
	if p.reader, err = capture.NewReader(p.read); err != nil {
		return nil, err
	}
	if opt.Comment && p.reader.Format() == capture.PCAP {
		return nil, &UsageError{"--comment: the format pcap has no comments", "editcap IN.pcap IN.pcapng makes a file of the format pcapng of it"}
	}
	return p, nil
}

// counting counts the bytes that are read.
type counting struct {
	from io.Reader
	n    atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Target is the file, by its name.
func (p *Prepared) Target() run.Target { return run.Target{Interface: p.opt.Name} }

// Advice is what a user should know before: verdicts mean less in a file.
func (p *Prepared) Advice() []run.Advice {
	for _, r := range p.opt.Program.Rules {
		if r.Verdict == rule.Reflect || r.Verdict == rule.ToInterface {
			return []run.Advice{{Note: true, Message: "a file has no interfaces: packets that are reflected or redirected stay in it, rewritten and counted"}}
		}
	}
	return nil
}

// Attach is the error that nothing stays behind a file.
func (p *Prepared) Attach() (run.Attachment, error) {
	return run.Attachment{}, &UsageError{"rules are attached to interfaces, not to files", "leave out -r"}
}

// Start begins to read, and calls ready before.
func (p *Prepared) Start(ready func()) (run.Session, error) {
	s := &Session{
		opt: p.opt, reader: p.reader, read: p.read,
		done: make(chan struct{}), stop: make(chan struct{}),
		counts: make([]tally, len(p.opt.Program.Written)),
	}
	for _, w := range p.opt.Program.Written {
		s.resizes = s.resizes || w.Verdict == rule.Drop
	}
	s.resizes = s.resizes || p.opt.Comment
	if p.opt.Why {
		s.tests = why.Tests(p.opt.Program)
		for range s.workers() {
			s.reasons = append(s.reasons, newReasons(s.tests))
		}
	}
	if _, err := s.machine(field.Ethernet); err != nil {
		return nil, err
	}
	ready()
	go s.work()
	return s, nil
}

// tally is how many packets a rule acted on.
type tally struct{ packets, bytes uint64 }

// Session is a run over a file.
type Session struct {
	opt     Options
	reader  *capture.Reader
	read    *counting
	resizes bool
	// machines are by link, made when they are needed.
	machines [2]*software.Machine
	making   sync.Mutex
	stop     chan struct{} // closed to end the run before
	stopping sync.Once
	done     chan struct{} // closed when it has ended
	// Once done is closed:
	err  error
	over run.Limit

	handed   handed
	recorded atomic.Bool // as many as are asked for

	tests   []why.Test // of Options.Why
	reasons []*reasons // by worker

	mu     sync.Mutex
	counts []tally
	total  totals
}

// totals are what has happened to all packets.
type totals struct {
	packets uint64
	skipped [software.Reasons]uint64
	// hashes were removed; sums were left stale behind changed packets; comments could not be
	// added.
	hashes, staleFCS, uncommented uint64
}

func (t *totals) add(o *totals) {
	t.packets += o.packets
	for i := range o.skipped {
		t.skipped[i] += o.skipped[i]
	}
	t.hashes += o.hashes
	t.staleFCS += o.staleFCS
	t.uncommented += o.uncommented
}

// machine is that of a link.
func (s *Session) machine(l field.Link) (*software.Machine, error) {
	s.making.Lock()
	defer s.making.Unlock()
	if s.machines[l] == nil {
		build := plan.BuildTables
		if s.opt.Why {
			build = plan.BuildWhy
		}
		p, err := build(s.opt.Program, l)
		if err != nil {
			return nil, err
		}
		s.machines[l] = software.New(p)
	}
	return s.machines[l], nil
}

// Attachment is how the session began.
func (s *Session) Attachment() run.Attachment {
	return run.Attachment{Target: run.Target{Interface: s.opt.Name}}
}

// skipReasons say why packets are skipped.
var skipReasons = [software.Reasons]string{
	software.Untested:  "they were cut off when they were captured, before bytes that rules test",
	software.Unwritten: "they were cut off when they were captured, before bytes that the rule sets, reads or sums up",
}

// Counts are the counts so far.
func (s *Session) Counts() (run.Counts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out run.Counts
	for i, w := range s.opt.Program.Written {
		c := run.RuleCount{RuleText: run.RuleText{Name: w.Name, Text: w.Text}, DryRun: w.DryRun, Verdict: w.Verdict}
		c.Set(s.counts[i].packets, s.counts[i].bytes)
		out.Rules = append(out.Rules, c)
	}
	s.explain(out.Rules)
	for reason, n := range s.total.skipped {
		if n > 0 {
			out.Skipped = append(out.Skipped, run.Skipped{Packets: n, Why: skipReasons[reason]})
		}
	}
	return out, nil
}

// Progress is how far it is.
func (s *Session) Progress() run.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return run.Progress{Bytes: s.read.n.Load(), Size: s.opt.Size, Packets: s.total.packets}
}

// Replace is refused: a file is read once, by the rules that it was begun with.
func (s *Session) Replace(*rule.Program) (run.Attachment, error) {
	return s.Attachment(), &UsageError{"the rules of a file cannot be replaced", ""}
}

// Done is closed when the file has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Over is the end of the file, or the limit where nothing is written.
func (s *Session) Over() run.Limit { return s.over }

// Reached tells nothing: nothing goes on behind the limit but the copying of packets.
func (s *Session) Reached() <-chan run.Limit { return nil }

// Settled tells nothing: rules for a file are not to be confirmed.
func (s *Session) Settled() <-chan run.Settled { return nil }

// ErrStopped says that a run was stopped before the end of its file.
var ErrStopped = errors.New("stopped before the end of the file")

// Close ends the run. Where the file has not ended, and does not within the patience for
// pipes, what was to be written is not.
func (s *Session) Close() (run.Counts, error) {
	if s.opt.Size == 0 { // whoever feeds a pipe has likely heard the same signal
		select {
		case <-s.done:
		case <-time.After(s.opt.Patience):
		}
	}
	s.stopping.Do(func() { close(s.stop) })
	<-s.done
	counts, _ := s.Counts()
	return counts, s.err
}

// Traffic is an error, since there is no interface.
func (s *Session) Traffic() (run.Traffic, error) { return run.Traffic{}, errNoInterface }

var errNoInterface = errors.New("a file is no interface")

// Remarks are what is to be known of the file that was written.
func (s *Session) Remarks() []run.Advice {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []run.Advice
	note := func(n uint64, format string) {
		if n > 0 && s.opt.To != nil {
			out = append(out, run.Advice{Note: true, Message: fmt.Sprintf(format, n)})
		}
	}
	note(s.total.hashes, "%d changed packets had a hash of their bytes (epb_hash), which was removed")
	note(s.total.staleFCS, "%d changed packets end with a frame check sequence, which was left as it was and is wrong now")
	note(s.total.uncommented, "%d rewritten packets are in Simple Packet Blocks, which take no comment")
	return out
}

// workers is how many packets are worked on at the same time: with a limit one, since it
// counts in order.
func (s *Session) workers() int {
	if s.opt.Limit > 0 {
		return 1
	}
	return runtime.GOMAXPROCS(0)
}
