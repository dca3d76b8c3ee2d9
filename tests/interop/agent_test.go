// SPDX-License-Identifier: Apache-2.0

// The agent as an ordinary process, called by the Go client that protoc generates from our .proto files.
package interop

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	kata "kata-c.test/interop/kata/agent"
)

// What the agent has around it: namespaces of its own with their /proc, a /run that is nobody else's, no iptables.
const surroundings = `mount --make-rprivate / && mount --make-rshared / && mount -t proc proc /proc &&
mount -t tmpfs run /run && mount -t tmpfs none /usr/sbin && exec "$0" --listen "unix://$1"`

// startAgent runs the agent as the first process of a PID namespace; it is gone when the test ends.
func startAgent(t *testing.T) (*ttrpc.Client, *exec.Cmd) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	path := t.TempDir() + "/agent.sock"
	command := exec.Command("/bin/sh", "-c", surroundings, os.Getenv("INTEROP_AGENT"), path)
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC |
			syscall.CLONE_NEWPID,
	}
	log := &strings.Builder{}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	awaitSocket(t, path)
	return dial(t, path), command
}

func TestAgent(t *testing.T) {
	client, _ := startAgent(t)
	agent := kata.NewAgentServiceClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	t.Run("Health", func(t *testing.T) {
		health := kata.NewHealthClient(client)
		check, err := health.Check(ctx, &kata.CheckRequest{})
		if err != nil || check.Status != kata.HealthCheckResponse_SERVING {
			t.Fatal(check, err)
		}
		version, err := health.Version(ctx, &kata.CheckRequest{})
		if err != nil || version.GrpcVersion == "" || version.AgentVersion == "" {
			t.Fatal(version, err)
		}
	})
	t.Run("GetGuestDetails", func(t *testing.T) {
		details, err := agent.GetGuestDetails(ctx, &kata.GuestDetailsRequest{MemBlockSize: true})
		if err != nil || details.AgentDetails == nil || details.AgentDetails.InitDaemon {
			t.Fatal(details, err)
		}
		features := strings.Join(details.AgentDetails.ExtraFeatures, " ")
		if !strings.Contains(features, "kata-c.") {
			t.Fatalf("features: %s", features)
		}
	})
	t.Run("ListInterfaces", func(t *testing.T) {
		list, err := agent.ListInterfaces(ctx, &kata.ListInterfacesRequest{})
		if err != nil || len(list.Interfaces) == 0 || list.Interfaces[0].Name != "lo" {
			t.Fatal(list, err)
		}
	})
	t.Run("GetMetrics", func(t *testing.T) {
		metrics, err := agent.GetMetrics(ctx, &kata.GetMetricsRequest{})
		if err != nil || !strings.Contains(metrics.Metrics, "# TYPE kata_agent_") {
			t.Fatal(metrics, err)
		}
	})
	t.Run("no such container", func(t *testing.T) {
		for name, call := range map[string]func() error{
			"StartContainer": func() error {
				_, err := agent.StartContainer(ctx, &kata.StartContainerRequest{ContainerId: "none"})
				return err
			},
			"SignalProcess": func() error {
				_, err := agent.SignalProcess(ctx, &kata.SignalProcessRequest{ContainerId: "none", Signal: 9})
				return err
			},
			"WaitProcess": func() error {
				_, err := agent.WaitProcess(ctx, &kata.WaitProcessRequest{ContainerId: "none", ExecId: "none"})
				return err
			},
			"StatsContainer": func() error {
				_, err := agent.StatsContainer(ctx, &kata.StatsContainerRequest{ContainerId: "none"})
				return err
			},
			"ReadStdout": func() error {
				_, err := agent.ReadStdout(ctx, &kata.ReadStreamRequest{ContainerId: "none", ExecId: "none", Len: 1})
				return err
			},
			"WriteStdin": func() error {
				_, err := agent.WriteStdin(ctx, &kata.WriteStreamRequest{ContainerId: "none", ExecId: "none"})
				return err
			},
		} {
			// Before CreateSandbox an agent may also say that there is no sandbox yet.
			if code := status.Code(call()); code != codes.NotFound && code != codes.FailedPrecondition {
				t.Errorf("%s: %v", name, call())
			}
		}
	})
	t.Run("a wrong request", func(t *testing.T) {
		_, err := agent.CreateContainer(ctx, &kata.CreateContainerRequest{ContainerId: "../../etc"})
		if code := status.Code(err); code != codes.InvalidArgument && code != codes.FailedPrecondition {
			t.Fatal(err)
		}
	})
}

// Every method that this agent does not have says which it is: a runtime's log is read without the request.
func TestAgentUnimplemented(t *testing.T) {
	client, _ := startAgent(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, row := range []struct {
		method string
		input  proto.Message
	}{
		{"SetPolicy", &kata.SetPolicyRequest{Policy: "package agent_policy"}},
		{"MemAgentMemcgSet", &kata.MemAgentMemcgConfig{}},
		{"MemAgentCompactSet", &kata.MemAgentCompactConfig{}},
		{"ResizeVolume", &kata.ResizeVolumeRequest{VolumeGuestPath: "/x", Size: 1}},
		{"GetIPTables", &kata.GetIPTablesRequest{}},
		{"SetIPTables", &kata.SetIPTablesRequest{Data: []byte("*filter")}},
		{"GetDiagnosticData", &kata.GetDiagnosticDataRequest{LogType: "weather"}},
		{"MethodOfTheNextVersion", &kata.CheckRequest{}},
	} {
		t.Run(row.method, func(t *testing.T) {
			err := client.Call(ctx, "grpc.AgentService", row.method, row.input, &emptypb.Empty{})
			expectCode(t, err, codes.Unimplemented, row.method)
		})
	}
}
