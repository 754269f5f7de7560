package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestOrderStatistic holds the bounds against the table of the sign test by Dixon and
// Mood (1946): the critical value r for n, both tails together, is the bound before.
func TestOrderStatistic(t *testing.T) {
	for _, c := range []struct {
		confidence float64
		critical   map[int]int
	}{
		{0.95, map[int]int{5: -1, 6: 0, 8: 0, 9: 1, 12: 2, 15: 3, 17: 4, 20: 5, 25: 7, 30: 9, 35: 11, 40: 13, 50: 17, 100: 39}},
		{0.99, map[int]int{1: -1, 7: -1, 8: 0, 12: 1, 15: 2, 17: 2, 20: 3, 25: 5, 30: 7, 40: 11, 50: 15, 100: 36}},
	} {
		for n, r := range c.critical {
			if got := orderStatistic(n, c.confidence); got != r+1 {
				t.Errorf("%d values, confidence %v: bound %d, want %d", n, c.confidence, got, r+1)
			}
		}
	}
}

func TestDifference(t *testing.T) {
	for _, c := range []struct {
		name string
		v    []float64
		told bool
		want string
	}{
		{"the least for 99 %", []float64{2, 2.1, 1.9, 2, 2.3, 1.8, 2, 2.2}, true, "+2.00 (+1.80 to +2.30)"},
		{"one fewer", []float64{2, 2.1, 1.9, 2, 2.3, 1.8, 2}, false, "cannot tell: too few rounds"},
		{"less", []float64{-1, -1, -1.1, -1, -1, -0.9, -1, -1}, true, "-1.00 (-1.10 to -0.90)"},
		{"both signs", []float64{-1, 1, -2, 2, -1, 1, -1, 1}, false, "cannot tell: -2.00 to +2.00"},
		{"one sign, but wide", []float64{1, 1, 1, 1, 1, 1, 0.5, 2}, false, "cannot tell: +0.50 to +2.00"},
		{"as wide as large", []float64{1, 1, 1, 1, 1, 1, 0.5, 1.5}, false, "cannot tell: +0.50 to +1.50"},
		{"no difference at all", make([]float64, 20), false, "cannot tell: +0.00 to +0.00"},
		{"an outlier at each end of 12", []float64{-90, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3.5, 90}, true, "+3.00 (+3.00 to +3.50)"},
	} {
		d := differenceOf(c.v, 0.99)
		if d.told() != c.told || d.String() != c.want {
			t.Errorf("%s: told %v, %q; want %v, %q", c.name, d.told(), d, c.told, c.want)
		}
	}
}

// TestLooks: in at least 95 % of all experiments, the interval holds the true
// difference at every look; where there is no difference none is told, and one that is
// there is.
func TestLooks(t *testing.T) {
	const experiments = 1000
	never := func() bool { return false }
	for _, shift := range []float64{0, 2} {
		random := rand.New(rand.NewPCG(1, 2))
		bad := 0
		for range experiments {
			var v []float64
			var last difference
			missed := false
			_, err := untilTold(lookAfter(8), never,
				func(int) error { v = append(v, shift+random.NormFloat64()); return nil },
				func() bool {
					last = differenceOf(v, lookConfidence)
					missed = missed || last.lo > shift || last.hi < shift
					return last.told()
				})
			if err != nil {
				t.Fatal(err)
			}
			if missed || last.told() != (shift != 0) {
				bad++
			}
		}
		if bad > experiments/20 {
			t.Errorf("a difference of %v: %d of %d experiments come to a wrong result", shift, bad, experiments)
		}
	}
}

func TestUntilTold(t *testing.T) {
	never := func() bool { return false }
	broken := errors.New("broken")
	for _, c := range []struct {
		name           string
		toldAt, lateAt int
		failAt         int
		want           int
		looks          string
	}{
		{"at the second look", 3, -1, -1, 4, "[2 4]"},
		{"never", -1, -1, -1, 8, "[2 4 8]"},
		{"no time", -1, 5, -1, 5, "[2 4]"},
		{"a round fails", -1, -1, 6, 6, "[2 4]"},
	} {
		n := 0
		var looked []int
		late := never
		if c.lateAt >= 0 {
			late = func() bool { return n >= c.lateAt }
		}
		got, err := untilTold([]int{2, 4, 8}, late, func(i int) error {
			if i != n {
				t.Errorf("%s: round %d is said to be %d", c.name, n, i)
			}
			if i == c.failAt {
				return broken
			}
			n++
			return nil
		}, func() bool {
			looked = append(looked, n)
			return c.toldAt >= 0 && n >= c.toldAt
		})
		if got != c.want || fmt.Sprint(looked) != c.looks || errors.Is(err, broken) != (c.failAt >= 0) {
			t.Errorf("%s: %d rounds, looks after %v, %v; want %d and %s", c.name, got, looked, err, c.want, c.looks)
		}
	}
	if got := fmt.Sprint(lookAfter(15)); got != "[15 30 60 120 240]" {
		t.Errorf("looks after %s", got)
	}
}
