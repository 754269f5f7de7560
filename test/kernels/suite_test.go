package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	all := []string{"bench", "internal/hook", "test/live"}
	leave := []leftOut{{"", "bench", "", "why"}, {"", "test/live", "TestSlow", "why"}, {"6.1", "test/live", "TestNew/a/b$", "why"}, {"6.12", "test/live", "TestOther", "why"}}
	for _, c := range []struct {
		name     string
		leave    []leftOut
		o        options
		packages []string // nil: an error
		skip     string   // in test/live on 6.1
	}{
		{"all", leave, options{}, []string{"internal/hook", "test/live"}, "^TestSlow$|^TestNew$/a/b$"},
		{"a package", leave, options{packages: "test/live"}, []string{"test/live"}, "^TestSlow$|^TestNew$/a/b$"},
		{"another package", leave, options{packages: "internal/hook"}, []string{"internal/hook"}, ""},
		{"some tests of a package", leave, options{packages: "test/live", run: "TestSlow"}, []string{"test/live"}, ""},
		{"one that is left out else", leave, options{packages: "bench"}, []string{"bench"}, ""},
		{"some tests", leave, options{run: "TestSlow"}, []string{"internal/hook", "test/live"}, ""},
		{"a package that needs no kernel", leave, options{packages: "internal/rule"}, nil, ""},
		{"what is left out is not there", []leftOut{{"", "internal/rule", "", "why"}}, options{}, nil, ""},
		{"nothing is left", []leftOut{{"", "bench", "", ""}, {"", "internal/hook", "", ""}, {"", "test/live", "", ""}}, options{}, nil, ""},
	} {
		got, err := choose(all, c.leave, c.o)
		if (err != nil) != (c.packages == nil) || !slices.Equal(got.packages, c.packages) || got.skip("test/live", "6.1") != c.skip {
			t.Errorf("%s: %q without %q, %v; want %q without %q", c.name, got.packages, got.skip("test/live", "6.1"), err, c.packages, c.skip)
		}
	}
}

func TestWhatIsLeftOutExists(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	if err := (selection{leftOut: leaveOut}).exist(root); err != nil {
		t.Error(err)
	}
	gone := selection{leftOut: []leftOut{{"", "test/kernels", "TestOfYesterday", "why"}}}
	if gone.exist(root) == nil {
		t.Error("a test that is not there is left out")
	}
}

func TestCompareVersions(t *testing.T) {
	t.Parallel()
	names := []string{
		"linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64", "linux-image-6.1.0-47-cloud-amd64",
	}
	if got := slices.MaxFunc(names, compareVersions); got != names[1] {
		t.Errorf("the newest is %s", got)
	}
	names = []string{"linux-image-6.12.9+deb12-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64"}
	if got := slices.MaxFunc(names, compareVersions); got != names[1] {
		t.Errorf("the newest is %s", got)
	}
}

func TestModuleName(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"kernel/drivers/net/veth.ko":           "veth",
		"kernel/net/sched/sch-ingress.ko.xz":   "sch_ingress",
		"kernel/net/sched/sch_ingress.ko.zst":  "sch_ingress",
		"modules.builtin":                      "",
		"kernel/net/sched/sch_ingress.ko.orig": "",
	} {
		if got, ok := moduleName(path); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v, want %q", path, got, ok, want)
		}
	}
}

// TestModuleThatIsNotThere: neither a file nor built in is an error; what is built in has to
// be loaded by nobody.
func TestModuleThatIsNotThere(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	builtin := []byte("kernel/fs/fuse/fuse.ko\nkernel/net/sched/sch-ingress.ko\n")
	if err := os.WriteFile(filepath.Join(tree, "modules.builtin"), builtin, 0o600); err != nil {
		t.Fatal(err)
	}
	if order, err := loadOrder(t.Context(), tree, []string{"fuse", "veth"}); err == nil || !strings.Contains(err.Error(), "veth") {
		t.Errorf("got %v, %v", order, err)
	}
	if order, err := loadOrder(t.Context(), tree, []string{"fuse", "sch_ingress"}); err != nil || len(order) > 0 {
		t.Errorf("built in: got %v, %v", order, err)
	}
}
