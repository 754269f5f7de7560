// Package session finds the connections by which the user of a command came, and how the packets
// of a connection pass an interface: from /proc, the routing table and the neighbor table.
//
// A command that sudo has started does not have SSH_CONNECTION, so the connections are those of
// its ancestors. It reads and changes nothing.
package session
