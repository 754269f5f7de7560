package field

import (
	"container/heap"
	"slices"
)

// Interval is a part of the values of a field, up to the next one: Row is the
// number of a row, or -1.
type Interval struct {
	From Value
	Row  int32
}

// Intervals cuts the values of so many bits into intervals of the first of the
// ranges, from lo to hi, that holds them. The first begins at 0, there is no gap,
// and neighbours differ.
func Intervals(lo, hi []Value, width int) []Interval {
	rows := make([]int32, len(lo))
	for i := range rows {
		rows[i] = int32(i)
	}
	slices.SortStableFunc(rows, func(a, b int32) int { return lo[a].Cmp(lo[b]) })
	var out []Interval
	var open rowHeap
	at, top := Value{}, Ones(width)
	for next := 0; ; {
		for next < len(rows) && lo[rows[next]] == at {
			heap.Push(&open, rows[next])
			next++
		}
		for len(open) > 0 && hi[open[0]].Cmp(at) < 0 {
			heap.Pop(&open)
		}
		// The row that counts does so to its end, or until another one begins.
		row, end := int32(-1), top
		if len(open) > 0 {
			row, end = open[0], hi[open[0]]
		}
		if n := len(out); n == 0 || out[n-1].Row != row {
			out = append(out, Interval{at, row})
		}
		if next < len(rows) && lo[rows[next]].Cmp(end) <= 0 {
			at = lo[rows[next]]
			continue
		}
		if end == top {
			return out
		}
		at = end.Inc()
	}
}

// rowHeap has the lowest row on top.
type rowHeap []int32

func (h rowHeap) Len() int           { return len(h) }
func (h rowHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h rowHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *rowHeap) Push(x any)        { *h = append(*h, x.(int32)) }
func (h *rowHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
