package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// module is one kernel module.
type module struct {
	name  string
	image []byte // an ELF file
}

// moduleFiles finds all modules of a tree by name.
func moduleFiles(tree string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if name, ok := moduleName(path); ok {
			files[name] = path
		}
		return err
	})
	return files, err
}

// moduleName tells the name of a module from its file's: sch-ingress.ko.xz
// holds sch_ingress.
func moduleName(path string) (string, bool) {
	name, rest, ok := strings.Cut(filepath.Base(path), ".")
	ok = ok && slices.Contains([]string{"ko", "ko.xz", "ko.zst"}, rest)
	return strings.ReplaceAll(name, "-", "_"), ok
}

// builtIn are the names of the modules that the kernel of a tree has built in. What one
// kernel of Debian loads, the next may have built in: fuse does since 6.12.
func builtIn(tree string) (map[string]bool, error) {
	text, err := os.ReadFile(filepath.Join(tree, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for path := range strings.FieldsSeq(string(text)) {
		if name, ok := moduleName(path); ok {
			names[name] = true
		}
	}
	return names, nil
}

// loadOrder is the modules with what they need, which stands before them. Those that are
// built in are not among them.
func loadOrder(ctx context.Context, tree string, names []string) ([]module, error) {
	files, err := moduleFiles(tree)
	if err != nil {
		return nil, err
	}
	inKernel, err := builtIn(tree)
	if err != nil {
		return nil, err
	}
	var order []module
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] || inKernel[name] {
			return nil
		}
		seen[name] = true
		path, ok := files[name]
		if !ok {
			return fmt.Errorf("no module %s in %s", name, tree)
		}
		image, err := readModule(ctx, path)
		if err != nil {
			return err
		}
		needs, err := moduleNeeds(image)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return err
			}
		}
		order = append(order, module{name, image})
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// readModule reads a module's file and unpacks it.
func readModule(ctx context.Context, path string) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".xz":
		out, err := output(ctx, "xz", "--decompress", "--stdout", path)
		return []byte(out), err
	case ".zst":
		out, err := output(ctx, "zstd", "--decompress", "--stdout", path)
		return []byte(out), err
	}
	return os.ReadFile(path)
}

// moduleNeeds reads which modules a module needs: section .modinfo holds
// KEY=VALUE strings, each ended by a zero.
func moduleNeeds(image []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(entry), "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
