package metrics

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"
)

// Bounds of what others can make the server do.
const (
	mostConnections = 16
	mostRequest     = 16 << 10         // bytes of a request
	requestTime     = 10 * time.Second // for a request to come
	responseTime    = 30 * time.Second // for a response to be taken
	lingerTime      = time.Second      // for a peer to hang up
	acceptPause     = 100 * time.Millisecond
)

// Server answers GET and HEAD of /metrics by HTTP/1.1 (RFC 9112), one request a connection.
type Server struct {
	listener net.Listener
	collect  func() (Snapshot, error)

	scraping sync.Mutex // one scrape at a time
	handlers sync.WaitGroup
	slots    chan struct{}

	mu     sync.Mutex // guards what follows
	open   map[net.Conn]struct{}
	closed bool
}

// NewServer begins to serve what collect gives at the time of a scrape, on a listener that it closes
// in the end.
func NewServer(l net.Listener, collect func() (Snapshot, error)) *Server {
	s := &Server{listener: l, collect: collect, slots: make(chan struct{}, mostConnections), open: map[net.Conn]struct{}{}}
	s.handlers.Go(s.serve)
	return s
}

// Close stops the server. What it is just answering is broken off.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	err := s.listener.Close()
	for c := range s.open {
		_ = c.Close() // its handler ends
	}
	s.mu.Unlock()
	s.handlers.Wait()
	return err
}

func (s *Server) serve() {
	for {
		s.slots <- struct{}{}
		conn, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // for want of descriptors, or the peer is gone
			<-s.slots
			time.Sleep(acceptPause)
			continue
		}
		if !s.opened(conn) {
			return
		}
		s.handlers.Go(func() {
			s.handle(conn)
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
			_ = conn.Close()
			<-s.slots
		})
	}
}

// opened notes that a connection is there, and reports whether it is to be answered.
func (s *Server) opened(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.open[conn] = struct{}{}
	return true
}

// response is what a request leads to.
type response struct {
	status string
	more   string // header lines
	body   []byte
}

func (s *Server) handle(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(requestTime))
	method, r := s.answer(io.LimitReader(conn, mostRequest))
	if r.status == "" {
		return // nobody has asked for anything
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %s\r\nDate: %s\r\nContent-Length: %d\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n%s\r\n",
		r.status, time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), len(r.body), r.more)
	if method != "HEAD" {
		out.Write(r.body)
	}
	_ = conn.SetDeadline(time.Now().Add(responseTime))
	if _, err := conn.Write(out.Bytes()); err != nil {
		return
	}
	// What was sent and not read, as a body, would make the kernel reset the connection before the
	// peer has read the response.
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = conn.SetDeadline(time.Now().Add(lingerTime))
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, mostRequest))
	}
}

// answer reads a request and says what it leads to.
func (s *Server) answer(from io.Reader) (method string, _ response) {
	reader := textproto.NewReader(bufio.NewReader(from))
	line, err := reader.ReadLine()
	if err != nil {
		return "", response{}
	}
	method, rest, _ := strings.Cut(line, " ")
	target, version, ok := strings.Cut(rest, " ")
	if !ok || method == "" || !strings.HasPrefix(version, "HTTP/1.") {
		return "", text("400 Bad Request", "no request of HTTP/1.1")
	}
	if _, err := reader.ReadMIMEHeader(); err != nil {
		return method, text("400 Bad Request", "no header fields of HTTP/1.1")
	}
	path, _, _ := strings.Cut(target, "?")
	switch {
	case path != "/metrics":
		return method, text("404 Not Found", "the metrics are at /metrics")
	case method != "GET" && method != "HEAD":
		r := text("405 Method Not Allowed", "metrics are read by GET")
		r.more += "Allow: GET, HEAD\r\n"
		return method, r
	}
	return method, s.scrape()
}

func (s *Server) scrape() response {
	s.scraping.Lock()
	defer s.scraping.Unlock()
	now, err := s.collect()
	if err != nil {
		return text("500 Internal Server Error", err.Error())
	}
	var body bytes.Buffer
	_ = Write(&body, now) // a buffer takes all
	return response{"200 OK", "Content-Type: " + ContentType + "\r\n", body.Bytes()}
}

// text is a response that says something.
func text(status, says string) response {
	return response{status, "Content-Type: text/plain; charset=utf-8\r\n", []byte(strings.Map(visible, says) + "\n")}
}
