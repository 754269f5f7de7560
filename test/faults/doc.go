// Package faults lets single system calls of the commands fail, one a run, and
// looks at what is left: the interface is as it was or as promised, and the exit
// status says which. All of it is in the tests.
package faults
