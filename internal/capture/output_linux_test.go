package capture_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"repacket/internal/capture"
)

// create begins a file and writes to it.
func create(t *testing.T, path, content string) *capture.Output {
	t.Helper()
	o, err := capture.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Seekable().Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	return o
}

func contentOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// only checks that a folder holds these files alone: nothing temporary is left.
func only(t *testing.T, folder string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if len(names) != len(want) {
		t.Errorf("the folder holds %v, want %v", names, want)
	}
}

// TestOutputAppearsWhole: until it is committed, what was there is there.
func TestOutputAppearsWhole(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "out")
	o := create(t, path, "first")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it is there before it is complete: %v", err)
	}
	if err := o.Commit(); err != nil || contentOf(t, path) != "first" {
		t.Fatalf("%q, %v", contentOf(t, path), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	o = create(t, path, "second")
	if contentOf(t, path) != "first" {
		t.Errorf("%q is there before it is complete", contentOf(t, path))
	}
	if err := o.Abort(); err != nil || contentOf(t, path) != "first" {
		t.Errorf("%q, %v", contentOf(t, path), err)
	}
	only(t, folder, "out")
	if err := create(t, path, "third").Commit(); err != nil || contentOf(t, path) != "third" {
		t.Errorf("%q, %v", contentOf(t, path), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	only(t, folder, "out")
}

// TestOutputHasNoNameBefore: a process that is killed leaves no file, where the file system has files
// without names.
func TestOutputHasNoNameBefore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	fd, err := unix.Open(folder, unix.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		t.Fatalf("no files without names here: %v", err)
	}
	_ = unix.Close(fd)
	path := filepath.Join(folder, "out")
	had := []string{}
	for _, content := range []string{"new", "there"} {
		o := create(t, path, content)
		only(t, folder, had...)
		had = []string{"out"}
		if err := o.Commit(); err != nil || contentOf(t, path) != content {
			t.Errorf("%q, %v", contentOf(t, path), err)
		}
		only(t, folder, "out")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := create(t, path, "x").Abort(); err != nil {
		t.Error(err)
	}
	only(t, folder)
	o := create(t, path, "late")
	if err := os.WriteFile(path, []byte("meanwhile"), 0o600); err != nil { // as a rename would
		t.Fatal(err)
	}
	if err := o.Commit(); err != nil || contentOf(t, path) != "late" {
		t.Errorf("%q, %v", contentOf(t, path), err)
	}
	only(t, folder, "out")
}

// TestOutputKeepsLinks writes to where a symbolic link leads, whether there is a file or not.
func TestOutputKeepsLinks(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	link, elsewhere := filepath.Join(folder, "link"), filepath.Join(folder, "elsewhere")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere/out", link); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"new", "there"} {
		if err := create(t, link, content).Commit(); err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(link); err != nil || to != "elsewhere/out" || contentOf(t, filepath.Join(elsewhere, "out")) != content {
			t.Errorf("the link leads to %q, %v", to, err)
		}
	}
	only(t, folder, "link", "elsewhere")
	only(t, elsewhere, "out")
}

// TestOutputKeepsTheOwner needs root to have a file of somebody else.
func TestOutputKeepsTheOwner(t *testing.T) {
	if testing.Short() {
		t.Skip("make check needs no root")
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 1234, 5678); err != nil {
		t.Fatal(err)
	}
	if err := create(t, path, "x").Commit(); err != nil {
		t.Fatal(err)
	}
	var now unix.Stat_t
	if err := unix.Stat(path, &now); err != nil || now.Uid != 1234 || now.Gid != 5678 || fs.FileMode(now.Mode).Perm() != 0o600 {
		t.Errorf("owner %d, group %d, mode %o, %v", now.Uid, now.Gid, now.Mode, err)
	}
}

// TestOutputToDevicesAndPipes: what is no regular file stays what it is.
func TestOutputToDevicesAndPipes(t *testing.T) {
	t.Parallel()
	if err := create(t, os.DevNull, "x").Commit(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Fatalf("/dev/null is %v, %v", info.Mode(), err)
	}
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		f, err := os.Open(path)
		if err != nil {
			read <- err.Error()
			return
		}
		b, _ := io.ReadAll(f)
		read <- string(b)
	}()
	if err := create(t, path, "through").Commit(); err != nil {
		t.Error(err)
	}
	if got := <-read; got != "through" {
		t.Errorf("%q came through the pipe", got)
	}
}

// TestOutputIsCompressed by its name.
func TestOutputIsCompressed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.pcap.gz")
	if err := create(t, path, "content").Commit(); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader([]byte(contentOf(t, path))))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestOutputNowhere: a folder that is not there, and one in place of a file.
func TestOutputNowhere(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, path := range []string{folder, filepath.Join(folder, "no", "out")} {
		if o, err := capture.Create(path); err == nil {
			t.Errorf("%s: begun", path)
			_ = o.Abort()
		}
	}
	only(t, folder)
}
