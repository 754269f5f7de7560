package cli

import (
	"runtime"
	"runtime/debug"
)

// version is set by the linker for a release; otherwise it comes from what
// the Go tool wrote into the program.
var version string

type versionEvent struct {
	event
	Program string `json:"program"`
	Release string `json:"release"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

func (a *app) version() error {
	release, commit := buildVersion()
	system := runtime.GOOS + "/" + runtime.GOARCH
	if a.out.json {
		a.out.object(versionEvent{a.out.event("version"), "repacket", release, commit, runtime.Version(), system})
		return nil
	}
	if commit != "" {
		commit = ", commit " + commit
	}
	a.out.printf("repacket %s%s, %s, %s\n", release, commit, runtime.Version(), system)
	return nil
}

// buildVersion is the release and, where it is known, the commit.
func buildVersion() (release, commit string) {
	release = version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return release, ""
	}
	if release == "" {
		release = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			commit = s.Value[:12]
		}
	}
	return release, commit
}
