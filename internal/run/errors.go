package run

import "errors"

// Class is what kind of failure an error is.
type Class uint8

// The classes.
const (
	Failed      Class = iota // it went wrong while running
	Usage                    // what was asked for can never be
	Privilege                // a privilege is missing
	Unsupported              // the kernel or the interface cannot
	Taken                    // another program is there
)

// ClassOf is the class that an error says it is of by a method Class, else Failed.
func ClassOf(err error) Class {
	var classed interface{ Class() Class }
	if errors.As(err, &classed) {
		return classed.Class()
	}
	return Failed
}

// TooLargeHint says what to do about rules that are more than a program can hold.
const TooLargeHint = "fewer rules, or ranges and prefixes in place of single values; rules of one shape are one look-up where they stand side by side"
