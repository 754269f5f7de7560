// Package live tests Repacket where it works: frames are sent raw into one end
// of a veth pair, rewritten by XDP at the other, received raw behind it and
// compared, byte for byte, with frames that an outside library has built.
package live
