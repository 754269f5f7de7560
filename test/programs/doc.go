// Package programs looks at what is on an interface, as the kernel tells it, for tests that
// count on nothing that Repacket says of itself: no code of ours has a part in it. Linux only.
package programs
