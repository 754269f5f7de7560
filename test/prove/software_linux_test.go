package prove

import (
	"fmt"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/plan"
	"repacket/internal/software"
)

// inGo is the plan carried out in Go, as for capture files. Its verdicts are given as those
// of XDP.
func inGo(s subject) (*implementation, error) {
	p, err := plan.BuildTables(s.program, s.link)
	if err != nil {
		return nil, fmt.Errorf("Go: %w", err)
	}
	runner := software.New(p).Runner()
	counts := make([]counter, len(s.program.Written))
	return &implementation{
		name: "Go", options: engine.LoadOptions{Link: s.link, Hook: bpf.XDP}, inGo: true,
		run: func(frame, out []byte) (uint32, []byte, error) {
			got := out[:copy(out, frame)]
			result := runner.Run(got, len(frame))
			if result.Rule >= 0 {
				counts[result.Rule].Packets++
				counts[result.Rule].Bytes += uint64(len(frame))
			}
			return bpf.XDP.Verdict(result.Verdict), got, nil
		},
		draws: func(numbers []uint32) error {
			runner.Draw = func(i int) uint32 { return numbers[i] }
			return nil
		},
		counters: func() ([]counter, error) { return counts, nil },
		close:    func() {},
	}, nil
}
