// Package follow tells when a file has changed: when it is written to, when another takes its name,
// and when a symbolic link on the way to it is exchanged, as Kubernetes does it for the files of a
// ConfigMap (pkg/volume/util/atomic_writer.go: ..data is renamed over, and the file is ..data/FILE).
package follow

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Quiet is how long a file has to stay as it is before a change is told: what is written in parts
// is told once.
const Quiet = 200 * time.Millisecond

// maxLinks is how many symbolic links are followed, as in the kernel (MAXSYMLINKS in linux/namei.h).
const maxLinks = 40

// File is a file that is followed.
type File struct {
	path    string // absolute
	do      func(func() error) error
	watcher *fsnotify.Watcher
	changed chan struct{}
	stop    chan struct{}
}

// New begins to follow the file of a path, which need not be there. What it asks of the file system it
// asks within do, for instance with the rights of somebody else. Close ends it.
func New(path string, do func(func() error) error) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	f := &File{
		path: path, do: do, watcher: watcher,
		changed: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	now, err := f.look()
	if err != nil {
		_ = watcher.Close() // it has told nothing
		return nil, err
	}
	go f.loop(now)
	return f, nil
}

// Changed receives once the file has changed and then stayed as it is for Quiet. It has changed also
// when it is gone. What changes before somebody receives is told once.
func (f *File) Changed() <-chan struct{} { return f.changed }

// Close ends what New has begun. It does not wait, since a mount can be dead that is just being asked.
func (f *File) Close() { close(f.stop) }

// loop tells changes. An event says no more than that something happened in one of the folders; what
// counts is whether the file is another one than before, so other files there neither are told nor
// put off what is.
func (f *File) loop(told state) {
	defer f.watcher.Close()
	seen := told
	quiet := time.NewTimer(Quiet)
	defer quiet.Stop()
	for {
		settled := false
		select {
		case <-f.stop:
			return
		case <-f.watcher.Events:
		case lost := <-f.watcher.Errors:
			_ = lost // events were: to look makes up for it
		case <-quiet.C:
			settled = true
		}
		now, err := f.look()
		switch {
		case err != nil: // a folder cannot be watched now: try again
			quiet.Reset(Quiet)
		case !now.same(seen):
			seen = now
			quiet.Reset(Quiet)
		case settled && !now.same(told):
			told = now
			select {
			case f.changed <- struct{}{}:
			default: // the last change has not been received yet
			}
		}
	}
}

// state is what is seen of a file from outside; nil is none.
type state struct{ info fs.FileInfo }

// same reports whether nothing has changed.
func (s state) same(o state) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}

// look watches the folders on which the path depends at the moment, and then looks at the file: what
// changes later is an event.
func (f *File) look() (now state, err error) {
	err = f.do(func() error {
		for range maxLinks { // until the folders are those that are watched
			new, err := f.watch(folders(f.path))
			if err != nil || !new {
				now.info, _ = os.Stat(f.path) // which is missing or out of reach, and read later
				return err
			}
		}
		return nil // somebody exchanges links all the time: there will be an event
	})
	return now, err
}

// watch watches these folders and no others. It reports whether one is new.
func (f *File) watch(want []string) (added bool, err error) {
	have := f.watcher.WatchList()
	for _, folder := range want {
		if slices.Contains(have, folder) {
			continue
		}
		if err := f.watcher.Add(folder); err != nil {
			return added, err
		}
		have, added = append(have, folder), true
	}
	for _, folder := range have {
		if !slices.Contains(want, folder) {
			_ = f.watcher.Remove(folder) // it may be gone, and its watch with it
		}
	}
	return added, nil
}

// folders are those whose entries decide which file a path is: the folder of each symbolic link on the
// way, and that of the file itself, or what there is of it.
func folders(path string) (all []string) {
	const separator = string(filepath.Separator)
	at, links := separator, 0
	for rest := strings.Split(path, separator); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		next := filepath.Join(at, name) // also of .. and of nothing
		target, err := os.Readlink(next)
		if err != nil || links == maxLinks {
			at = next
			continue
		}
		links++
		all = append(all, at)
		rest = append(strings.Split(target, separator), rest...)
		if filepath.IsAbs(target) {
			at = separator
		}
	}
	for at = filepath.Dir(at); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && info.IsDir() || at == separator {
			return append(all, at)
		}
	}
}
