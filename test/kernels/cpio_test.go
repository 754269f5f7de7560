package main

import (
	"bytes"
	"testing"
)

// TestArchive compares with bytes put together by the format's description:
// 13 hexadecimal numbers behind the magic, name and data filled up to 4 bytes.
func TestArchive(t *testing.T) {
	t.Parallel()
	header := func(inode, mode, links, size, major, minor, name string) string {
		const zero = "00000000"
		return "070701" + inode + mode + zero + zero + links + zero + size + zero + zero + major + minor + name + zero
	}
	const one, none = "00000001", "00000000"
	want := header(one, "000041ed", one, none, none, none, "00000005") + "/dev\x00\x00" + // 0o40755
		header("00000002", "00002180", one, none, "00000005", one, "0000000d") + "/dev/console\x00\x00" + // 0o20600
		header("00000003", "000081ed", one, "00000003", none, none, "00000006") + "/init\x00" + "abc\x00" + // 0o100755
		header("00000004", "0000a1ff", one, "00000005", none, none, "00000003") + "/x\x00\x00\x00\x00" + "/init\x00\x00\x00" + // 0o120777
		header("00000005", none, one, none, none, none, "0000000b") + "TRAILER!!!\x00\x00\x00\x00"
	var got bytes.Buffer
	a := newArchive(&got)
	a.device("/dev/console", 5, 1)
	a.file("/init", []byte("abc"))
	a.link("/x", "/init")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("got\n%q\nwant\n%q", got.String(), want)
	}
}

func TestArchiveTellsWhatIsMissing(t *testing.T) {
	t.Parallel()
	a := newArchive(&bytes.Buffer{})
	a.copyFile("/a", "there/is/no/such/file")
	if a.close() == nil {
		t.Error("a file that is not there is no error")
	}
}
