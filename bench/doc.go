// Command bench measures what a rule costs: instructions and nanoseconds in
// the kernel beside hand-written C for the same rule, and the way from the
// command line to the attached program beside other tools. README.md says how
// to read what it prints.
//
// It needs root and, by part, clang, nft, iperf3 and tcpdump.
package main
