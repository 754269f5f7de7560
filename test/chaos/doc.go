// Package chaos kills, stops and races the commands at random moments, and looks at what
// is left: the interface does what it did before, or what was asked for, and nothing between; no
// packet of a stream is lost or slips past rules that are to stay. All of it is in the tests.
//
// What is drawn at random follows from a seed, which is printed; SEED=N draws the same again. When
// a signal meets a process is up to the machine, too.
package chaos
