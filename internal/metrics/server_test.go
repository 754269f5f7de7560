package metrics_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"repacket/internal/metrics"
	"repacket/internal/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves snapshots on a port of the loopback interface.
func serve(t *testing.T, collect func() (metrics.Snapshot, error)) (address string, server *metrics.Server) {
	t.Helper()
	l, err := metrics.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), metrics.NewServer(l, collect)
}

func fixed() (metrics.Snapshot, error) { return example(), nil }

// client is Go's, which reads responses strictly, with connections of its own.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestRequests: what Go's client gets.
func TestRequests(t *testing.T) {
	address, server := serve(t, fixed)
	defer server.Close()
	metricsText := written(t, example())
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
		header, is   string
	}{
		{"GET", "/metrics", 200, metricsText, "Content-Type", "text/plain; version=0.0.4; charset=utf-8"},
		{"GET", "/metrics?debug=1", 200, metricsText, "Connection", ""},
		{"HEAD", "/metrics", 200, "", "Content-Length", fmt.Sprint(len(metricsText))},
		{"GET", "/", 404, "the metrics are at /metrics\n", "Content-Type", "text/plain; charset=utf-8"},
		{"GET", "/metrics/", 404, "the metrics are at /metrics\n", "", ""},
		{"POST", "/metrics", 405, "metrics are read by GET\n", "Allow", "GET, HEAD"},
	} {
		var body io.Reader
		if tt.method == "POST" {
			body = strings.NewReader(strings.Repeat("x", 100_000)) // nobody reads it
		}
		request, err := http.NewRequest(tt.method, "http://"+address+tt.path, body)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client(t).Do(request)
		if tt.method == "POST" && err != nil {
			continue // the server may hang up before the whole body is sent
		}
		if err != nil {
			t.Fatalf("%s %s: %v", tt.method, tt.path, err)
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != tt.status || string(got) != tt.body || err != nil {
			t.Errorf("%s %s: %d, %.200q, %v", tt.method, tt.path, response.StatusCode, got, err)
		}
		if tt.header != "" && response.Header.Get(tt.header) != tt.is {
			t.Errorf("%s %s: %s is %q, want %q", tt.method, tt.path, tt.header, response.Header.Get(tt.header), tt.is)
		}
		if _, err := http.ParseTime(response.Header.Get("Date")); err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.path, err)
		}
	}
}

// raw sends bytes and returns the status line of what comes back, or "" where the server hangs up.
func raw(t *testing.T, address, send string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimRight(line, "\r\n")
}

// TestWrongRequests: what is no request is answered or hung up on, and the server goes on.
func TestWrongRequests(t *testing.T) {
	address, server := serve(t, fixed)
	defer server.Close()
	for send, want := range map[string]string{
		"":                                "",
		"GET /metrics HTTP/1.0\r\n\r\n":   "HTTP/1.1 200 OK",
		"GET /metrics\r\n\r\n":            "HTTP/1.1 400 Bad Request",
		"PRI * HTTP/2.0\r\n\r\n":          "HTTP/1.1 400 Bad Request",
		"GET /metrics HTTP/1.1\r\n":       "HTTP/1.1 400 Bad Request",
		"GET /metrics HTTP/1.1\r\n: \r\n": "HTTP/1.1 400 Bad Request",
		"\x16\x03\x01\x02\x00\x01\x00\n":  "HTTP/1.1 400 Bad Request", // TLS
		"GET /metrics HTTP/1.1\r\na: " + strings.Repeat("b", 20<<10): "HTTP/1.1 400 Bad Request",
	} {
		if got := raw(t, address, send); got != want {
			t.Errorf("%.40q: %q, want %q", send, got, want)
		}
	}
}

// TestCollectFails: Prometheus is told by the status, people by the text.
func TestCollectFails(t *testing.T) {
	address, server := serve(t, func() (metrics.Snapshot, error) {
		return metrics.Snapshot{}, errors.New("CAP_SYS_ADMIN is missing\x1b[2J")
	})
	defer server.Close()
	response, err := client(t).Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != 500 || string(body) != "CAP_SYS_ADMIN is missing\ufffd[2J\n" || err != nil {
		t.Errorf("%d, %q, %v", response.StatusCode, body, err)
	}
}

