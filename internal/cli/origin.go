package cli

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"repacket/internal/run"
	"repacket/internal/spelling"
)

// mostCommand is how many bytes of a command line are kept.
const mostCommand = 4 << 10

// origin is who calls this command.
func (a *app) origin() *run.Origin {
	if a.env.Origin == nil {
		return nil
	}
	o := a.env.Origin()
	words := []string{"repacket"}
	for _, w := range a.env.Args {
		words = append(words, spelling.InShell(strings.ToValidUTF8(w, "\ufffd")))
	}
	o.Command = strings.Join(words, " ")
	if len(o.Command) > mostCommand {
		cut := mostCommand - len("…")
		for !utf8.RuneStart(o.Command[cut]) {
			cut--
		}
		o.Command = o.Command[:cut] + "…"
	}
	return &o
}

// named is an origin with the names of its users.
func (a *app) named(o *run.Origin) *run.Origin {
	if o == nil {
		return nil
	}
	out := *o
	out.User = a.userName(&o.UID)
	out.SudoUser, out.LoginUser = a.userName(o.SudoUID), a.userName(o.LoginUID)
	return &out
}

// userName is the name of a user, or "".
func (a *app) userName(uid *int) string {
	if uid == nil || a.env.UserName == nil {
		return ""
	}
	return a.env.UserName(*uid)
}

// userName is the name of a user of this machine, or "".
func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return u.Username
}

// who says who it was, as in "root (0), by sudo of alice (1000)".
func who(o *run.Origin) string {
	text := userWords(o.User, o.UID)
	if o.SudoUID != nil {
		text += ", by sudo of " + userWords(o.SudoUser, *o.SudoUID)
	}
	if o.LoginUID != nil && *o.LoginUID != o.UID && (o.SudoUID == nil || *o.LoginUID != *o.SudoUID) {
		text += ", logged in as " + userWords(o.LoginUser, *o.LoginUID)
	}
	return text
}

func userWords(name string, uid int) string {
	if name == "" {
		return fmt.Sprintf("user %d", uid)
	}
	return fmt.Sprintf("%s (%d)", name, uid)
}

// nameOrigins adds the names of users.
func (a *app) nameOrigins(all []run.Attached) {
	for i := range all {
		p := &all[i]
		p.Origin = a.named(p.Origin)
		if p.Program != nil {
			named := *p.Program
			named.User = a.userName(&named.UID)
			p.Program = &named
		}
		if p.Revert != nil && p.Revert.Origin != nil {
			reverted := *p.Revert
			reverted.Origin = a.named(reverted.Origin)
			p.Revert = &reverted
		}
	}
}

// originLines say who attached rules, and what the kernel says of their program.
func originLines(p run.Attached) (lines []string) {
	switch {
	case p.Origin != nil:
		lines = append(lines, "attached: "+originWords(p.Origin))
	case acting(p):
		lines = append(lines, "attached: by whom was not kept")
	}
	if p.Revert != nil && p.Revert.Origin != nil {
		lines = append(lines, "not confirmed: "+originWords(p.Revert.Origin))
	}
	if k := p.Program; k != nil {
		lines = append(lines, fmt.Sprintf("in the kernel: program %d, loaded %s by %s", k.ID, k.Loaded.Local().Format(time.DateTime), userWords(k.User, k.UID)))
	}
	return lines
}

func originWords(o *run.Origin) string {
	return fmt.Sprintf("%s by %s: %s", o.At.Local().Format(time.DateTime), who(o), o.Command)
}
