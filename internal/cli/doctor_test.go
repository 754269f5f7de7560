package cli

import (
	"strings"
	"testing"

	"repacket/internal/doctor"
)

var (
	fine   = doctor.Row{Name: "kernel", Level: doctor.OK, Text: "Linux 6.18.0"}
	noted  = doctor.Row{Name: "mtu", Interface: "eth1", Level: doctor.Note, Text: "9000", Command: "ip link set dev eth1 mtu 3498"}
	warned = doctor.Row{Name: "queues", Interface: "eth1", Level: doctor.Warning, Text: "8 of 8", Command: "ethtool -L eth1 combined 4"}
	broken = doctor.Row{Name: "capabilities", Level: doctor.Error, Text: "CAP_BPF is missing", Command: "setcap cap_bpf+ep repacket"}
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args     string
		findings []doctor.Row
		status   int
		stdout   string
		stderr   string
	}{
		{"doctor -i eth1", []doctor.Row{fine, noted, warned}, exitDone, `ok       kernel  Linux 6.18.0
note     mtu     9000
                 $ ip link set dev eth1 mtu 3498
warning  queues  8 of 8
                 $ ethtool -L eth1 combined 4
`, ""},
		// Without an interface each has one row, which names it.
		{"doctor", []doctor.Row{fine, {Name: "interface", Interface: "eth1", Level: doctor.OK, Text: "veth"}}, exitDone, `ok  kernel     Linux 6.18.0
ok  interface  eth1: veth
`, ""},
		// A command is told once.
		{"doctor", []doctor.Row{broken, {Name: "bpf", Level: doctor.Error, Text: "none", Command: broken.Command}}, exitUnsupported, `error  capabilities  CAP_BPF is missing
                     $ setcap cap_bpf+ep repacket
error  bpf           none
`, "repacket: error: something keeps Repacket from running: capabilities, bpf\n  hint: docs/doctor.md tells what each row means\n"},
		{"doctor -j -i eth1", []doctor.Row{fine, warned}, exitDone, `{"version":1,"event":"finding","time":"2023-11-14T22:13:20Z","name":"kernel","level":"ok","text":"Linux 6.18.0"}
{"version":1,"event":"finding","time":"2023-11-14T22:13:20Z","name":"queues","interface":"eth1","level":"warning","text":"8 of 8","command":"ethtool -L eth1 combined 4"}
`, ""},
		{"doctor -j", []doctor.Row{broken}, exitUnsupported, `{"version":1,"event":"finding","time":"2023-11-14T22:13:20Z","name":"capabilities","level":"error","text":"CAP_BPF is missing","command":"setcap cap_bpf+ep repacket"}
{"version":1,"event":"error","time":"2023-11-14T22:13:20Z","status":4,"message":"something keeps Repacket from running: capabilities","hint":"docs/doctor.md tells what each row means"}
`, ""},
		{"doctor --color always", []doctor.Row{fine, warned}, exitDone, "ok       kernel  Linux 6.18.0\n" +
			"\x1b[1;33mwarning\x1b[0m  queues  eth1: 8 of 8\n                 $ ethtool -L eth1 combined 4\n", ""},
		{"doctor -i eth7", nil, exitUsage, "", "repacket: error: there is no interface eth7\n"},
		{"doctor eth1", nil, exitUsage, "", "repacket: error: doctor takes no \"eth1\"\n  hint: repacket doctor -i eth1\n"},
		{"doctor -Q out", nil, exitUsage, "", "repacket: error: -Q means nothing to doctor\n  hint: repacket doctor --help lists its flags\n"},
	} {
		f := newFake(t, strings.Fields(tt.args)...)
		f.kernel.findings = tt.findings
		status, stdout, stderr := f.run()
		if status != tt.status {
			t.Errorf("%s: exit status %d, want %d", tt.args, status, tt.status)
		}
		wantText(t, tt.args+": stdout", stdout, tt.stdout)
		wantText(t, tt.args+": stderr", stderr, tt.stderr)
	}
}
