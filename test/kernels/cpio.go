package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
)

// File types of a mode, as stat(2) has them.
const (
	typeDevice  = 0o020000 // character device
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeLink    = 0o120000
)

// archive writes a cpio archive in the format "newc", which the kernel unpacks
// as its first root file system (Documentation/driver-api/early-userspace/
// buffer-format.rst). Folders are added with the first file in them. The first
// error stays and is told by close.
type archive struct {
	w     *bufio.Writer
	err   error
	inode int
	dirs  map[string]bool
	size  int
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriter(w), dirs: map[string]bool{".": true, "/": true}}
}

// file adds a file that anybody may read and run.
func (a *archive) file(name string, data []byte) { a.entry(name, typeRegular|0o755, 0, 0, data) }

// copyFile adds a file of this machine.
func (a *archive) copyFile(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.file(name, data)
}

// link adds a symbolic link.
func (a *archive) link(name, target string) { a.entry(name, typeLink|0o777, 0, 0, []byte(target)) }

// device adds a character device.
func (a *archive) device(name string, major, minor int) {
	a.entry(name, typeDevice|0o600, major, minor, nil)
}

// dir adds a folder and those that it is in.
func (a *archive) dir(name string) {
	if a.dirs[name] {
		return
	}
	a.dirs[name] = true
	a.entry(name, typeDir|0o755, 0, 0, nil)
}

func (a *archive) entry(name string, mode, major, minor int, data []byte) {
	a.dir(path.Dir(name))
	a.inode++
	// Magic, inode, mode, uid, gid, links, time, size, device (2), its own
	// device numbers (2), length of the name with its zero, no checksum.
	a.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0))
	a.write([]byte(name + "\x00"))
	a.pad()
	a.write(data)
	a.pad()
}

// pad fills up to four bytes.
func (a *archive) pad() { a.write(make([]byte, -a.size&3)) }

func (a *archive) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
	a.size += len(b)
}

// close ends the archive.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}
