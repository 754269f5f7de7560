package cli

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"repacket/internal/run"
	"repacket/internal/sandbox"
)

// confine takes from the process what it does not need any more: the rules act, and what stays to do
// is to count, to show packets and to detach. After an error the session is closed.
func (a *app) confine(session run.Session) error {
	s, ok := session.(run.Confinable)
	if !ok || a.env.Confine == nil {
		return nil
	}
	need := sandbox.Need{Reload: a.opt.rereads(), Caller: a.env.Caller}
	var err error
	if !need.Reload {
		need.NetAdmin, err = s.Confine()
	}
	var kept []string
	if err == nil {
		kept, err = a.env.Confine(need)
	}
	if err != nil {
		_, closeErr := session.Close()
		a.shower.saved().abandon(a)
		err = fmt.Errorf("the run could not give up its privileges, so its rules have been detached: %w", err)
		return &Failure{Status: exitFailed, Err: errors.Join(err, closeErr)}
	}
	for _, k := range kept {
		a.out.status("the run keeps %s", k)
	}
	if need.Reload && a.opt.verbose > 0 {
		a.out.status("the run keeps the privileges to attach rules again; --once gives them up")
	}
	if need.NetAdmin && a.opt.verbose > 0 {
		a.out.status("the run keeps CAP_NET_ADMIN: this kernel has no tcx (Linux 6.6), and the filter that holds the rules is removed by it")
	}
	return nil
}

// caller is who called the command: the real user where the process has more rights by set-uid,
// and behind sudo(8) whom its variables name. Only root could forge them, who becomes less by it.
func caller() sandbox.Caller {
	if uid := os.Getuid(); uid != 0 {
		if os.Geteuid() == uid {
			return sandbox.Caller{}
		}
		return sandbox.Caller{UID: uid, GID: os.Getgid()}
	}
	uid, uidErr := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 31)
	gid, gidErr := strconv.ParseUint(os.Getenv("SUDO_GID"), 10, 31)
	if uidErr != nil || gidErr != nil || uid == 0 {
		return sandbox.Caller{}
	}
	return sandbox.Caller{UID: int(uid), GID: int(gid)}
}
