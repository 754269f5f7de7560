package cli

import (
	"errors"
	"net"

	"repacket/internal/metrics"
	"repacket/internal/run"
)

const exporterHelp = `Serve the counts of all rules in the network namespace for Prometheus.

They are at /metrics, on 127.0.0.1:10473 unless --metrics says otherwise: what
attached rules have counted, and those of runs. Nothing is counted for it that
is not counted anyway, and nothing is read but while it is scraped.`

// metricsFlags are for what serves metrics.
var metricsFlags = []string{"metrics"}

// exporterAddress is where the exporter serves unless --metrics says otherwise.
const exporterAddress = "127.0.0.1:10473"

// metricsEvent tells where metrics are served.
type metricsEvent struct {
	event
	Address string `json:"address"`
}

// checkMetrics reads --metrics.
func (o *options) checkMetrics() (err error) {
	if o.metrics == "" {
		return nil
	}
	o.metricsAt, err = metrics.ParseAddress(o.metrics)
	switch {
	case errors.Is(err, metrics.ErrEverywhere):
		return usage("127.0.0.1"+o.metrics+" for this machine alone, [::]"+o.metrics+" for all that reach it",
			"--metrics %s does not say for whom", o.metrics)
	case err != nil:
		return usage("--metrics 10473 is 127.0.0.1:10473, --metrics 192.0.2.1:10473 for others; IPv6 is [2001:db8::1]:10473",
			"--metrics takes a port, or ADDRESS:PORT, not %q", o.metrics)
	}
	return nil
}

// listenForMetrics begins to listen where --metrics says, or gives nil.
func (a *app) listenForMetrics() (*net.TCPListener, error) {
	if a.opt.metrics == "" {
		return nil, nil
	}
	return metrics.Listen(a.opt.metricsAt)
}

// exporter serves the counts of all rules in the network namespace until a signal.
func (a *app) exporter() error {
	if a.opt.metrics == "" {
		a.opt.metrics = exporterAddress
		if err := a.opt.checkMetrics(); err != nil {
			return err
		}
	}
	if _, err := a.env.Kernel.List(""); err != nil { // who may not list them is told now
		return err
	}
	listener, err := a.listenForMetrics()
	if err != nil {
		return err
	}
	signals := a.env.Signals(false)
	server := metrics.NewServer(listener, func() (metrics.Snapshot, error) {
		all, err := a.env.Kernel.List("")
		return metrics.Snapshot{Programs: all}, err
	})
	a.tellMetrics(listener)
	for err = a.out.err; err == nil; {
		if a.stops(<-signals) {
			break
		}
	}
	return errors.Join(err, server.Close())
}

// tellMetrics tells where metrics are served.
func (a *app) tellMetrics(l net.Listener) {
	if a.out.json {
		a.out.object(metricsEvent{a.out.event("metrics"), l.Addr().String()})
		return
	}
	a.out.status("metrics: http://%s/metrics", l.Addr())
}

// serveMetrics begins to serve the counts of a run, on a listener that may be nil.
func (r *running) serveMetrics(l net.Listener, release string) (stop func() error) {
	began := r.session.Attachment()
	server := metrics.NewServer(l, func() (metrics.Snapshot, error) {
		counts, err := r.session.Counts()
		if err != nil {
			return metrics.Snapshot{}, err
		}
		lost := r.shower.lostSoFar()
		return metrics.Snapshot{
			Programs: []run.Attached{{
				Target: began.Target, Hook: began.Hook, Replies: began.Replies, Release: release, Counts: counts,
			}},
			EventsLost: &lost,
			Reloads:    r.reloadsSoFar(),
		}, nil
	})
	r.tellMetrics(l)
	return server.Close
}
