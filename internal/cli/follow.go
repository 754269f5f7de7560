package cli

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"repacket/internal/follow"
	"repacket/internal/metrics"
)

// checkFollow checks --follow.
func (o *options) checkFollow() error {
	if o.follow && !o.rereads() {
		return usage("-f FILE --follow, without --once", "--follow is about a file of rules that is read again, and this run has none")
	}
	return nil
}

// followFile begins to follow the file of -f where --follow asks for it, or gives nil. That comes before the
// file is read for the first time, so no change is missed.
func (a *app) followFile() (*follow.File, error) {
	if !a.opt.follow {
		return nil, nil
	}
	f, err := follow.New(a.opt.file, a.env.AsCaller)
	if err == nil {
		return f, nil
	}
	hint := ""
	switch {
	case errors.Is(err, syscall.EMFILE):
		hint = "sysctl fs.inotify.max_user_instances says how many processes of a user may follow files"
	case errors.Is(err, syscall.ENOSPC):
		hint = "sysctl fs.inotify.max_user_watches says how many folders a user may have followed"
	}
	return nil, &Failure{Status: exitFailed, Err: fmt.Errorf("%s cannot be followed: %w", a.opt.file, err), Hint: hint}
}

// follow has the run follow its rules, which have begun to act, in a file that may be nil.
func (r *running) follow(f *follow.File) {
	r.followed = f
	r.reloads.begin(r.began)
}

// changes receives when the file of rules has changed; without --follow never.
func (r *running) changes() <-chan struct{} {
	if r.followed == nil {
		return nil
	}
	return r.followed.Changed()
}

// reloads are how often rules were read again and how that went, for whoever asks for metrics meanwhile.
type reloads struct {
	mu  sync.Mutex
	now metrics.Reloads
}

// count counts rules that were read again.
func (r *reloads) count(err error, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Good = err == nil
	if err != nil {
		r.now.Refused++
		return
	}
	r.now.Replaced++
	r.now.At = at
}

// begin counts the rules with which the run began, which have replaced none.
func (r *reloads) begin(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = metrics.Reloads{Good: true, At: at}
}

// reloadsSoFar is what has been counted, or nil for a run that does not read its rules again.
func (r *running) reloadsSoFar() *metrics.Reloads {
	if !r.opt.rereads() {
		return nil
	}
	r.reloads.mu.Lock()
	defer r.reloads.mu.Unlock()
	now := r.reloads.now
	return &now
}
