package chaos

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"repacket/internal/lab"
)

// patience bounds a wait for what has to come; only a hang takes so long.
const patience = 60 * time.Second

// met is what packets to port 443 meet on their way.
type met int

// No rules, the old rules or the new ones.
const (
	untouched met = iota
	byOld
	byNew
)

// ports are where packets arrive by what they have met.
var ports = [...]uint16{untouched: 443, byOld: 8080, byNew: 8081}

func (m met) String() string { return [...]string{"no rules", "the old rules", "the new rules"}[m] }

// tally is what became of packets.
type tally struct {
	met         [3]int
	lost, twice int
}

func (c *tally) add(o tally) {
	for i := range c.met {
		c.met[i] += o.met[i]
	}
	c.lost += o.lost
	c.twice += o.twice
}

func (c *tally) sent() int { return c.met[untouched] + c.met[byOld] + c.met[byNew] + c.lost }

// arrival is a numbered packet that has arrived.
type arrival struct {
	number uint64
	met    met
}

// wire sends numbered packets to port 443 of one end of a pair, and says where they arrive.
type wire struct {
	from    net.Conn
	to      [3]*net.UDPConn
	arrived chan arrival
	next    uint64
}

// newWire sends from the left end to the right end.
func newWire(pair *lab.Pair) (w *wire, err error) {
	w = &wire{arrived: make(chan arrival, 1024)}
	host := pair.Config.B.Addr.Addr()
	for m, port := range ports {
		err = pair.B.Do(func() (err error) {
			w.to[m], err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, port)))
			return err
		})
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		go w.receive(met(m))
	}
	err = pair.A.Do(func() (err error) {
		w.from, err = net.Dial("udp4", netip.AddrPortFrom(host, ports[untouched]).String())
		return err
	})
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *wire) close() (err error) {
	if w.from != nil {
		err = w.from.Close()
	}
	for _, c := range w.to {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

func (w *wire) receive(m met) {
	buf := make([]byte, 64)
	for {
		n, err := w.to[m].Read(buf)
		if err != nil {
			return // closed
		}
		if n == 8 {
			w.arrived <- arrival{binary.BigEndian.Uint64(buf), m}
		}
	}
}

// burst sends so many packets, a few of which are under way at once, and says what became of them.
// What does not come while nothing else comes either is lost.
func (w *wire) burst(n int) (c tally, err error) {
	const window, hopeless = 32, 10 * time.Second
	first := w.next
	waiting := map[uint64]bool{}
	for w.next < first+uint64(n) || len(waiting) > 0 {
		for len(waiting) < window && w.next < first+uint64(n) {
			if _, err := w.from.Write(binary.BigEndian.AppendUint64(nil, w.next)); err != nil {
				return c, err
			}
			waiting[w.next] = true
			w.next++
		}
		select {
		case a := <-w.arrived:
			switch {
			case waiting[a.number]:
				delete(waiting, a.number)
				c.met[a.met]++
			default:
				c.twice++
			}
		case <-time.After(hopeless):
			c.lost += len(waiting)
			clear(waiting)
		}
	}
	return c, nil
}

// stream sends until it is told to stop, and leaves the processors some time for what is tested.
func (w *wire) stream(stop <-chan struct{}) (c tally, err error) {
	const pause = 300 * time.Microsecond
	for {
		more, err := w.burst(16)
		c.add(more)
		if err != nil {
			return c, err
		}
		select {
		case <-stop:
			return c, nil
		case <-time.After(pause):
		}
	}
}
