package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"repacket/test/kernels/job"
	"repacket/test/needs"
)

// suite is what runs on every kernel.
type suite struct {
	selection
	root  string // the module's folder
	built string // where the binaries are
	tools *debianPackage
	args  []string // of each test binary
	env   []string // of each test binary
}

// buildSuite finds the packages with tests that need a kernel and builds their
// tests, and the first process.
func buildSuite(ctx context.Context, o options) (*suite, error) {
	gomod, err := output(ctx, "go", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	s := &suite{
		root:  filepath.Dir(strings.TrimSpace(gomod)),
		built: filepath.Join(o.dir, "built"),
		args:  []string{"-test.v=test2json", fmt.Sprintf("-test.timeout=%v", o.timeout/2), "-test.run=" + o.run},
		env:   []string{fmt.Sprintf("RULES=%d", o.rules), needs.FewVariable + "=1"},
	}
	all, err := kernelPackages(ctx, s.root)
	if err != nil {
		return nil, err
	}
	if s.selection, err = choose(all, leaveOut, o); err != nil {
		return nil, err
	}
	if err := s.exist(s.root); err != nil {
		return nil, err
	}
	// The few commands that tests call (sh, sleep, readlink, ip) in one binary.
	if s.tools, err = fetchPackage(ctx, "^busybox-static$", o.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.built, 0o755); err != nil {
		return nil, err
	}
	return s, s.build(ctx)
}

// binary is where a package's tests are built.
func (s *suite) binary(pkg string) string {
	return filepath.Join(s.built, strings.ReplaceAll(pkg, "/", "-")+".test")
}

// arguments are what a package's test binary is called with on a kernel.
func (s *suite) arguments(pkg, line string) []string {
	args := append(slices.Clone(s.args), packageArgs[pkg]...)
	if skip := s.skip(pkg, line); skip != "" {
		args = append(args, "-test.skip="+skip)
	}
	return args
}

// guest is where the first process is built.
func (s *suite) guest() string { return filepath.Join(s.built, "guest") }

func (s *suite) build(ctx context.Context) error {
	goFor := []string{"env", "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "go"}
	built, err := filepath.Abs(s.built)
	if err != nil {
		return err
	}
	guest := append(slices.Clone(goFor), "build", "-C", s.root, "-o", filepath.Join(built, filepath.Base(s.guest())), "./test/kernels/guest")
	if _, err := output(ctx, guest...); err != nil {
		return err
	}
	for _, pkg := range s.packages {
		to := filepath.Join(built, filepath.Base(s.binary(pkg)))
		test := append(slices.Clone(goFor), "test", "-C", s.root, "-c", "-ldflags=-s -w", "-o", to, "./"+pkg)
		if _, err := output(ctx, test...); err != nil {
			return err
		}
	}
	return nil
}

// source is where the module's files are in the virtual machine.
const source = "/source"

// writeInitramfs writes all that the virtual machine has: the first process,
// tools, modules, and each package's tests among the files that they may read.
func (s *suite) writeInitramfs(ctx context.Context, to, line string, k *kernel) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := newArchive(f)
	a.device("/dev/console", 5, 1)
	a.copyFile("/init", s.guest())
	a.link("/bin/"+job.Compiler, "/init")
	a.copyFile("/bin/busybox", filepath.Join(s.tools.dir, "bin", "busybox"))
	for _, name := range []string{"sh", "sleep", "readlink", "true", "cat", "ip"} {
		a.link("/bin/"+name, "busybox")
	}
	if err := s.addSource(a); err != nil {
		return err
	}
	var j job.Job
	loaded, err := loadOrder(ctx, k.tree, modules)
	if err != nil {
		return err
	}
	for _, m := range loaded {
		name := "/modules/" + m.name + ".ko"
		a.file(name, m.image)
		j.Modules = append(j.Modules, name)
	}
	for _, pkg := range s.packages {
		t := job.Test{Package: pkg, Dir: path.Join(source, pkg), Args: s.arguments(pkg, line), Env: s.env}
		t.Binary = path.Join(t.Dir, path.Base(pkg)+".test")
		a.copyFile(t.Binary, s.binary(pkg))
		j.Tests = append(j.Tests, t)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	a.file(job.Path, text)
	return a.close()
}

// addSource adds the module's files, because tests read them by paths from
// their package's folder.
func (s *suite) addSource(a *archive) error {
	return filepath.WalkDir(s.root, func(from string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.root, from)
		if err != nil {
			return err
		}
		if d.IsDir() && (name == ".git" || name == "bin") {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			a.copyFile(path.Join(source, filepath.ToSlash(name)), from)
		}
		return nil
	})
}
