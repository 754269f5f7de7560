package cli

import (
	"fmt"
	"os"
	"path/filepath"
)

// takenByShell is the comparison that a shell has taken for itself, or "": where
// >= stands without quotes, the shell puts what is printed into a file named =, and
// the rules that are left say something else. Where the kernel does not tell what
// the files are (/proc), it is "".
func takenByShell() string {
	for fd, sign := range []string{"<=", ">="} {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && filepath.Base(name) == "=" {
			return sign
		}
	}
	return ""
}
