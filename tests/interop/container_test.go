// SPDX-License-Identifier: Apache-2.0

// A sandbox and its containers in the agent, all of their life driven by the Go client.
package interop

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	kata "kata-c.test/interop/kata/agent"
)

const busybox = "/bin/busybox"

// runtime is what a foreign runtime has in its hands: the agent's client and the folder with the root.
type runtime struct {
	t      *testing.T
	ctx    context.Context
	agent  kata.AgentServiceService
	rootfs string
}

func (r *runtime) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// makeRoot makes a root with busybox.
func (r *runtime) makeRoot() {
	r.t.Helper()
	program, err := os.ReadFile(busybox)
	r.must(err)
	r.rootfs = r.t.TempDir() + "/rootfs"
	for _, folder := range []string{"bin", "proc", "dev", "tmp"} {
		r.must(os.MkdirAll(filepath.Join(r.rootfs, folder), 0o755))
	}
	r.must(os.WriteFile(filepath.Join(r.rootfs, "bin/busybox"), program, 0o755))
	for _, name := range []string{"sh", "cat", "sleep", "tty", "stty", "hostname"} {
		r.must(os.Symlink("busybox", filepath.Join(r.rootfs, "bin", name)))
	}
}

func process(args ...string) *kata.Process {
	return &kata.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/", User: &kata.User{}}
}

func (r *runtime) create(id string, args ...string) error {
	_, err := r.agent.CreateContainer(r.ctx, &kata.CreateContainerRequest{
		ContainerId: id,
		ExecId:      id,
		OCI: &kata.Spec{
			Version: "1.0.2",
			Process: process(args...),
			Root:    &kata.Root{Path: r.rootfs},
			Mounts: []*kata.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
				{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}},
			},
			Linux: &kata.Linux{Namespaces: []*kata.LinuxNamespace{
				{Type: "mount"}, {Type: "pid"}, {Type: "ipc"}, {Type: "uts"},
			}},
		},
	})
	return err
}

func (r *runtime) start(id string) {
	r.t.Helper()
	_, err := r.agent.StartContainer(r.ctx, &kata.StartContainerRequest{ContainerId: id})
	r.must(err)
}

func (r *runtime) exec(id, execID string, p *kata.Process) {
	r.t.Helper()
	_, err := r.agent.ExecProcess(r.ctx, &kata.ExecProcessRequest{ContainerId: id, ExecId: execID, Process: p})
	r.must(err)
}

// wait returns the exit status.
func (r *runtime) wait(id, execID string) int32 {
	r.t.Helper()
	response, err := r.agent.WaitProcess(r.ctx, &kata.WaitProcessRequest{ContainerId: id, ExecId: execID})
	r.must(err)
	return response.Status
}

func (r *runtime) expectStatus(id, execID string, wanted int32) {
	r.t.Helper()
	if got := r.wait(id, execID); got != wanted {
		r.t.Fatalf("%s/%s ended with %d, expected %d", id, execID, got, wanted)
	}
}

type read func(context.Context, *kata.ReadStreamRequest) (*kata.ReadStreamResponse, error)

// readAll reads a stream to its end, in small bites, as a runtime does that copies it elsewhere.
func (r *runtime) readAll(from read, id, execID string) string {
	r.t.Helper()
	var all bytes.Buffer
	for {
		response, err := from(r.ctx, &kata.ReadStreamRequest{ContainerId: id, ExecId: execID, Len: 1000})
		// Kata's agent ends a stream with an error, ours with an answer that is empty; a runtime takes both.
		if err != nil || len(response.Data) == 0 {
			return all.String()
		}
		all.Write(response.Data)
	}
}

func (r *runtime) write(id, execID string, data []byte) {
	r.t.Helper()
	for len(data) > 0 {
		response, err := r.agent.WriteStdin(r.ctx, &kata.WriteStreamRequest{ContainerId: id, ExecId: execID, Data: data})
		r.must(err)
		data = data[response.Len:]
	}
}

func (r *runtime) closeStdin(id, execID string) {
	r.t.Helper()
	_, err := r.agent.CloseStdin(r.ctx, &kata.CloseStdinRequest{ContainerId: id, ExecId: execID})
	r.must(err)
}

func (r *runtime) remove(id string) {
	r.t.Helper()
	_, err := r.agent.RemoveContainer(r.ctx, &kata.RemoveContainerRequest{ContainerId: id})
	r.must(err)
}

func (r *runtime) expectCode(err error, code codes.Code) {
	r.t.Helper()
	if status.Code(err) != code {
		r.t.Fatalf("%v, expected %v", err, code)
	}
}

