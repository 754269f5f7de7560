// Command bench measures what a rule costs: instructions and nanoseconds in
// the kernel beside hand-written C for the same rule, and the way from the
// command line to the attached program beside other tools. README.md says how
// to read what it prints.
//
// It needs root and clang, and nft for one of the lines.
package main
