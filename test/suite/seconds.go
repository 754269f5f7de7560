package main

// seconds is how long the slow packages take on two cores of 2026, compiling
// included: what the time left is estimated by, and nothing else.
var seconds = map[string]float64{
	"test/prove": 60, "test/live": 90, "test/faults": 60,
}
