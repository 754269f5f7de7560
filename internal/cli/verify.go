package cli

import (
	"errors"
	"math"

	"repacket/internal/run"
)

// verifyPackets is how many packets test rules at length, for each program that may be
// attached.
const verifyPackets = 20_000

type verifiedEvent struct {
	event
	run.Verified
}

// verify tests in the kernel that the program does what the rules say.
func (a *app) verify(words []string) error {
	program, err := a.program(words)
	if err != nil {
		return err
	}
	if _, err := a.explain(program); err != nil {
		return err
	}
	v, err := a.env.Kernel.Verify(run.Options{Program: program, Clang: a.opt.backend == "clang", Broken: a.env.Broken}, verifyPackets)
	if err != nil {
		return err
	}
	if len(v.Unreached) == len(program.Written) {
		return &Failure{
			Status: exitFailed, Err: errors.New("no synthetic packet was found that a rule acts on, so nothing is verified"),
			Hint: "a simpler condition shows whether the rest of the rule is right",
		}
	}
	for _, side := range []*run.Verified{&v, v.Replies} {
		if side != nil {
			side.Nanoseconds = math.Round(10*side.Nanoseconds) / 10
		}
	}
	if a.out.json {
		a.out.object(verifiedEvent{a.out.event("verified"), v})
		return nil
	}
	a.verified(v, "the program")
	if v.Replies != nil {
		a.verified(*v.Replies, "the program that rewrites replies")
	}
	return nil
}

// verified shows what a test at length has found of a program.
func (a *app) verified(v run.Verified, program string) {
	a.out.printf("verified: the kernel takes %s, %d instructions\n", program, v.Instructions)
	a.out.printf("  tried: %d synthetic packets for these rules, whole, truncated and malformed, for native and generic XDP and for tc\n", v.Packets)
	a.out.printf("  acted on: %d of them; every byte, verdict and counter is that of the reference\n", v.Acted)
	for _, n := range v.Unreached {
		a.out.printf("  not reached: rule %d acted on none of them, so it is not verified\n", n)
	}
	if v.Nanoseconds > 0 {
		a.out.printf("  takes: %.1f ns a packet over a program that does nothing, by a clock of whole nanoseconds\n", v.Nanoseconds)
	}
}
