// SPDX-License-Identifier: Apache-2.0

// Go's ttRPC client against our server.
package interop

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
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

// startServer runs the C server for a test and returns its socket.
func startServer(t testing.TB) string {
	t.Helper()
	path := t.TempDir() + "/c.sock"
	command := exec.Command(os.Getenv("INTEROP_SERVER"), path)
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

func awaitSocket(t testing.TB, path string) {
	t.Helper()
	for i := 0; i < 500; i++ {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nobody listens at %s", path)
}

func dial(t testing.TB, path string) *ttrpc.Client {
	t.Helper()
	connection, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(connection)
	t.Cleanup(func() { client.Close() })
	return client
}

func ask(ctx context.Context, client *ttrpc.Client, text string) (string, error) {
	response, err := kata.NewHealthClient(client).Version(ctx, &kata.CheckRequest{Service: text})
	if err != nil {
		return "", err
	}
	return response.AgentVersion, nil
}

func expectEcho(t *testing.T, client *ttrpc.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if text, err := ask(ctx, client, "hello"); err != nil || text != "hello" {
		t.Fatalf("%q, %v", text, err)
	}
}

func expectCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(err.Error(), text) {
		t.Fatalf("%v, expected %v with %q", err, code, text)
	}
}

func TestCheck(t *testing.T) {
	client := dial(t, startServer(t))
	response, err := kata.NewHealthClient(client).Check(context.Background(), &kata.CheckRequest{})
	if err != nil || response.Status != kata.HealthCheckResponse_SERVING {
		t.Fatal(response, err)
	}
	expectEcho(t, client)
}

func TestThousandConcurrentCalls(t *testing.T) {
	client := dial(t, startServer(t))
	var wait sync.WaitGroup
	for i := 0; i < 1000; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			want := fmt.Sprintf("number %d", i)
			if i%10 == 0 {
				want = "sleep:" + fmt.Sprint(i%70)
			}
			if got, err := ask(context.Background(), client, want); err != nil || got != want {
				t.Errorf("%q, %v, expected %q", got, err, want)
			}
		}(i)
	}
	wait.Wait()
}

func TestManyConnections(t *testing.T) {
	path := startServer(t)
	var wait sync.WaitGroup
	for i := 0; i < 100; i++ {
		client := dial(t, path)
		wait.Add(1)
		go func() {
			defer wait.Done()
			for k := 0; k < 10; k++ {
				if got, err := ask(context.Background(), client, "x"); err != nil || got != "x" {
					t.Errorf("%q, %v", got, err)
				}
			}
		}()
	}
	wait.Wait()
}

func TestErrors(t *testing.T) {
	client := dial(t, startServer(t))
	for errno, code := range map[int]codes.Code{
		2:   codes.NotFound,
		3:   codes.NotFound,
		17:  codes.AlreadyExists,
		22:  codes.InvalidArgument,
		13:  codes.PermissionDenied,
		16:  codes.FailedPrecondition,
		38:  codes.Unimplemented,
		110: codes.DeadlineExceeded,
		111: codes.Unavailable,
		12:  codes.ResourceExhausted,
		5:   codes.Unknown,
	} {
		_, err := ask(context.Background(), client, fmt.Sprintf("error:%d", errno))
		expectCode(t, err, code, fmt.Sprintf("as you wish: %d", errno))
	}
	var response kata.VersionCheckResponse
	err := client.Call(context.Background(), "grpc.Health", "Nope", &kata.CheckRequest{}, &response)
	expectCode(t, err, codes.Unimplemented, "/grpc.Health/Nope")
	err = client.Call(context.Background(), "no.Service", "Nope", &kata.CheckRequest{}, &response)
	expectCode(t, err, codes.Unimplemented, "no.Service")
	expectEcho(t, client)
}

// Go takes no status whose text is not UTF-8: neither its code nor its text arrive.
func TestErrorsAreUTF8(t *testing.T) {
	client := dial(t, startServer(t))
	_, err := ask(context.Background(), client, "bytes")
	expectCode(t, err, codes.NotFound, "no ? and no ü")
	_, err = ask(context.Background(), client, "long:16383")
	expectCode(t, err, codes.NotFound, "xxx?")
	_, err = ask(context.Background(), client, "long:100")
	expectCode(t, err, codes.NotFound, "xxx€")
	expectEcho(t, client)
}

