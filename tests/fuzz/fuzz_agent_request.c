/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a CreateContainer request to the agent: what is looked at before anything is made.
 * What passes must be within the bounds that the rest relies on.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "agent.pb-c.h"
#include "agent/init/init.h"
#include "agent/init/mount_spec.h"
#include "agent/resources.h"
#include "agent/spec_check.h"
#include "kernel/cgroup_devices.h"
#include "wire/ttrpc/arena.h"
#include "wire/ttrpc/ttrpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An error has a text, and only an error has. */
static int checked(int r, struct err *err)
{
	if ((r < 0) != (err->msg != NULL))
		abort();
	err_clear(err);
	return r;
}

/* Every jump of the filter lands within it, and it ends. */
static void check_filter(const struct bpf_insn *program, int n)
{
	if (n < 2 || n > (int)CGROUP_PROGRAM_MAX || program[n - 1].code != (BPF_JMP | BPF_EXIT))
		abort();
	for (int i = 0; i < n; i++) {
		int class = BPF_CLASS(program[i].code);

		if ((class == BPF_JMP || class == BPF_JMP32) &&
		    BPF_OP(program[i].code) != BPF_EXIT &&
		    (program[i].off < 0 || i + 1 + program[i].off >= n))
			abort();
	}
}

static void use_resources(const Grpc__Linux *linux_)
{
	static struct bpf_insn program[CGROUP_PROGRAM_MAX];
	_cleanup_err_ struct err err = {0};
	struct resources resources;
	int n;

	if (checked(resources_parse(&resources, linux_->resources, &err), &err) < 0)
		return;
	if (checked(resources_add_devices(&resources, linux_->resources, linux_->devices,
					  linux_->n_devices, &err),
		    &err) == 0) {
		n = cgroup_build_filter(resources.rules, resources.n_rules, program);
		if (n >= 0)
			check_filter(program, n);
		else if (n != -EINVAL)
			abort();
	}
	resources_fini(&resources);
}

static void use_spec(const Grpc__Spec *spec)
{
	_cleanup_err_ struct err err = {0};

	if (checked(spec_check(spec, &err), &err) < 0)
		return;
	for (size_t i = 0; i < spec->n_mounts; i++) {
		struct mount_spec mount = {0};

		checked(mount_spec_parse(&mount, spec->mounts[i]->options,
					 spec->mounts[i]->n_options, &err),
			&err);
		mount_spec_fini(&mount);
	}
	for (size_t i = 0; spec->linux && i < spec->linux->n_sysctl; i++)
		if (sysctl_check(spec->linux->sysctl[i]->key, NULL) < 0)
			abort();
	if (spec->linux)
		use_resources(spec->linux);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(max_align_t) char first[4096];
	Grpc__CreateContainerRequest *request;
	struct arena arena;

	arena_init(&arena, first, sizeof(first), TTRPC_ARENA_MAX);
	request = grpc__create_container_request__unpack(&arena.allocator, size, data);
	if (request && request->oci)
		use_spec(request->oci);
	arena_fini(&arena);
	return 0;
}
