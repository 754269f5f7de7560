package cli

import (
	"os"
	"time"
)

// heardAtOnce is how many signals can wait to be heeded; more are dropped, as the
// kernel drops those of one kind.
const heardAtOnce = 8

// leave says that the run has done what must not be cut off.
func (r *running) leave() {
	r.ending.Store(false)
	r.ended <- struct{}{}
}

// hear passes signals on to the run. It hears them also while the run waits for
// somebody to read what it prints: then one that asks to stop ends the process
// when patience is over, and the rules go with it. A run that detaches its rules
// is left to that, unless it is asked once more; patience begins anew for who reads the
// summary. What is asked again before is the same wish: timeout(1) sends its signal to a
// process and then to the group of it.
func (r *running) hear(early []os.Signal, signals <-chan os.Signal, heard chan<- os.Signal, over <-chan struct{}) {
	var giveUp <-chan time.Time
	impatient := false
	pass := func(s os.Signal) {
		switch {
		case !r.stops(s):
		case impatient:
			r.env.Exit(exitFailed)
		case giveUp == nil:
			giveUp = time.After(r.env.Patience)
		}
		select {
		case heard <- s:
		default:
		}
	}
	for _, s := range early {
		pass(s)
	}
	for {
		select {
		case s := <-signals:
			pass(s)
		case <-giveUp:
			if impatient = true; !r.ending.Load() {
				r.env.Exit(exitFailed)
			}
		case <-r.ended:
			if giveUp != nil {
				giveUp = time.After(r.env.Patience)
			}
		case <-over:
			return
		}
	}
}
