// SPDX-License-Identifier: Apache-2.0

// Health.Check over a UNIX socket: our server beside Go's, called by our client and by Go's.
package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"testing"
	"time"

	kata "kata-c.test/interop/kata/agent"
)

const (
	rounds = 7
	calls  = 2000
)

// The Go server must be a process of its own, as ours is: this program again.
func TestMain(m *testing.M) {
	if path := os.Getenv("INTEROP_GO_SERVER"); path != "" {
		if _, err := serveGo(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

func startGoServer(t testing.TB) string {
	t.Helper()
	path := t.TempDir() + "/go.sock"
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "INTEROP_GO_SERVER="+path)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	awaitSocket(t, path)
	return path
}

func median(samples []float64) float64 {
	sort.Float64s(samples)
	return samples[len(samples)/2]
}

// byGo measures with Go's client, byC with ours; both give the median in microseconds.
func byGo(t *testing.T, path string) float64 {
	client := kata.NewHealthClient(dial(t, path))
	samples := make([]float64, calls)
	for i := range samples {
		start := time.Now()
		if _, err := client.Check(context.Background(), &kata.CheckRequest{}); err != nil {
			t.Fatal(err)
		}
		samples[i] = float64(time.Since(start).Nanoseconds()) / 1000
	}
	return median(samples)
}

func byC(t *testing.T, path string) float64 {
	output, err := exec.Command(os.Getenv("INTEROP_CLIENT"), path, fmt.Sprint(calls)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var middle, late float64
	if _, err := fmt.Sscan(string(output), &middle, &late); err != nil {
		t.Fatal(err)
	}
	return middle / 1000
}

// Every call must be answered; how fast is printed, not judged: the machine may be busy.
func TestLatency(t *testing.T) {
	ours, theirs := startServer(t), startGoServer(t)
	var bothGo, ourServer, ourClient, bothOurs []float64
	for i := 0; i < rounds; i++ { // alternately, since the machine is not quiet
		bothGo = append(bothGo, byGo(t, theirs))
		ourServer = append(ourServer, byGo(t, ours))
		ourClient = append(ourClient, byC(t, theirs))
		bothOurs = append(bothOurs, byC(t, ours))
	}
	reference := median(bothGo)
	t.Logf("interop: measured: Health.Check, Go's client and server: %.1f µs", reference)
	for _, pair := range []struct {
		name    string
		samples []float64
	}{{"our server, Go's client", ourServer}, {"our client, Go's server", ourClient}, {"both ours", bothOurs}} {
		t.Logf("interop: measured: Health.Check, %s: %.1f µs, %.2f of Go's", pair.name, median(pair.samples),
			median(pair.samples)/reference)
	}
}
