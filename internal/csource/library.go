package csource

import (
	"embed"
	"regexp"
	"strings"
	"sync"

	"repacket/internal/field"
)

// headerOf is the structure of a header, protocolNumber and etherType its
// numbers: what is written only if it is needed has a name.
func headerOf(p field.Protocol) string       { return "struct " + structureName(p) }
func protocolNumber(p field.Protocol) string { return "number " + p.String() }
func etherType(p field.Protocol) string      { return "type " + p.String() }

// Other names of what is no function.
const (
	addressMacro = "ADDRESS"
	extension    = "struct extension"
	noWay        = "NO_WAY"
	routedFlag   = "WAY_ROUTED"
	moreFlag     = "WAY_MORE"
	hookXDP      = "XDP"
	hookTC       = "TC"
	ownDraws     = "RANDOM"
	givenDraws   = "DRAWS"
)

// function is one of the library: C that programs are made of. It is known by its
// name, and needs what its text names.
type function struct {
	name  string
	needs []string
	masks []*field.Field // whose bits it names
	// params are the names of its parameters, which are also what routines call them.
	params []param
	text   string
}

// Lines of the library that begin with a name in braces are written only if that is
// needed, and so is what stands between a name in braces and {}.
//
//go:embed library
var libraryFiles embed.FS

var (
	marked    = lazily(`(?m)^\{([A-Z_]+)\}(.*\n)|\{([A-Z_]+)\}([^{}\n]*)\{\}`)
	signature = lazily(`(?s)^(?:static|__noinline) .*?(\w+)\((.*?)\)\n\{`)
	comments  = lazily(`(?s)/\*.*?\*/`)
	named     = lazily(`struct \w+|\w+`)
)

// lazily compiles an expression when it is first asked for, not when the process starts.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// library are all functions, each behind those that it needs.
var library = sync.OnceValue(func() []*function {
	var out []*function
	names := map[string]bool{noWay: true, moreFlag: true, extension: true, flowStruct: true}
	for _, file := range []string{"frame", "ip", "ip6", "tcp", "quote", "random", "value", "checksum", "others", "tc", "end", "flow"} {
		text, err := libraryFiles.ReadFile("library/" + file + ".c")
		if err != nil {
			panic(err)
		}
		for _, text := range strings.SplitAfter(string(text), "\n}\n") {
			if text == "" {
				continue
			}
			f := &function{text: strings.TrimPrefix(text, "\n")}
			head := signature().FindStringSubmatch(f.code())
			f.name = head[1]
			for _, p := range strings.Split(head[2], ",") {
				words := named().FindAllString(p, -1)
				f.params = append(f.params, param(words[len(words)-1]))
			}
			names[f.name] = true
			out = append(out, f)
		}
	}
	for _, p := range field.Protocols() {
		names[headerOf(p)] = true
	}
	for _, f := range out {
		f.find(names)
	}
	return out
})

// code is the function without comments and without what is not always written.
func (f *function) code() string {
	return strings.TrimSpace(comments().ReplaceAllString(marked().ReplaceAllString(f.text, ""), ""))
}

// find finds in the text what the function needs.
func (f *function) find(names map[string]bool) {
	for _, word := range named().FindAllString(f.code(), -1) {
		mask, isField := field.ByName(strings.ToLower(word))
		switch {
		case word == f.name:
		case names[word]:
			f.needs = append(f.needs, word)
		case isField && word == strings.ToUpper(word):
			f.masks = append(f.masks, mask)
		}
	}
}

// functionOf finds a function. What is none needs nothing.
func functionOf(name string) *function {
	for _, f := range library() {
		if f.name == name {
			return f
		}
	}
	return &function{}
}

// need notes that something is needed, and what it needs itself.
func (w *writer) need(name string) {
	if w.needs[name] {
		return
	}
	w.needs[name] = true
	f := functionOf(name)
	for _, n := range f.needs {
		w.need(n)
	}
	for _, m := range f.masks {
		w.masks[m] = true
	}
}

// call writes the call of a function whose parameters routines have under the same
// names.
func (w *writer) call(name string) string {
	w.need(name)
	var args []string
	for _, p := range functionOf(name).params {
		w.use(p)
		args = append(args, string(p))
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// functions are those that are needed.
func (w *writer) functions() []string {
	var out []string
	for _, f := range library() {
		if w.needs[f.name] {
			out = append(out, marked().ReplaceAllStringFunc(f.text, func(m string) string {
				if parts := marked().FindStringSubmatch(m); w.needs[parts[1]+parts[3]] {
					return parts[2] + parts[4]
				}
				return ""
			}))
		}
	}
	return out
}
