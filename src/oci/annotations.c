/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/annotations.h"

#include <errno.h>

#include "base/parse.h"
#include "base/path.h"
#include "base/str.h"

/* One row a manager: its keys, and its words for the two kinds of container. */
static const struct manager {
	const char *kind_key, *sandbox, *container;
	const char *sandbox_id, *sandbox_name, *sandbox_namespace, *container_name;
} managers[] = {
	{
		.kind_key = "io.kubernetes.cri.container-type",
		.sandbox = "sandbox",
		.container = "container",
		.sandbox_id = "io.kubernetes.cri.sandbox-id",
		.sandbox_name = "io.kubernetes.cri.sandbox-name",
		.sandbox_namespace = "io.kubernetes.cri.sandbox-namespace",
		.container_name = "io.kubernetes.cri.container-name",
	},
	{
		.kind_key = "io.kubernetes.cri-o.ContainerType",
		.sandbox = "sandbox",
		.container = "container",
		.sandbox_id = "io.kubernetes.cri-o.SandboxID",
		.sandbox_name = "io.kubernetes.cri-o.KubeName",
		.sandbox_namespace = "io.kubernetes.cri-o.Namespace",
		.container_name = "io.kubernetes.container.name",
	},
	{
		.kind_key = "io.kubernetes.docker.type",
		.sandbox = "podsandbox",
		.container = "container",
		.sandbox_id = "io.kubernetes.sandbox.id",
		.sandbox_name = "io.kubernetes.pod.name",
		.sandbox_namespace = "io.kubernetes.pod.namespace",
		.container_name = "io.kubernetes.container.name",
	},
};

const char *oci_annotation(const Grpc__Spec *spec, const char *key)
{
	for (size_t i = 0; i < spec->n_annotations; i++)
		if (streq(spec->annotations[i]->key, key))
			return spec->annotations[i]->value;
	return NULL;
}

static const struct manager *manager_of(const Grpc__Spec *spec)
{
	for (size_t i = 0; i < ARRAY_SIZE(managers); i++)
		if (oci_annotation(spec, managers[i].kind_key))
			return &managers[i];
	return NULL;
}

int oci_kind(const Grpc__Spec *spec, enum oci_kind *ret, struct err *err)
{
	const struct manager *manager = manager_of(spec);
	const char *kind, *id;

	if (!manager) {
		*ret = OCI_KIND_SINGLE;
		return 0;
	}
	kind = oci_annotation(spec, manager->kind_key);
	if (streq(kind, manager->sandbox)) {
		*ret = OCI_KIND_SANDBOX;
		return 0;
	}
	if (!streq(kind, manager->container))
		return err_setx(err, -EINVAL, "annotation %s: \"%s\" is neither %s nor %s",
				manager->kind_key, kind, manager->sandbox, manager->container);
	id = oci_annotation(spec, manager->sandbox_id);
	if (!id)
		return err_setx(err, -EINVAL, "annotation %s is missing: of which sandbox?",
				manager->sandbox_id);
	if (!path_is_id(id))
		return err_setx(err, -EINVAL, "annotation %s: \"%s\" is no sandbox id",
				manager->sandbox_id, id);
	*ret = OCI_KIND_CONTAINER;
	return 0;
}

/* The value of one of a manager's keys. */
#define LOOK_UP(spec, key)                                             \
	({                                                             \
		const struct manager *_manager = manager_of(spec);     \
		_manager ? oci_annotation(spec, _manager->key) : NULL; \
	})

const char *oci_sandbox_id(const Grpc__Spec *spec)
{
	return LOOK_UP(spec, sandbox_id);
}

const char *oci_sandbox_name(const Grpc__Spec *spec)
{
	return LOOK_UP(spec, sandbox_name);
}

const char *oci_sandbox_namespace(const Grpc__Spec *spec)
{
	return LOOK_UP(spec, sandbox_namespace);
}

const char *oci_container_name(const Grpc__Spec *spec)
{
	return LOOK_UP(spec, container_name);
}

int oci_sandbox_size(const Grpc__Spec *spec, struct oci_sandbox_size *ret, struct err *err)
{
	static const char *const keys[] = {
		"io.kubernetes.cri.sandbox-cpu-quota",
		"io.kubernetes.cri.sandbox-cpu-period",
		"io.kubernetes.cri.sandbox-cpu-shares",
		"io.kubernetes.cri.sandbox-memory",
	};
	int64_t values[ARRAY_SIZE(keys)] = {0};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *text = oci_annotation(spec, keys[i]);

		if (!text)
			continue;
		/* Only a quota can be negative. */
		if (parse_i64(text, &values[i]) < 0 || (i > 0 && values[i] < 0))
			return err_setx(err, -EINVAL, "annotation %s: \"%s\" is no such number",
					keys[i], text);
	}
	*ret = (struct oci_sandbox_size){
		.cpu_quota = values[0],
		.cpu_period = (uint64_t)values[1],
		.cpu_shares = (uint64_t)values[2],
		.memory = values[3],
	};
	return 0;
}
