package cli

import (
	"os"
	"testing"

	"repacket/internal/doctor"
	"repacket/internal/hook"
	"repacket/internal/run"
)

// patient is a machine with a network card as clouds have it, for the doctor.
type patient struct{}

func (patient) PageSize() int { return 4096 }

func (patient) ReadFile(path string) ([]byte, error) {
	text, ok := map[string]string{
		"/proc/sys/kernel/osrelease":                 "6.1.0-40-cloud-amd64\n",
		"/proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
		"/proc/sys/net/core/bpf_jit_enable":          "0\n",
		"/proc/thread-self/status":                   "CapEff:\t000000c000001000\n",
		"/proc/thread-self/mounts":                   "bpf /sys/fs/bpf bpf rw 0 0\n",
		"/sys/kernel/security/lockdown":              "none [integrity] confidentiality\n",
	}[path]
	if !ok {
		return nil, os.ErrNotExist
	}
	return []byte(text), nil
}

func (patient) Has(f hook.Feature) (bool, error) { return f != hook.TCX && f != hook.JIT, nil }

func (patient) Interface(string) (hook.Iface, error) {
	return hook.Iface{Name: "ens5", Index: 2, MTU: 9001, Up: true, Ethernet: true, Driver: "ena", Native: hook.Supported}, nil
}

func (p patient) Interfaces() ([]hook.Iface, error) {
	i, err := p.Interface("")
	return []hook.Iface{i}, err
}

func (patient) Programs(_ int, dir run.Direction) ([]hook.Program, error) {
	if dir == run.In {
		return []hook.Program{{Hook: run.GenericXDP, ProgramID: 12}}, &hook.PrivilegeError{Missing: []string{"CAP_SYS_ADMIN"}, Err: os.ErrPermission}
	}
	return []hook.Program{
		{Hook: run.TC, Way: hook.ByClsact, Direction: dir, ProgramID: 13, ProgramName: "repacket", Ours: true, Meta: hook.Meta{PID: 4711, Foreground: true}},
		{Hook: run.TC, Way: hook.ByClsact, Direction: dir, ProgramID: 9, ProgramName: "shaper"},
	}, nil
}

func (patient) TakesFragments(hook.Iface) hook.Support { return hook.Missing }

func (patient) Switches(string) (map[string]doctor.Switch, error) {
	return map[string]doctor.Switch{"rx-gro": {On: true}, "rx-vlan-hw-parse": {On: true}}, nil
}

func (patient) Channels(string) (doctor.Channels, error) {
	return doctor.Channels{Combined: 8, MaxCombined: 8}, nil
}

// examined is a kernel whose doctor sees the patient.
type examined struct{ *fakeKernel }

func (examined) Doctor(iface string) ([]doctor.Row, error) {
	return doctor.Report(patient{}, iface)
}

// The whole report, as it is read.
func TestDoctorReport(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"doctor", "-i", "ens5"}, {"doctor"}} {
		f := newFake(t, args...)
		f.Kernel = examined{f.kernel}
		status, stdout, stderr := f.run()
		if status != exitDone || stderr != "" {
			t.Errorf("%v: exit status %d, %q", args, status, stderr)
		}
		path := "testdata/" + args[0] + map[bool]string{true: "-all", false: ""}[len(args) == 1] + ".golden"
		if *update {
			if err := os.WriteFile(path, []byte(stdout), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wantText(t, path, stdout, string(want))
	}
}