func TestMetadata(t *testing.T) {
	client := dial(t, startServer(t))
	ctx := ttrpc.WithMetadata(context.Background(), ttrpc.MD{"trace": []string{"first", "second"}})
	if got, err := ask(ctx, client, "metadata:trace"); err != nil || got != "first" {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := ask(ctx, client, "metadata:none"); err != nil || got != "" {
		t.Fatalf("%q, %v", got, err)
	}
}

// Without waiting for the client's own context: the server must end the call when the time is up.
func TestDeadline(t *testing.T) {
	connection, err := net.Dial("unix", startServer(t))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	start := time.Now()
	send(t, connection, 1, 1, 0, request("Version", "sleep:5000", 50*time.Millisecond))
	expectResponse(t, connection, 1, codes.DeadlineExceeded, "deadline")
	if took := time.Since(start); took < 45*time.Millisecond || took > 2*time.Second {
		t.Fatalf("answered after %v", took)
	}
}

func TestLargeMessages(t *testing.T) {
	client := dial(t, startServer(t))
	big := strings.Repeat("x", 4_000_000)
	for i := 0; i < 5; i++ {
		if got, err := ask(context.Background(), client, big); err != nil || got != big {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	_, err := ask(context.Background(), client, "size:4194304")
	expectCode(t, err, codes.ResourceExhausted, "exceeds")
	expectEcho(t, client)
}

func TestStreamingIsRefused(t *testing.T) {
	client := dial(t, startServer(t))
	for _, desc := range []ttrpc.StreamDesc{
		{StreamingClient: true}, {StreamingServer: true}, {StreamingClient: true, StreamingServer: true},
	} {
		stream, err := client.NewStream(context.Background(), &desc, "grpc.Health", "Stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		if desc.StreamingClient {
			stream.SendMsg(&kata.CheckRequest{Service: "data that nobody wants"})
		}
		var response kata.VersionCheckResponse
		expectCode(t, stream.RecvMsg(&response), codes.Unimplemented, "/grpc.Health/Stream")
		if desc.StreamingClient {
			stream.CloseSend()
		}
		expectEcho(t, client)
	}
}

func TestDroppedConnections(t *testing.T) {
	path := startServer(t)
	for i := 0; i < 50; i++ {
		connection, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		for stream := uint32(1); stream < 20; stream += 2 {
			send(t, connection, stream, 1, 0, request("Version", "sleep:20", 0))
		}
		connection.Write([]byte{0, 0, 1}) // and a part of a header
		connection.Close()
	}
	time.Sleep(50 * time.Millisecond)
	expectEcho(t, dial(t, path))
}

// --- bytes ---

func send(t *testing.T, connection net.Conn, stream uint32, kind, flags byte, data []byte) {
	t.Helper()
	frame := make([]byte, 10, 10+len(data))
	binary.BigEndian.PutUint32(frame, uint32(len(data)))
	binary.BigEndian.PutUint32(frame[4:], stream)
	frame[8], frame[9] = kind, flags
	if _, err := connection.Write(append(frame, data...)); err != nil {
		t.Fatal(err)
	}
}

func request(method, text string, timeout time.Duration) []byte {
	payload := marshal(&kata.CheckRequest{Service: text})
	return marshal(&ttrpc.Request{
		Service: "grpc.Health", Method: method, Payload: payload, TimeoutNano: int64(timeout),
	})
}

// receive reads one frame; nil at the end of the stream.
func receive(t *testing.T, connection net.Conn) (uint32, *ttrpc.Response) {
	t.Helper()
	connection.SetReadDeadline(time.Now().Add(10 * time.Second))
	header := make([]byte, 10)
	if _, err := io.ReadFull(connection, header); err == io.EOF {
		return 0, nil
	} else if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, binary.BigEndian.Uint32(header))
	if _, err := io.ReadFull(connection, data); err != nil {
		t.Fatal(err)
	}
	if header[8] != 2 || header[9] != 0 {
		t.Fatalf("type %d, flags %d", header[8], header[9])
	}
	var response ttrpc.Response
	unmarshal(t, data, &response)
	return binary.BigEndian.Uint32(header[4:]), &response
}

func expectResponse(t *testing.T, connection net.Conn, stream uint32, code codes.Code, text string) {
	t.Helper()
	got, response := receive(t, connection)
	if response == nil {
		t.Fatal("the connection was closed")
	}
	if got != stream || codes.Code(response.Status.GetCode()) != code ||
		!strings.Contains(response.Status.GetMessage(), text) {
		t.Fatalf("stream %d: %v", got, response.Status)
	}
}

func TestGoldenFrames(t *testing.T) {
	connection, err := net.Dial("unix", startServer(t))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	for _, frames := range [][2]string{
		// Health.Check, as Kata's runtime sends it.
		{"000000140000000101000a0b677270632e4865616c746812" + "05436865636b", "0000000400000001020012020801"},
		// Health.Version("hi") with a deadline of 10 s and metadata.
		{"0000002a0000000301000a0b677270632e4865616c7468120756657273696f6e1a040a02686920" +
			"80c8afa0252a060a016b120176", "0000000600000003020012041202" + "6869"},
	} {
		data, err := hex.DecodeString(frames[0])
		if err != nil {
			t.Fatal(err)
		}
		connection.Write(data)
		answer := make([]byte, len(frames[1])/2)
		connection.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(connection, answer); err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(answer) != frames[1] {
			t.Fatalf("%x, expected %s", answer, frames[1])
		}
	}
}

func TestMalformed(t *testing.T) {
	path := startServer(t)
	open := func(t *testing.T) net.Conn {
		connection, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { connection.Close() })
		return connection
	}
	t.Run("oversize", func(t *testing.T) {
		connection := open(t)
		send(t, connection, 1, 1, 0, make([]byte, 4<<20+1))
		expectResponse(t, connection, 1, codes.ResourceExhausted, "4194305")
		send(t, connection, 3, 1, 0, request("Version", "x", 0))
		expectResponse(t, connection, 3, codes.OK, "")
	})
	t.Run("not a request", func(t *testing.T) {
		connection := open(t)
		send(t, connection, 1, 1, 0, []byte{0x0a, 0x7f})
		expectResponse(t, connection, 1, codes.InvalidArgument, "")
		send(t, connection, 3, 1, 0, request("Version", "x", 0))
		expectResponse(t, connection, 3, codes.OK, "")
	})
	t.Run("even stream", func(t *testing.T) {
		connection := open(t)
		send(t, connection, 2, 1, 0, request("Version", "x", 0))
		expectResponse(t, connection, 2, codes.InvalidArgument, "odd")
	})
	t.Run("stream used twice", func(t *testing.T) {
		connection := open(t)
		send(t, connection, 5, 1, 0, request("Version", "x", 0))
		expectResponse(t, connection, 5, codes.OK, "")
		send(t, connection, 5, 1, 0, request("Version", "x", 0))
		expectResponse(t, connection, 5, codes.InvalidArgument, "increase")
	})
	t.Run("types to come", func(t *testing.T) {
		connection := open(t)
		send(t, connection, 1, 77, 0, []byte("?"))
		send(t, connection, 3, 1, 0, request("Version", "x", 0))
		expectResponse(t, connection, 3, codes.OK, "")
	})
	t.Run("another protocol", func(t *testing.T) {
		connection := open(t)
		connection.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
		if _, response := receive(t, connection); response != nil {
			t.Fatalf("answered: %v", response)
		}
	})
	expectEcho(t, dial(t, path))
}

// A peer that asks for much and reads nothing makes the server stop reading, not grow.
func TestSlowReader(t *testing.T) {
	path := t.TempDir() + "/c.sock"
	command := exec.Command(os.Getenv("INTEROP_SERVER"), path)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Wait()
	defer command.Process.Kill()
	awaitSocket(t, path)
	connection, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	const wanted = 1000 // of 1 MB each
	sent := make(chan int)
	go func() {
		n := 0
		for ; n < wanted; n++ {
			data := request("Version", "size:1000000", 0)
			frame := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
			frame = binary.BigEndian.AppendUint32(frame, uint32(2*n+1))
			if _, err := connection.Write(append(append(frame, 1, 0), data...)); err != nil {
				break
			}
		}
		sent <- n
	}()
	time.Sleep(2 * time.Second)
	resident := residentKB(t, command.Process.Pid)
	t.Logf("interop: a slow reader who wants %d MB: the server has %d KB", wanted, resident)
	if resident > 150_000 {
		t.Errorf("%d KB", resident)
	}
	expectEcho(t, dial(t, path))
	for i := 0; i < wanted; i++ {
		if _, response := receive(t, connection); response == nil {
			t.Fatalf("closed after %d", i)
		}
	}
	if n := <-sent; n != wanted {
		t.Fatalf("%d sent", n)
	}
}

func residentKB(t *testing.T, pid int) (kb int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		fmt.Sscanf(line, "VmRSS: %d kB", &kb)
	}
	return kb
}
