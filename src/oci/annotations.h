/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What container managers say about a container in its annotations: is it a pod's sandbox, a
 * container of a pod, or neither, and how large the pod is. Rows for containerd's CRI plugin, CRI-O
 * and the dockershim.
 */

#include <stdint.h>

#include "base/err.h"
#include "oci.pb-c.h"

enum oci_kind {
	OCI_KIND_SINGLE,    /* no pod (ctr, podman, docker): a sandbox of its own */
	OCI_KIND_SANDBOX,   /* the first container of a pod; its id is the pod's */
	OCI_KIND_CONTAINER, /* joins the sandbox of oci_sandbox_id() */
};

/* oci_annotation: the value of a key, or NULL. */
const char *oci_annotation(const Grpc__Spec *spec, const char *key);
/*
 * oci_kind: which of the three. Returns 0, or -EINVAL when the annotation has an unknown value, or
 * a container names no sandbox or one that cannot be an id.
 */
int oci_kind(const Grpc__Spec *spec, enum oci_kind *ret, struct err *err);
/* oci_sandbox_id: of which sandbox this container is a part; NULL for OCI_KIND_SINGLE. */
const char *oci_sandbox_id(const Grpc__Spec *spec);
/* oci_sandbox_name, oci_sandbox_namespace: the pod in Kubernetes' words, or NULL. For people. */
const char *oci_sandbox_name(const Grpc__Spec *spec);
const char *oci_sandbox_namespace(const Grpc__Spec *spec);
/* oci_container_name: the container's name in its pod, or NULL. For people. */
const char *oci_container_name(const Grpc__Spec *spec);

/* The limits of a whole pod as containerd announces them with its sandbox; 0: not given. */
struct oci_sandbox_size {
	int64_t cpu_quota;   /* µs in a period; -1: no limit */
	uint64_t cpu_period; /* µs */
	uint64_t cpu_shares;
	int64_t memory; /* bytes */
};

/* oci_sandbox_size: returns 0, or -EINVAL with the key whose value is no number. */
int oci_sandbox_size(const Grpc__Spec *spec, struct oci_sandbox_size *ret, struct err *err);
