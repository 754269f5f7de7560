package doctor

import (
	"os"
	"path/filepath"

	"github.com/safchain/ethtool"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// Live is the machine itself, seen from the network namespace of the calling
// thread.
type Live struct {
	// Root is a folder with other files /proc and /sys, or "".
	Root string
}

var _ System = Live{}

// ReadFile reads a file below the root.
func (l Live) ReadFile(path string) ([]byte, error) { return os.ReadFile(filepath.Join(l.Root, path)) }

// PageSize is the size of a page of memory.
func (Live) PageSize() int { return os.Getpagesize() }

// Has is hook's.
func (Live) Has(f hook.Feature) (bool, error) { return hook.Has(f) }

// Interface is hook's.
func (Live) Interface(name string) (hook.Iface, error) { return hook.Interface(name) }

// Interfaces is hook's.
func (Live) Interfaces() ([]hook.Iface, error) { return hook.Interfaces() }

// Programs is hook's.
func (Live) Programs(ifindex int, dir run.Direction) ([]hook.Program, error) {
	return hook.Programs(ifindex, dir)
}

// TakesFragments is hook's.
func (Live) TakesFragments(on hook.Iface) hook.Support { return hook.TakesFragments(on) }

// Switches asks as ethtool -k does.
func (Live) Switches(iface string) (map[string]Switch, error) {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return nil, err
	}
	defer tool.Close()
	states, err := tool.FeaturesWithState(iface)
	if err != nil {
		return nil, err
	}
	switches := map[string]Switch{}
	for name, s := range states {
		switches[name] = Switch{On: s.Active, Fixed: s.NeverChanged || !s.Available}
	}
	return switches, nil
}

// Channels asks as ethtool -l does.
func (Live) Channels(iface string) (Channels, error) {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return Channels{}, err
	}
	defer tool.Close()
	c, err := tool.GetChannels(iface)
	return Channels{
		Rx: int(c.RxCount), Tx: int(c.TxCount), Combined: int(c.CombinedCount),
		MaxRx: int(c.MaxRx), MaxTx: int(c.MaxTx), MaxCombined: int(c.MaxCombined),
	}, err
}
