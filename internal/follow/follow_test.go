package follow_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"repacket/internal/follow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folder is a folder for a file named rules.
type folder struct {
	t    *testing.T
	path string
	f    *follow.File
}

func (d *folder) file(name string) string { return filepath.Join(d.path, name) }

func (d *folder) write(name, text string) {
	d.t.Helper()
	must(d.t, os.WriteFile(d.file(name), []byte(text), 0o600))
}

// follow begins to follow the file rules.
func (d *folder) follow() {
	d.t.Helper()
	var err error
	d.f, err = follow.New(d.file("rules"), func(do func() error) error { return do() })
	must(d.t, err)
	d.t.Cleanup(func() { d.f.Close() })
}

// told waits for a change, and then long enough to see that it is told once.
func (d *folder) told() {
	d.t.Helper()
	select {
	case <-d.f.Changed():
	case <-time.After(patience):
		d.t.Fatal("the change is not told")
	}
	d.silent()
}

// silent waits until a change would have been told.
func (d *folder) silent() {
	d.t.Helper()
	select {
	case <-d.f.Changed():
		d.t.Fatal("a change is told that there is not")
	case <-time.After(3 * follow.Quiet):
	}
}

// configMap does what Kubernetes does when the content of a ConfigMap changes: the files of a new
// version in a folder of its own, a link to that, the link renamed over ..data, the old version
// removed (pkg/volume/util/atomic_writer.go, the steps of Write).
func (d *folder) configMap(version, text string) {
	d.t.Helper()
	old, _ := os.Readlink(d.file("..data")) // the first time there is none
	must(d.t, os.Mkdir(d.file(version), 0o700))
	d.write(version+"/rules", text)
	must(d.t, os.Symlink(version, d.file("..data_tmp")))
	must(d.t, os.Rename(d.file("..data_tmp"), d.file("..data")))
	if old == "" {
		must(d.t, os.Symlink("..data/rules", d.file("rules")))
		return
	}
	must(d.t, os.RemoveAll(d.file(old)))
}

// TestChanges: each way of changing a file is told, once.
func TestChanges(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(d *folder){
		"written":      func(d *folder) { d.write("rules", "longer than before") },
		"same length":  func(d *folder) { d.write("rules", "two") },
		"renamed over": func(d *folder) { d.write("new", "two"); must(d.t, os.Rename(d.file("new"), d.file("rules"))) },
		"removed":      func(d *folder) { must(d.t, os.Remove(d.file("rules"))) },
		"another made": func(d *folder) { must(d.t, os.Remove(d.file("rules"))); d.write("rules", "two") },
		"in parts": func(d *folder) {
			f, err := os.OpenFile(d.file("rules"), os.O_WRONLY|os.O_TRUNC, 0)
			must(d.t, err)
			for range 10 {
				_, err := f.WriteString("part")
				must(d.t, err)
			}
			must(d.t, f.Close())
		},
		"folder made anew": func(d *folder) {
			must(d.t, os.RemoveAll(d.path))
			must(d.t, os.Mkdir(d.path, 0o700))
			d.write("rules", "two")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &folder{t: t, path: filepath.Join(t.TempDir(), "etc")}
			must(t, os.Mkdir(d.path, 0o700))
			d.write("rules", "one")
			d.follow()
			d.silent()
			change(d)
			d.told()
		})
	}
}

// TestConfigMap: each version of a ConfigMap is told once, and one more change behind it is seen too.
func TestConfigMap(t *testing.T) {
	t.Parallel()
	d := &folder{t: t, path: t.TempDir()}
	d.configMap("..2026_01", "one")
	d.follow()
	d.silent()
	for _, version := range []string{"..2026_02", "..2026_03", "..2026_04"} {
		d.configMap(version, version)
		d.told()
	}
	d.write("..2026_04/rules", "in place")
	d.told()
}

// TestLinkedFolder: a link in the middle of the path is exchanged, and the file behind a link elsewhere
// is written to.
func TestLinkedFolder(t *testing.T) {
	t.Parallel()
	d := &folder{t: t, path: t.TempDir()}
	for _, release := range []string{"one", "two"} {
		must(t, os.Mkdir(d.file(release), 0o700))
		d.write(release+"/rules", release)
	}
	must(t, os.Symlink("one", d.file("current")))
	must(t, os.Symlink(d.file("current/rules"), d.file("rules")))
	d.follow()
	d.silent()
	must(t, os.Symlink("two", d.file("next")))
	must(t, os.Rename(d.file("next"), d.file("current")))
	d.told()
	d.write("two/rules", "written")
	d.told()
	d.write("one/rules", "nobody's")
	d.silent()
}

// TestGoneAndBack: a file that goes is told, and so is one that comes, also with its folder.
func TestGoneAndBack(t *testing.T) {
	t.Parallel()
	d := &folder{t: t, path: filepath.Join(t.TempDir(), "etc")}
	d.follow()
	must(t, os.Mkdir(d.path, 0o700))
	d.write("rules", "one")
	d.told()
	must(t, os.RemoveAll(d.path))
	d.told()
	must(t, os.Mkdir(d.path, 0o700))
	d.write("rules", "two")
	d.told()
}

// TestNeighbour: other files in the folder are nobody's business, and put nothing off.
func TestNeighbour(t *testing.T) {
	t.Parallel()
	d := &folder{t: t, path: t.TempDir()}
	d.write("rules", "one")
	d.follow()
	d.write("neighbour", "one")
	d.silent()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		beat := time.NewTicker(follow.Quiet / 10)
		defer beat.Stop()
		for {
			select {
			case <-stop:
				return
			case <-beat.C:
				_ = os.WriteFile(d.file("neighbour"), []byte("two"), 0o600)
			}
		}
	}()
	d.write("rules", "other")
	d.told()
	close(stop)
	<-stopped
}

// TestLoop: a link to itself ends, and is told once it is a file.
func TestLoop(t *testing.T) {
	t.Parallel()
	d := &folder{t: t, path: t.TempDir()}
	must(t, os.Symlink("rules", d.file("rules")))
	d.follow()
	must(t, os.Remove(d.file("rules")))
	d.write("rules", "one")
	d.told()
}
