package lab

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// sysctl writes one setting of the namespace of the calling thread; the path
// is below /proc/sys/net.
func sysctl(name, value string) error {
	return os.WriteFile(path.Join("/proc/sys/net", name), []byte(value), 0)
}

// disableIPv6 keeps router solicitations, listener reports and duplicate
// address detection off the interfaces that the namespace gets later.
func disableIPv6() error {
	for _, which := range []string{"all", "default"} {
		err := sysctl("ipv6/conf/"+which+"/disable_ipv6", "1")
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a kernel without IPv6
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setIPv6 turns IPv6 on an interface that is still down off, or on with nothing
// that it could find out by itself: no link-local address, no routers asked
// for, no addresses checked, no reports about listeners repeated.
func setIPv6(name string, on bool) error {
	conf := "ipv6/conf/" + name
	if !on {
		err := sysctl(conf+"/disable_ipv6", "1")
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a kernel without IPv6
		}
		return err
	}
	for _, s := range [][2]string{
		{conf + "/addr_gen_mode", "1"}, // none
		{conf + "/accept_ra", "0"},
		{conf + "/accept_dad", "0"},
		{conf + "/dad_transmits", "0"},
		{conf + "/router_solicitations", "0"},
		{"ipv6/mld_qrv", "1"},
		{conf + "/disable_ipv6", "0"},
	} {
		if err := sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}
