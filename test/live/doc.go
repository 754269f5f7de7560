// Package live tests Repacket where it works: packets go through interfaces of
// throw-away networks in every state that the kernel knows, are rewritten there
// on each hook, and are compared behind it, byte for byte, with packets that an
// outside library has built.
package live
