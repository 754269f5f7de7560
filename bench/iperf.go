package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"repacket/internal/lab"
	"repacket/test/testnet"
)

const (
	// iperfTime is how long iperf3 sends.
	iperfTime = time.Second
	// iperfPort is iperf3's own.
	iperfPort = 5201
	// iperfDatagram is the payload that fills a packet of 1,500 bytes, less the room
	// that iperf3 itself leaves for TCP's options.
	iperfDatagram = 1448
)

// iperfResult is what iperf3 says of a transfer.
type iperfResult struct {
	gbits float64 // that arrived, 10^9 bits a second
	lost  float64 // per cent of the datagrams of UDP
}

// parseIperf reads what iperf3 --json writes. It exits with 0 even where it could not
// connect.
func parseIperf(text []byte, udp bool) (iperfResult, error) {
	var report struct {
		Error string
		End   struct {
			Received *struct {
				Rate    float64 `json:"bits_per_second"`
				Lost    int     `json:"lost_packets"`
				Packets int
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return iperfResult{}, fmt.Errorf("read the output of iperf3: %w", err)
	}
	received := report.End.Received
	switch {
	case report.Error != "":
		return iperfResult{}, fmt.Errorf("iperf3: %s", report.Error)
	case received == nil || received.Rate == 0:
		return iperfResult{}, errors.New("iperf3 does not say what was received")
	case udp && received.Packets == 0:
		return iperfResult{}, errors.New("iperf3 does not say how many datagrams were sent")
	}
	r := iperfResult{gbits: received.Rate / 1e9}
	if udp {
		r.lost = 100 * float64(received.Lost) / float64(received.Packets)
	}
	return r, nil
}

// iperf sends from A to B for iperfTime. Client and server are pinned to CPUs of their
// own where there are two: where the scheduler puts them differs from run to run, and
// that differs more than what is measured. The client asks a port other than the server's, if one
// is given.
func iperf(pair *lab.Pair, udp bool, port int) (r iperfResult, err error) {
	where, err := usableCPUs()
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	to := pair.Config.B.Addr.Addr().String()
	pin := func(i int) string { return strconv.Itoa(where[min(i, len(where)-1)]) }
	server := testnet.CommandContext(ctx, pair.B, "iperf3", "--server", "--one-off", "--forceflush", "--bind", to, "--affinity", pin(1))
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		return r, err
	}
	said := bufio.NewReader(out)
	if err := awaitLine(said, "Server listening on "+strconv.Itoa(iperfPort)); err != nil {
		cancel()
		return r, errors.Join(fmt.Errorf("the server of iperf3: %w", err), server.Wait())
	}
	args := []string{"--client", to, "--json", "--time", strconv.Itoa(int(iperfTime.Seconds())), "--affinity", pin(0)}
	if port != 0 {
		args = append(args, "--port", strconv.Itoa(port))
	}
	if udp {
		args = append(args, "--udp", "--bitrate", "0", "--length", strconv.Itoa(iperfDatagram))
	}
	// The report says what went wrong, better than the exit status does.
	text, status := testnet.CommandContext(ctx, pair.A, "iperf3", args...).Output()
	if r, err = parseIperf(text, udp); err != nil {
		cancel() // nobody may have come to the server
		return r, errors.Join(err, status, server.Wait())
	}
	_, reading := io.Copy(io.Discard, said)
	return r, errors.Join(status, reading, server.Wait())
}

// awaitLine reads up to a line that begins like this.
func awaitLine(r *bufio.Reader, begins string) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("it ended without the line %q: %w", begins, err)
		}
		if strings.HasPrefix(line, begins) {
			return nil
		}
	}
}
