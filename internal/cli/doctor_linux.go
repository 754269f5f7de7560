package cli

import "repacket/internal/doctor"

func (linuxKernel) Doctor(iface string) ([]Finding, error) {
	rows, err := doctor.Report(doctor.Live{}, iface)
	return findings(rows), failure(err)
}

func findings(rows []doctor.Row) []Finding {
	all := make([]Finding, len(rows))
	for i, r := range rows {
		all[i] = Finding{Name: r.Name, Interface: r.Interface, Level: r.Level.String(), Text: r.Text, Command: r.Command}
	}
	return all
}
