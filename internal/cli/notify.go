package cli

import (
	"fmt"
	"net"
	"os"
	"strings"

	"repacket/internal/run"
)

// notifyVariable names the socket of the service manager (sd_notify(3)).
const notifyVariable = "NOTIFY_SOCKET"

// serviceManager is what tells the service manager how a run fares, or nil where none wants to
// know. The socket is connected at once, with the rights of the caller, who names it: later a
// run may have given up the right to. Processes that this one starts do not get its name.
func serviceManager() func(state string) error {
	name := os.Getenv(notifyVariable)
	if name == "" {
		return nil
	}
	var conn net.Conn
	err := os.Unsetenv(notifyVariable)
	if err == nil {
		err = withCallersRights(func() (err error) {
			conn, err = net.Dial("unixgram", name) // net reads @ as an abstract socket, too
			return err
		})
	}
	return func(state string) error {
		if err != nil {
			return err
		}
		_, err := conn.Write([]byte(state))
		return err
	}
}

// tellManager tells the service manager a state, with words for people, and warns once if it
// does not hear it.
func (a *app) tellManager(state, status string) {
	if a.env.Notify == nil {
		return
	}
	if status != "" {
		state += "\nSTATUS=" + strings.ReplaceAll(status, "\n", " ")
	}
	if err := a.env.Notify(state); err != nil {
		a.env.Notify = nil
		a.out.advise([]run.Advice{{Message: fmt.Sprintf("the service manager is not told how the run fares: %v", err), Hint: notifyVariable + " names its socket"}})
	}
}
