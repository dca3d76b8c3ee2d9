// SPDX-License-Identifier: Apache-2.0

// Our client against Go's ttRPC server.
package interop

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	kata "kata-c.test/interop/kata/agent"
)

// A Go server of grpc.Health that does what the text of Version says.
type health struct {
	lock        sync.Mutex
	connections []net.Conn
	stalled     time.Time // until then, nothing is read
}

func (h *health) Check(context.Context, *kata.CheckRequest) (*kata.HealthCheckResponse, error) {
	return &kata.HealthCheckResponse{Status: kata.HealthCheckResponse_SERVING}, nil
}

func (h *health) Version(ctx context.Context, request *kata.CheckRequest) (*kata.VersionCheckResponse, error) {
	answer := &kata.VersionCheckResponse{AgentVersion: request.Service}
	var n int
	word, rest, _ := strings.Cut(request.Service, ":")
	fmt.Sscan(rest, &n)
	switch word {
	case "code":
		return nil, status.Errorf(codes.Code(n), "code %d", n)
	case "sleep":
		time.Sleep(time.Duration(n) * time.Millisecond)
	case "size":
		answer.AgentVersion = strings.Repeat("x", n)
	case "deadline":
		if _, has := ctx.Deadline(); !has {
			return nil, status.Error(codes.Unknown, "no deadline")
		}
	case "metadata":
		values, _ := ttrpc.GetMetadata(ctx)
		all, _ := values.Get(rest)
		answer.AgentVersion = strings.Join(all, " ")
	case "stall":
		h.lock.Lock()
		defer h.lock.Unlock()
		h.stalled = time.Now().Add(time.Duration(n) * time.Millisecond)
	case "drop":
		h.lock.Lock()
		defer h.lock.Unlock()
		for _, connection := range h.connections {
			connection.Close()
		}
		h.connections = nil
	}
	return answer, nil
}

// A connection on which "stall" stops reading.
type connection struct {
	net.Conn
	health *health
}

func (c connection) Read(data []byte) (int, error) {
	c.health.lock.Lock()
	wait := time.Until(c.health.stalled)
	c.health.lock.Unlock()
	time.Sleep(wait)
	return c.Conn.Read(data)
}

// Accept notes the connection, so that "drop" can close it.
type listener struct {
	net.Listener
	health *health
}

func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err == nil {
		l.health.lock.Lock()
		l.health.connections = append(l.health.connections, accepted)
		l.health.lock.Unlock()
	}
	return connection{accepted, l.health}, err
}

func serveGo(path string) (*ttrpc.Server, error) {
	server, err := ttrpc.NewServer()
	if err != nil {
		return nil, err
	}
	socket, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	h := &health{}
	kata.RegisterHealthService(server, h)
	go server.Serve(context.Background(), listener{socket, h})
	return server, nil
}

func TestClient(t *testing.T) {
	path := t.TempDir() + "/go.sock"
	server, err := serveGo(path)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, os.Getenv("INTEROP_CLIENT"), path)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for lines := bufio.NewScanner(output); lines.Scan(); {
		line := lines.Text()
		name, why, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "not "), "ok "), ": ")
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(line, "not ok") {
				t.Error(why)
			}
		})
		n++
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
	if n < 26 {
		t.Errorf("only %d results", n)
	}
}
