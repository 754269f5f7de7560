package main

// seconds is how long the slow packages take on two cores of 2026, compiling
// included, and less where two run side by side: what the time left is estimated by,
// and nothing else.
var seconds = map[string]float64{
	"test/prove": 190, "test/live": 60, "test/faults": 45, "test/chaos": 40, "test/upgrade": 20,
	"internal/csource": 75, "internal/engine": 40, "internal/hook": 15, "internal/rule": 15, "internal/bpf": 12,
	"internal/cli": 12, "internal/plan": 12, "test/rulegen": 10,
}
