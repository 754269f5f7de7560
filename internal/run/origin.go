package run

import "time"

// Origin is who attached rules, when, and by which command.
type Origin struct {
	At time.Time `json:"at"`
	// UID is the user of the process. SudoUID is who called sudo, where sudo is what the process was
	// called by, and LoginUID who logged in, which the kernel knows; else nil.
	UID      int  `json:"uid"`
	SudoUID  *int `json:"sudo_uid,omitempty"`
	LoginUID *int `json:"login_uid,omitempty"`
	// User, SudoUser and LoginUser are the names of these users on this machine, where they have
	// one; only what is told has them.
	User      string `json:"user,omitempty"`
	SudoUser  string `json:"sudo_user,omitempty"`
	LoginUser string `json:"login_user,omitempty"`
	// Command is the command line, which is cut off behind 4 KiB.
	Command string `json:"command"`
}

// Program is what the kernel says of the program with the rules.
type Program struct {
	ID uint32 `json:"id"`
	// Loaded is when it was loaded, and UID by which user.
	Loaded time.Time `json:"loaded"`
	UID    int       `json:"uid"`
	User   string    `json:"user,omitempty"`
}
