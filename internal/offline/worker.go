package offline

import (
	"bytes"

	"repacket/internal/capture"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/software"
)

// worker rewrites the packets of batches.
type worker struct {
	*Session
	runners [2]*software.Runner // by link
	numbers numbers
	// counts are those of the batch at hand, of the rules that acted.
	counts []tally
	acted  []int
	left   uint64   // of the limit
	why    *reasons // nil where nobody asks
	before []byte   // a packet as it was
}

// rewrite carries the rules out on a batch.
func (w *worker) rewrite(j *job) {
	j.shown = j.shown[:0]
	j.counts, j.edits, j.total = j.counts[:0], j.edits[:0], totals{packets: uint64(len(j.Packets))}
	for i := range j.Packets {
		if j.limited = w.opt.Limit > 0 && w.left == 0; j.limited {
			break
		}
		w.packet(j, i)
	}
	for _, r := range w.acted {
		j.counts = append(j.counts, ruleTally{r, w.counts[r]})
		w.counts[r] = tally{}
	}
	w.acted = w.acted[:0]
	j.out = j.Bytes
	if len(j.edits) > 0 {
		j.edited = j.Edited(j.edited[:0], j.edits)
		j.out = j.edited
	}
}

// packet carries the rules out on one packet.
func (w *worker) packet(j *job, i int) {
	p := &j.Packets[i]
	data, length := j.Data(p), int(p.Length)
	fcs, hashed := j.Options(p)
	length -= min(fcs, length)
	body := data[:min(len(data), length)]
	recording := w.opt.Record != nil && !w.recorded.Load()
	if hashed || fcs > 0 || recording {
		w.before = append(w.before[:0], body...)
	}
	w.numbers.packet = j.First + uint64(i)
	r := w.run(j.Interface(p).Link, body, length)
	w.why.add(w.missed(j.Interface(p).Link))
	if r.Skipped != software.NotSkipped {
		j.total.skipped[r.Skipped]++
	}
	if r.Rule < 0 {
		return
	}
	w.count(r.Rule, int(p.Length))
	if recording {
		j.record(p, r, w.opt.Program, w.before, body)
	}
	if r.DryRun {
		return
	}
	edit := capture.Edit{Packet: i, Drop: r.Verdict == rule.Drop}
	if (hashed || fcs > 0) && !edit.Drop && !bytes.Equal(w.before, body) {
		if edit.RemoveHash = hashed; hashed {
			j.total.hashes++
		}
		if len(data) > length {
			j.total.staleFCS++
		}
	}
	if w.opt.Comment && !edit.Drop {
		if j.TakesComments(p) {
			edit.Comment = run.RuleComment(r.Rule, w.opt.Program.Written[r.Rule], r.Redirect)
		} else {
			j.total.uncommented++
		}
	}
	if edit.Drop || edit.RemoveHash || edit.Comment != "" {
		j.edits = append(j.edits, edit)
	}
}

// run carries the rules out on the bytes of a packet of a link type.
func (w *worker) run(link capture.LinkType, data []byte, length int) software.Result {
	if link == capture.Ethernet {
		return w.runner(field.Ethernet).Run(data, length)
	}
	start := link.Network(data, length)
	return w.runner(field.RawIP).Run(data[min(start, len(data)):], length-start)
}

// missed is why rules did not act on the last packet, which was of a link type.
func (w *worker) missed(link capture.LinkType) []software.Missed {
	if link == capture.Ethernet {
		return w.runner(field.Ethernet).Missed
	}
	return w.runner(field.RawIP).Missed
}

func (w *worker) runner(l field.Link) *software.Runner {
	if w.runners[l] == nil {
		m, err := w.machine(l)
		if err != nil { // it has been made before
			panic(err)
		}
		w.runners[l] = m.Runner()
		w.numbers.seed = w.opt.Seed
		w.runners[l].Draw = w.numbers.draw
	}
	return w.runners[l]
}

// count counts a packet of so many bytes on which a rule acted.
func (w *worker) count(r, length int) {
	c := &w.counts[r]
	if c.packets == 0 {
		w.acted = append(w.acted, r)
	}
	c.packets++
	c.bytes += uint64(length)
	if w.left > 0 {
		w.left--
	}
}

// numbers are the random numbers of packets: those of a packet follow from the seed and from
// its place in the file.
type numbers struct{ seed, packet uint64 }

func (n *numbers) draw(index int) uint32 {
	return uint32(mixed(mixed(n.seed+goldenRatio*(n.packet+1))+goldenRatio*uint64(index+1)) >> 32)
}

const goldenRatio = 0x9e3779b97f4a7c15

// mixed is what the generator SplitMix64 makes of its state (Steele, Lea, Flood 2014).
func mixed(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