// What cat is told comes back, more than a pipe holds.
func (r *runtime) streams() {
	data := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	r.must(r.create("echo", "cat"))
	r.expectCode(r.create("echo", "cat"), codes.AlreadyExists)
	r.start("echo")
	written := make(chan struct{})
	go func() {
		defer close(written)
		r.write("echo", "echo", data)
		r.closeStdin("echo", "echo")
	}()
	if got := r.readAll(r.agent.ReadStdout, "echo", "echo"); got != string(data) {
		r.t.Errorf("%d bytes of %d came back", len(got), len(data))
	}
	<-written
	r.expectStatus("echo", "echo", 0)
	r.remove("echo")
}

func (r *runtime) execs() {
	r.exec("main", "both", process("sh", "-c", "echo out; echo err >&2; exit 3"))
	if got := r.readAll(r.agent.ReadStdout, "main", "both"); got != "out\n" {
		r.t.Errorf("stdout: %q", got)
	}
	if got := r.readAll(r.agent.ReadStderr, "main", "both"); got != "err\n" {
		r.t.Errorf("stderr: %q", got)
	}
	r.expectStatus("main", "both", 3)
	// The container has a PID namespace: its first process is 1, and one that joins it sees that.
	r.exec("main", "look", process("sh", "-c", "cat /proc/1/cmdline; hostname"))
	if got := r.readAll(r.agent.ReadStdout, "main", "look"); got != "sleep\x001000\x00guest\n" {
		r.t.Errorf("process 1 and host name: %q", got)
	}
	r.expectStatus("main", "look", 0)
	_, err := r.agent.ExecProcess(r.ctx, &kata.ExecProcessRequest{
		ContainerId: "main", ExecId: "none", Process: process("/no/such/program"),
	})
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		r.t.Errorf("a program that does not exist: %v", err)
	}
}

func (r *runtime) terminal() {
	p := process("sh", "-c", "tty; read line; stty size; echo \"<$line>\"")
	p.Terminal = true
	p.Env = append(p.Env, "TERM=xterm")
	r.exec("main", "tty", p)
	_, err := r.agent.TtyWinResize(r.ctx, &kata.TtyWinResizeRequest{ContainerId: "main", ExecId: "tty", Row: 40, Column: 100})
	r.must(err)
	r.write("main", "tty", []byte("hello\n"))
	got := r.readAll(r.agent.ReadStdout, "main", "tty")
	if !strings.Contains(got, "/dev/pts/0\r\n") || !strings.Contains(got, "40 100\r\n<hello>\r\n") {
		r.t.Errorf("terminal: %q", got)
	}
	r.expectStatus("main", "tty", 0)
}

func (r *runtime) signals() {
	r.exec("main", "sleeper", process("sleep", "1000"))
	_, err := r.agent.SignalProcess(r.ctx, &kata.SignalProcessRequest{ContainerId: "main", ExecId: "sleeper", Signal: 15})
	r.must(err)
	r.expectStatus("main", "sleeper", 128+15)
	stats, err := r.agent.StatsContainer(r.ctx, &kata.StatsContainerRequest{ContainerId: "main"})
	r.must(err)
	if stats.CgroupStats == nil {
		r.t.Error("no statistics of the group")
	}
	_, err = r.agent.SignalProcess(r.ctx, &kata.SignalProcessRequest{ContainerId: "main", Signal: 9})
	r.must(err)
	r.expectStatus("main", "main", 128+9)
}

func TestAgentContainers(t *testing.T) {
	client, command := startAgent(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := &runtime{t: t, ctx: ctx, agent: kata.NewAgentServiceClient(client)}
	r.makeRoot()

	_, err := r.agent.CreateSandbox(ctx, &kata.CreateSandboxRequest{Hostname: "guest", SandboxId: "foreign"})
	r.must(err)
	_, err = r.agent.CreateSandbox(ctx, &kata.CreateSandboxRequest{SandboxId: "second"})
	if err == nil {
		t.Error("a second sandbox was made")
	}
	r.must(r.create("main", "sleep", "1000"))
	r.start("main")
	r.streams()
	r.execs()
	r.terminal()
	r.signals()
	r.remove("main")
	_, err = r.agent.StatsContainer(ctx, &kata.StatsContainerRequest{ContainerId: "main"})
	r.expectCode(err, codes.NotFound)
	// What is left goes with the sandbox, and then the agent goes, without taking the machine along.
	r.must(r.create("left", "sleep", "1000"))
	r.start("left")
	_, err = r.agent.DestroySandbox(ctx, &kata.DestroySandboxRequest{})
	r.must(err)
	ended := make(chan error)
	go func() { ended <- command.Wait() }()
	select {
	case err := <-ended:
		if _, failed := err.(*exec.ExitError); failed {
			t.Errorf("the agent ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the agent is still there")
	}
}
