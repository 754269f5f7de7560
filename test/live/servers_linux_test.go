package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// requestTimeout is how long a request may take before it has failed: longer than a segment
// that is lost takes to be sent again.
const requestTimeout = 20 * time.Second

// serveHTTP answers a request for /N with answer N until the test is over.
func serveHTTP(t *testing.T, l net.Listener) {
	server := &http.Server{
		ReadHeaderTimeout: requestTimeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "answer "+strings.TrimPrefix(r.URL.Path, "/"))
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		check(t, server.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// askHTTP sends request number i over a connection of its own.
func (s *service) askHTTP(i int, at netip.Addr) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = s.client.Do(func() error {
				c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
				return err
			})
			return c, err
		},
	}
	client := http.Client{Transport: transport, Timeout: requestTimeout}
	r, err := client.Get(fmt.Sprintf("http://%s/%d", netip.AddrPortFrom(at, askedHTTP), i))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && (r.StatusCode != http.StatusOK || string(body) != answer(i)) {
		err = fmt.Errorf("request %d was answered with %s, %q", i, r.Status, body)
	}
	return err
}

// serveDNS answers each query for a TXT record with what stands in the name, until the test is
// over.
func serveDNS(t *testing.T, c net.PacketConn) {
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				done <- err
				return
			}
			reply, err := answerDNS(buf[:n])
			if err == nil {
				_, err = c.WriteTo(reply, from)
			}
			if err != nil {
				t.Errorf("query from %s: %v", from, err)
			}
		}
	}()
	t.Cleanup(func() {
		check(t, c.Close())
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// answerDNS is the response to a query.
func answerDNS(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	if len(m.Questions) != 1 {
		return nil, fmt.Errorf("a query with %d questions", len(m.Questions))
	}
	q := m.Questions[0]
	number, _, _ := strings.Cut(q.Name.String(), ".")
	m.Response, m.Authoritative = true, true
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
		Body:   &dnsmessage.TXTResource{TXT: []string{"answer " + number}},
	}}
	return m.Pack()
}

// askDNS sends query number i from a socket of its own, which takes answers only from where it
// has asked.
func (s *service) askDNS(i int, at netip.Addr) error {
	name, err := dnsmessage.NewName(fmt.Sprintf("%d.example.", i))
	if err != nil {
		return err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(i), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}},
	}
	query, err := m.Pack()
	if err != nil {
		return err
	}
	var c net.Conn
	if err := s.client.Do(func() (err error) {
		c, err = net.Dial("udp", netip.AddrPortFrom(at, askedDNS).String())
		return err
	}); err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(query); err != nil {
		return err
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil {
		return fmt.Errorf("query %d: %w", i, err)
	}
	var reply dnsmessage.Message
	if err := reply.Unpack(buf[:n]); err != nil {
		return err
	}
	if reply.ID == m.ID && len(reply.Answers) == 1 {
		if text, ok := reply.Answers[0].Body.(*dnsmessage.TXTResource); ok && len(text.TXT) == 1 && text.TXT[0] == answer(i) {
			return nil
		}
	}
	return fmt.Errorf("query %d was answered with %v", i, reply.GoString())
}
