// SPDX-License-Identifier: Apache-2.0

//go:build tools

package interop

// The generators that run builds, so that go.mod has their versions.
import (
	_ "github.com/containerd/ttrpc/cmd/protoc-gen-go-ttrpc"
	_ "google.golang.org/protobuf/cmd/protoc-gen-go"
)
