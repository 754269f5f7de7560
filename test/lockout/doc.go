// Package lockout tests Repacket where its user has come by the network that the rules are for: by
// ssh to a machine that is a network namespace.
package lockout
