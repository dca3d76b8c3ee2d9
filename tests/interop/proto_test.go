// SPDX-License-Identifier: Apache-2.0

// Our messages against those of containerd's Go modules, and protobuf-c's coding against Go's.
package interop

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	_ "github.com/containerd/cgroups/v3/cgroup1/stats"
	_ "github.com/containerd/cgroups/v3/cgroup2/stats"
	_ "github.com/containerd/containerd/api/events"
	_ "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	_ "github.com/containerd/containerd/api/runtime/sandbox/v1"
	_ "github.com/containerd/containerd/api/runtime/task/v2"
	task3 "github.com/containerd/containerd/api/runtime/task/v3"
	_ "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	_ "github.com/containerd/containerd/api/types"
	_ "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	_ "github.com/containerd/containerd/api/types/task"
	_ "google.golang.org/genproto/googleapis/rpc/status"

	kata "kata-c.test/interop/kata/agent"
	_ "kata-c.test/interop/kata/types"
)

func marshal(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

func unmarshal(t *testing.T, data []byte, m proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(data, m); err != nil {
		t.Fatal(err)
	}
}

// The packages of proto/, single messages of others, and what we leave out on purpose.
var packages = map[string]bool{
	"grpc": true, "types": true, "ttrpc": true, "runtimeoptions.v1": true,
	"containerd.task.v2": true, "containerd.runtime.sandbox.v1": true, "containerd.events": true,
	"containerd.services.events.ttrpc.v1": true, "containerd.types": true, "containerd.v1.types": true,
	"containerd.runtime.bootstrap.v1": true, "io.containerd.cgroups.v1": true, "io.containerd.cgroups.v2": true,
}
var alone = map[string]bool{
	"google.rpc.Status": true, "google.protobuf.Any": true, "google.protobuf.Empty": true,
	"google.protobuf.Timestamp": true,
}
var leftOut = map[string]bool{
	"ttrpc.StringList": true, "containerd.types.ActiveMount": true, "containerd.types.ActivationInfo": true,
	"containerd.types.RuntimeRequest": true,
}

// Files of those packages that proto/ does not have: other services of containerd.
var otherFiles = []string{
	"events/container.proto", "events/content.proto", "events/image.proto", "events/namespace.proto",
	"events/snapshot.proto", "types/descriptor.proto", "types/transfer", "types/fieldpath.proto",
}

// Fields that the newest release of a module does not have yet, but its main branch.
var newer = map[string][]string{
	"io.containerd.cgroups.v2.MemoryStat": {
		"39 workingset_refault_anon uint64", "40 workingset_refault_file uint64",
		"41 workingset_activate_anon uint64", "42 workingset_activate_file uint64",
	},
}

func wanted(message protoreflect.MessageDescriptor) bool {
	name := string(message.FullName())
	if leftOut[name] || message.IsMapEntry() {
		return false
	}
	for _, file := range otherFiles {
		if strings.Contains(message.ParentFile().Path(), file) {
			return false
		}
	}
	return alone[name] || packages[string(message.ParentFile().Package())]
}

func messages() (found []protoreflect.MessageDescriptor) {
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		if wanted(m.Descriptor()) {
			found = append(found, m.Descriptor())
		}
		return true
	})
	sort.Slice(found, func(i, k int) bool { return found[i].FullName() < found[k].FullName() })
	return found
}

// describe lists a message's fields in the words of the C server.
func describe(message protoreflect.MessageDescriptor) string {
	var lines []string
	for i := 0; i < message.Fields().Len(); i++ {
		field := message.Fields().Get(i)
		list := ""
		if field.Cardinality() == protoreflect.Repeated {
			list = "[]"
		}
		lines = append(lines, fmt.Sprintf("%d %s %s%s", field.Number(), field.Name(), field.Kind(), list))
	}
	lines = append(lines, newer[string(message.FullName())]...)
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func TestFieldsAreThoseOfTheOrigin(t *testing.T) {
	client := dial(t, startServer(t))
	all := messages()
	for _, message := range all {
		var response = describeByC(t, client, string(message.FullName()))
		if response != describe(message) {
			t.Errorf("%s: ours:\n%s\nexpected:\n%s", message.FullName(), response, describe(message))
		}
	}
	t.Logf("interop: %d messages compared with their Go modules or generated code", len(all))
	if len(all) < 200 {
		t.Errorf("only %d messages found", len(all))
	}
}

// Task v3 is served with the messages of v2, so they must be the same.
func TestTaskVersionsAreTheSame(t *testing.T) {
	client := dial(t, startServer(t))
	v3 := task3.File_runtime_task_v3_shim_proto
	if v3 == nil {
		t.Fatal("no task v3")
	}
	for i := 0; i < v3.Messages().Len(); i++ {
		message := v3.Messages().Get(i)
		ours := describeByC(t, client, "containerd.task.v2."+string(message.Name()))
		if ours != describe(message) {
			t.Errorf("%s: v2 has:\n%s\nv3 has:\n%s", message.Name(), ours, describe(message))
		}
	}
}

func describeByC(t *testing.T, client *ttrpc.Client, name string) string {
	t.Helper()
	var response kata.VersionCheckResponse
	if err := client.Call(context.Background(), "interop.Describe", name, &kata.CheckRequest{}, &response); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	lines := strings.Split(strings.TrimSpace(response.AgentVersion), "\n")
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// fill gives every field a value that differs from its neighbours', three levels deep.
func fill(message protoreflect.Message, depth int, seed *int) {
	fields := message.Descriptor().Fields()
	for i := 0; i < fields.Len(); i++ {
		field := fields.Get(i)
		switch {
		case field.IsMap():
			values := message.Mutable(field).Map()
			for k := 0; k < 2; k++ {
				key := protoreflect.ValueOfString(fmt.Sprint("key", k)).MapKey()
				if field.MapValue().Kind() == protoreflect.MessageKind {
					value := values.NewValue()
					fill(value.Message(), depth-1, seed)
					values.Set(key, value)
				} else {
					values.Set(key, scalar(field.MapValue(), seed))
				}
			}
		case field.Kind() == protoreflect.MessageKind && depth == 0:
		case field.IsList():
			values := message.Mutable(field).List()
			for k := 0; k < 2; k++ {
				if field.Kind() == protoreflect.MessageKind {
					fill(values.AppendMutable().Message(), depth-1, seed)
				} else {
					values.Append(scalar(field, seed))
				}
			}
		case field.Kind() == protoreflect.MessageKind:
			fill(message.Mutable(field).Message(), depth-1, seed)
		default:
			message.Set(field, scalar(field, seed))
		}
	}
}

func scalar(field protoreflect.FieldDescriptor, seed *int) protoreflect.Value {
	*seed++
	n := *seed
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprintf("%s %d", field.Name(), n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, byte(n), 255})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(-n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(-1 << 62)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(^uint32(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(^uint64(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n) + 0.25)
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	default:
		panic(field.Kind())
	}
}

func TestMessagesTravel(t *testing.T) {
	client := dial(t, startServer(t))
	for _, descriptor := range messages() {
		seed := 0
		sent, got := dynamicpb.NewMessage(descriptor), dynamicpb.NewMessage(descriptor)
		fill(sent, 3, &seed)
		if err := client.Call(context.Background(), "interop.Recode", string(descriptor.FullName()), sent, got); err != nil {
			t.Errorf("%s: %v", descriptor.FullName(), err)
		} else if !proto.Equal(sent, got) {
			t.Errorf("%s: sent %v, got %v", descriptor.FullName(), sent, got)
		}
	}
}
