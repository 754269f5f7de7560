package engine

// windowSize is how many records are held at most to be put in the order of time. Processors that
// record at once are out of order by as many records as there are processors, or by a few more
// where an interrupt comes between taking room in the ring and taking the time.
const windowSize = 64

// held is a record of the ring that waits for its turn.
type held struct {
	time   uint64
	record []byte
	start  uint64 // where it begins in the ring
}

// window puts the records of a ring in the order of time, as far as they are out of it by no more
// than windowSize records.
type window struct {
	buffer     [2 * windowSize]held
	first, end int // what waits, in the order of time
}

// push takes a record in; of a full window the oldest one comes out.
func (w *window) push(h held) (oldest held, full bool) {
	if w.end-w.first == windowSize {
		oldest, full = w.buffer[w.first], true
		w.first++
	}
	if w.end == len(w.buffer) {
		w.end = copy(w.buffer[:], w.buffer[w.first:w.end])
		w.first = 0
	}
	at := w.end
	for ; at > w.first && w.buffer[at-1].time > h.time; at-- {
		w.buffer[at] = w.buffer[at-1]
	}
	w.buffer[at] = h
	w.end++
	return oldest, full
}

// pop is the oldest record, if it is from before a time.
func (w *window) pop(before uint64) (oldest held, ok bool) {
	if w.first == w.end || w.buffer[w.first].time >= before {
		return held{}, false
	}
	w.first++
	return w.buffer[w.first-1], true
}

// begins is where the first of the records begins that are held, or end where none is.
func (w *window) begins(end uint64) uint64 {
	for _, h := range w.buffer[w.first:w.end] {
		end = min(end, h.start)
	}
	return end
}
