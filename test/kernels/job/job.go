// Package job is what the machine outside and the first process inside agree
// on: what to do, how the results come back, and how the tests inside reach
// the compiler outside.
package job

// Path is where the job stands in the virtual machine, as JSON.
const Path = "/job.json"

// Line is the serial line that carries the results and nothing else: the
// kernel writes to the first one.
const Line = "/dev/ttyS1"

// Job is what is done in the virtual machine, in this order.
type Job struct {
	Modules []string // paths of kernel modules, each behind those it needs
	Tests   []Test
}

// Test is one package's test binary.
type Test struct {
	Package string // path in the module, as in internal/hook
	Dir     string // where it runs
	Binary  string
	Args    []string
	Env     []string // KEY=VALUE, added to what all have
}

// Mark begins a line that is not a test's output. A mark's word is followed by
// a blank and its value; Begin and End enclose the output of a package.
const Mark = "\x01"

// The marks.
const (
	Release = Mark + "release" // the kernel's name, as uname -r tells it
	Begin   = Mark + "begin"   // the package
	End     = Mark + "end"     // "ok", or what became of the binary
	Compile = Mark + "compile" // a Compilation; the answer is a line with a Compiled
	Broken  = Mark + "broken"  // why the machine gave up
	Done    = Mark + "done"    // all tests were run
)

// Compiler is the program's name under which the first process's binary has
// clang run outside: clang and its libraries would be most of the virtual
// machine, and slow there.
const Compiler = "clang"

// Compilation is what clang is called with.
type Compilation struct {
	Args  []string
	Stdin []byte
	// Files are the source files among the arguments, by name.
	Files map[string][]byte
}

// Compiled is what came of it.
type Compiled struct {
	Status         int
	Stdout, Stderr []byte
	Files          map[string][]byte // what was written
}
