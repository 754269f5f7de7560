package cli

import (
	"errors"
	"math"

	"repacket/internal/rule"
)

// verifyPackets is how many packets prove rules at length: so many for native
// and so many for generic mode.
const verifyPackets = 20_000

// Verified is what a proof at length has found.
type Verified struct {
	// Packets ran through the program, native and generic XDP and tc, and on Acted of
	// them a rule acted.
	Packets int `json:"packets"`
	Acted   int `json:"acted"`
	// Unreached are the rules, by number from 1, that acted on none of them.
	Unreached []int `json:"unreached,omitempty"`
	// Instructions is the length of the program.
	Instructions int `json:"instructions"`
	// Nanoseconds is what a packet takes that a rule acts on, over a program
	// that does nothing; 0 where no packet goes on matching when it is rewritten.
	Nanoseconds float64 `json:"nanoseconds,omitempty"`
}

// proofJob says what is proved.
type proofJob struct {
	Program *rule.Program
	Packets int
	Clang   bool // compiled by clang
	Broken  bool // wrong on purpose
}

type verifiedEvent struct {
	event
	Verified
}

// verify proves in the kernel that the program does what the rules say.
func (a *app) verify(words []string) error {
	program, err := a.program(words)
	if err != nil {
		return err
	}
	if _, err := a.explain(program); err != nil {
		return tooLarge(err)
	}
	v, err := a.env.Kernel.Verify(proofJob{program, verifyPackets, a.opt.backend == "clang", a.env.Broken})
	if err != nil {
		return err
	}
	if len(v.Unreached) == len(program.Written) {
		return &Failure{
			Status: exitFailed, Err: errors.New("no packet was made that a rule acts on, so nothing is proved"),
			Hint: "a simpler condition shows whether the rest of the rule is right",
		}
	}
	v.Nanoseconds = math.Round(10*v.Nanoseconds) / 10
	if a.out.json {
		a.out.object(verifiedEvent{a.out.event("verified"), v})
		return nil
	}
	a.out.printf("verified: the kernel takes the program, %d instructions\n", v.Instructions)
	a.out.printf("  tried: %d packets made for these rules, whole, cut off and lying, for native and generic XDP and for tc\n", v.Packets)
	a.out.printf("  acted on: %d of them; every byte, verdict and counter is that of the reference\n", v.Acted)
	for _, n := range v.Unreached {
		a.out.printf("  not reached: rule %d acted on none of them, so of it nothing is proved\n", n)
	}
	if v.Nanoseconds > 0 {
		a.out.printf("  takes: %.1f ns a packet over a program that does nothing, by a clock of whole nanoseconds\n", v.Nanoseconds)
	}
	return nil
}
