// Package sandbox takes from this process, once its rules are attached, all that it does not need to
// count, to show packets and to detach: capabilities, other privileges to come, files, and system
// calls. What the kernel has been given acts on: the link holds the program.
package sandbox

// Need is what the process still has to do.
type Need struct {
	// Reload: it will read rules again and attach them, so it keeps the files, the system calls and
	// those capabilities that this takes.
	Reload bool
	// NetAdmin: what it has attached is detached by CAP_NET_ADMIN alone, as a clsact filter is.
	NetAdmin bool
	// Caller is the user to become.
	Caller Caller
}

// Caller is the user and the group who called the command. With zeros the process stays who it is.
type Caller struct{ UID, GID int }