// TestAtOnce: more scrapers than are answered at once all get an answer, and one is answered at a
// time.
func TestAtOnce(t *testing.T) {
	var mu sync.Mutex
	inside := 0
	address, server := serve(t, func() (metrics.Snapshot, error) {
		if !mu.TryLock() {
			return metrics.Snapshot{}, errors.New("two at once")
		}
		defer mu.Unlock()
		inside++
		for range 1000 { // others come meanwhile, if they can
			runtime.Gosched()
		}
		return example(), nil
	})
	defer server.Close()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if got := raw(t, address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); got != "HTTP/1.1 200 OK" {
				t.Errorf("%q", got)
			}
		})
	}
	all.Wait()
	if inside != 50 {
		t.Errorf("%d scrapes", inside)
	}
}

// TestClose: who says nothing holds nobody up, even where there are as many as are answered at once;
// nothing listens any more.
func TestClose(t *testing.T) {
	address, server := serve(t, fixed)
	for range 20 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialed again: %v", err)
	}
}

// TestListenErrors: a taken port and an address that is not ours have messages of their own.
func TestListenErrors(t *testing.T) {
	first, err := metrics.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	taken := first.Addr().(*net.TCPAddr).AddrPort()
	for _, tt := range []struct {
		at        netip.AddrPort
		msg, hint string
		class     run.Class
	}{
		{
			taken, fmt.Sprintf("metrics cannot be served at %s: another program listens there", taken),
			fmt.Sprintf("ss -ltnp sport = :%d shows which; or take another port", taken.Port()), run.Taken,
		},
		{
			netip.MustParseAddrPort("192.0.2.77:10473"), "metrics cannot be served at 192.0.2.77:10473: this machine does not have the address 192.0.2.77",
			"ip address lists those that it has; 10473 alone is 127.0.0.1:10473", run.Usage,
		},
		{
			netip.MustParseAddrPort("[2001:db8::77]:10473"), "metrics cannot be served at [2001:db8::77]:10473: this machine does not have the address 2001:db8::77",
			"ip address lists those that it has; 10473 alone is 127.0.0.1:10473", run.Usage,
		},
	} {
		_, err := metrics.Listen(tt.at)
		wantListenError(t, err, tt.msg, tt.hint, tt.class)
	}
	// As root a port below 1024 is no error.
	wantListenError(t, &metrics.ListenError{At: netip.MustParseAddrPort("127.0.0.1:80"), Err: syscall.EACCES},
		"metrics cannot be served at 127.0.0.1:80: the privilege for ports below 1024 is missing",
		"take a port from 1024 up; or grant CAP_NET_BIND_SERVICE", run.Privilege)
}

// TestListenFamily: 0.0.0.0 is IPv4 alone, and an address of IPv6 is that.
func TestListenFamily(t *testing.T) {
	for text, want := range map[string]string{"0.0.0.0:0": "0.0.0.0:", "127.0.0.1:0": "127.0.0.1:", "[::1]:0": "[::1]:"} {
		l, err := metrics.Listen(netip.MustParseAddrPort(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Addr().String(); !strings.HasPrefix(got, want) || strings.HasSuffix(got, ":0") {
			t.Errorf("%s: it listens at %s", text, got)
		}
		l.Close()
	}
}

func wantListenError(t *testing.T, err error, msg, hint string, class run.Class) {
	t.Helper()
	var e *metrics.ListenError
	if !errors.As(err, &e) || e.Error() != msg || e.Hint() != hint || run.ClassOf(err) != class {
		t.Errorf("got %v (%+v), want %q, hint %q, class %d", err, e, msg, hint, class)
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"9100": "127.0.0.1:9100", "0": "127.0.0.1:0", "localhost:9100": "127.0.0.1:9100", "192.0.2.1:80": "192.0.2.1:80",
		"[::1]:9100": "[::1]:9100", "[fe80::1%eth0]:9100": "[fe80::1%eth0]:9100", "0.0.0.0:9100": "0.0.0.0:9100",
	} {
		if got, err := metrics.ParseAddress(text); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]error{
		":9100": metrics.ErrEverywhere, "": metrics.ErrAddress, "65536": metrics.ErrAddress, "-1": metrics.ErrAddress,
		"example.com:9100": metrics.ErrAddress, "192.0.2.1": metrics.ErrAddress, "::1:9100x": metrics.ErrAddress, "1.2.3.4:99999": metrics.ErrAddress,
	} {
		if _, err := metrics.ParseAddress(text); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}
