package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"repacket/test/kernels/job"
)

// socket is where the worker, which has the line, takes compilations.
const socket = "/run/compiler"

// callCompiler is clang for its caller. It returns clang's exit status.
func callCompiler() int {
	status, err := compile()
	if err != nil {
		complain(fmt.Errorf("compile outside: %w", err))
		return 1
	}
	return status
}

// compile has clang run outside, with the files that the arguments name.
func compile() (status int, err error) {
	want := job.Compilation{Args: os.Args[1:], Files: map[string][]byte{}}
	if want.Stdin, err = io.ReadAll(os.Stdin); err != nil {
		return 0, err
	}
	for _, name := range want.Args {
		if filepath.Ext(name) != ".c" {
			continue
		}
		if want.Files[name], err = os.ReadFile(name); err != nil {
			return 0, err
		}
	}
	got, err := ask(want)
	if err != nil {
		return 0, err
	}
	for name, data := range got.Files {
		err = errors.Join(err, os.WriteFile(name, data, 0o666))
	}
	_, err1 := os.Stdout.Write(got.Stdout)
	_, err2 := os.Stderr.Write(got.Stderr)
	return got.Status, errors.Join(err, err1, err2)
}

func ask(want job.Compilation) (got job.Compiled, err error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return got, err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(want); err != nil {
		return got, err
	}
	err = json.NewDecoder(conn).Decode(&got)
	return got, err
}

// serveCompiler hands compilations on to the machine outside, one after the
// other, until the machine ends.
func serveCompiler(l *line) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err == nil {
				err = l.handOn(conn)
			}
			if err != nil {
				fmt.Fprintln(l, job.Broken, "compiler:", err)
				return
			}
		}
	}()
	return nil
}

// handOn takes one compilation to the other side and its result back, each one
// line of JSON. The error is the line's: a caller that was killed is none.
func (l *line) handOn(conn net.Conn) error {
	defer conn.Close()
	var want json.RawMessage
	if json.NewDecoder(conn).Decode(&want) != nil {
		return nil
	}
	// On a line of its own, whatever the tests have written.
	if _, err := fmt.Fprintf(l, "\n%s %s\n", job.Compile, want); err != nil {
		return err
	}
	answer, err := l.in.ReadBytes('\n')
	if err == nil {
		_, _ = conn.Write(answer)
	}
	return err
}
