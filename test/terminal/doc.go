// Package terminal tests what Repacket draws in a real terminal, that of tmux.
package terminal
