package offline

import (
	"repacket/internal/capture"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/software"
)

// record keeps a packet on which a rule acted, as it was and as it is, until its turn comes.
func (j *job) record(p *capture.Packet, r software.Result, program *rule.Program, before, after []byte) {
	link := j.Interface(p).Link
	out := run.Packet{
		Direction: run.NoDirection, Program: program, Rule: r.Rule,
		Length: int(p.Length), Before: append([]byte(nil), before...), After: after,
	}
	out.Time, _ = j.Time(p)
	if link != capture.Ethernet {
		start := link.Network(before, int(p.Length))
		out.Link, out.Length = field.RawIP, int(p.Length)-start
		start = min(start, len(before))
		out.Before, out.After = out.Before[start:], after[start:]
	}
	if r.Verdict == rule.Drop {
		out.After = nil
	}
	j.shown = append(j.shown, out)
}

// hand hands on the packets of a batch that were kept, as many as are asked for.
func (s *Session) hand(j *job) {
	o := s.opt.Record
	if o == nil {
		return
	}
	for i := range j.shown {
		n := s.handed.seen
		s.handed.seen++
		if o.Every > 1 && n%uint64(o.Every) != 0 {
			continue
		}
		if o.Most > 0 && s.handed.shown == o.Most {
			s.recorded.Store(true)
			return
		}
		s.handed.shown++
		o.Packet(&j.shown[i])
	}
}

// handed counts packets that were handed on.
type handed struct{ seen, shown uint64 }
