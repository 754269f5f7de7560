package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"repacket/test/kernels/job"
)

// debianPackage is a package that was fetched and unpacked.
type debianPackage struct {
	name, version string
	dir           string // its files
}

// kernel is a kernel of Debian's.
type kernel struct {
	debianPackage
	image string // the kernel itself
	tree  string // its modules
}

// tools are the programs that must be on this machine, and Debian's packages
// that have them.
var tools = []struct{ program, packages string }{
	{emulator, "qemu-system-x86"},
	{job.Compiler, "clang libbpf-dev"},
	{"xz", "xz-utils"},
}

// installTools installs what is missing.
func installTools(ctx context.Context) error {
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, strings.Fields(t.packages)...)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := asRoot(ctx, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	return asRoot(ctx, append([]string{
		"env", "DEBIAN_FRONTEND=noninteractive",
		"apt-get", "install", "-y", "-qq", "--no-install-recommends",
	}, missing...)...)
}

func asRoot(ctx context.Context, words ...string) error {
	if os.Getuid() != 0 {
		words = append([]string{"sudo"}, words...)
	}
	_, err := output(ctx, words...)
	return err
}

// fetchKernel fetches the newest kernel of a line, as in 6.1, in the flavour
// for virtual machines, which has what we need and is the smallest.
func fetchKernel(ctx context.Context, line, dir string) (*kernel, error) {
	pattern := `^linux-image-` + regexp.QuoteMeta(line) + `\.[0-9][^ ]*-cloud-amd64$`
	p, err := fetchPackage(ctx, pattern, dir)
	if err != nil {
		return nil, err
	}
	release := strings.TrimPrefix(p.name, "linux-image-")
	return &kernel{
		debianPackage: *p,
		image:         filepath.Join(p.dir, "boot", "vmlinuz-"+release),
		tree:          filepath.Join(p.dir, "lib", "modules", release),
	}, nil
}

// fetchPackage fetches the newest package whose name matches, unless it is
// already there, and unpacks it. Nothing is installed.
func fetchPackage(ctx context.Context, pattern, dir string) (*debianPackage, error) {
	p, err := fetchKnown(ctx, pattern, dir)
	if err == nil {
		return p, nil
	}
	// What apt knows may be old, or nothing at all.
	if err := asRoot(ctx, "apt-get", "update", "-qq"); err != nil {
		return nil, err
	}
	return fetchKnown(ctx, pattern, dir)
}

// fetchKnown does it with the packages that apt knows.
func fetchKnown(ctx context.Context, pattern, dir string) (*debianPackage, error) {
	names, err := search(ctx, pattern)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("apt knows no package %s (Debian 12 has it, with its security updates)", pattern)
	}
	p := &debianPackage{name: slices.MaxFunc(names, compareVersions)}
	if p.version, err = candidate(ctx, p.name); err != nil {
		return nil, err
	}
	p.dir = filepath.Join(dir, p.name+"_"+strings.ReplaceAll(p.version, ":", "_"))
	if _, err := os.Stat(p.dir); err == nil {
		return p, nil
	}
	return p, p.unpack(ctx)
}

// unpack downloads the package and unpacks it; its folder is there only if it
// is whole.
func (p *debianPackage) unpack(ctx context.Context) (err error) {
	temp := p.dir + ".part"
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := os.MkdirAll(filepath.Join(temp, "files"), 0o755); err != nil {
		return err
	}
	// Root's apt would download as a user who cannot write here.
	get := exec.CommandContext(ctx, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", p.name+"="+p.version)
	get.Dir = temp
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download %s: %w\n%s", p.name, err, out)
	}
	archives, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("apt-get download %s: got %d files", p.name, len(archives))
	}
	if _, err := output(ctx, "dpkg", "-x", archives[0], filepath.Join(temp, "files")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(temp, "files"), p.dir)
}

// search lists the packages whose names match.
func search(ctx context.Context, pattern string) ([]string, error) {
	out, err := output(ctx, "apt-cache", "search", "--names-only", pattern)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, strings.TrimSpace(name))
	}
	return names, nil
}

// candidate is the version of a package that apt would take.
func candidate(ctx context.Context, name string) (string, error) {
	out, err := output(ctx, "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if version, ok := strings.CutPrefix(line, "Version: "); ok {
			return strings.TrimSpace(version), nil
		}
	}
	return "", fmt.Errorf("apt-cache show %s: no version", name)
}

var number = regexp.MustCompile(`\d+`)

// compareVersions orders names of one pattern by the numbers in them.
func compareVersions(a, b string) int {
	return slices.CompareFunc(number.FindAllString(a, -1), number.FindAllString(b, -1), func(x, y string) int {
		m, _ := strconv.Atoi(x)
		n, _ := strconv.Atoi(y)
		return cmp.Compare(m, n)
	})
}

// output runs a command to the end. Its stderr is in the error.
func output(ctx context.Context, words ...string) (string, error) {
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return string(out), nil
}
