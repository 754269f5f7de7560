package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// maxLooks is how often at most the differences are looked at while they are
// measured. Each look has the confidence lookConfidence, so that all of them
// together have at least 95 % (Bonferroni): without that, whoever looks often enough
// finds a difference where there is none.
const (
	maxLooks       = 5
	lookConfidence = 0.99
)

// difference is the median of differences, and between which bounds it lies.
type difference struct {
	median, lo, hi float64
	bounded        bool // false if there were too few to say
}

// differenceOf is the median of v with a confidence interval that assumes nothing of
// how v is distributed: the bounds are order statistics, and how many of n values lie
// below the true median is binomial.
func differenceOf(v []float64, confidence float64) difference {
	d := difference{median: median(v)}
	v = slices.Sorted(slices.Values(v))
	if k := orderStatistic(len(v), confidence); k > 0 {
		d.lo, d.hi, d.bounded = v[k-1], v[len(v)-k], true
	}
	return d
}

// orderStatistic is the largest k for which the k-th lowest and the k-th highest of n
// values enclose the median with the confidence, or 0 if n is too small for any.
func orderStatistic(n int, confidence float64) int {
	below := 0.0 // the probability that at most k of n values lie below the median
	for k := 0; ; k++ {
		below += binomialHalf(n, k)
		if 2*below > 1-confidence {
			return k
		}
	}
}

// binomialHalf is the probability of k heads in n throws of a coin.
func binomialHalf(n, k int) float64 {
	gamma := func(x int) float64 {
		v, _ := math.Lgamma(float64(x) + 1)
		return v
	}
	return math.Exp(gamma(n) - gamma(k) - gamma(n-k) - float64(n)*math.Ln2)
}

// told reports whether the interval is narrower than the difference: then it does not
// hold 0 either.
func (d difference) told() bool { return d.bounded && d.hi-d.lo < math.Abs(d.median) }

// String is the verdict.
func (d difference) String() string {
	switch {
	case !d.bounded:
		return "cannot tell: too few rounds"
	case !d.told():
		return fmt.Sprintf("cannot tell: %+.2f to %+.2f", d.lo, d.hi)
	}
	return fmt.Sprintf("%+.2f (%+.2f to %+.2f)", d.median, d.lo, d.hi)
}

// lookAfter are the numbers of rounds after which to look.
func lookAfter(first int) (rounds []int) {
	for i := range maxLooks {
		rounds = append(rounds, first<<i)
	}
	return rounds
}

// untilTold does rounds until told says at a look that all is told, until the last
// look, or, if the time is over, until the round that it is over in: that look takes
// the place of the next. It returns how many rounds there were.
func untilTold(looks []int, late func() bool, round func(i int) error, told func() bool) (n int, err error) {
	for _, look := range looks {
		for n < look {
			if err := round(n); err != nil {
				return n, err
			}
			n++
			if late() {
				return n, nil
			}
		}
		if told() {
			break
		}
	}
	return n, nil
}

// after reports whether a time is over.
func after(limit time.Duration) func() bool {
	end := time.Now().Add(limit)
	return func() bool { return time.Now().After(end) }
}
