/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/spec_guest.h"

#include <errno.h>

#include "base/log.h"
#include "base/str.h"

static ProtobufCMessage *copy(const ProtobufCMessage *message)
{
	size_t n = protobuf_c_message_get_packed_size(message);
	_cleanup_(freep) uint8_t *packed = xmalloc(n + 1);
	ProtobufCMessage *result;

	protobuf_c_message_pack(message, packed);
	result = protobuf_c_message_unpack(message->descriptor, NULL, n, packed);
	/* What was packed a moment ago unpacks, unless there is no memory. */
	if (!result)
		abort();
	return result;
}

Grpc__Spec *spec_copy(const Grpc__Spec *spec)
{
	return (Grpc__Spec *)copy(&spec->base);
}

Grpc__Process *process_copy(const Grpc__Process *process)
{
	return (Grpc__Process *)copy(&process->base);
}

Grpc__Hooks *hooks_copy(const Grpc__Hooks *hooks)
{
	return (Grpc__Hooks *)copy(&hooks->base);
}

void spec_set(char **field, const char *value)
{
	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = str_empty(value) ? (char *)protobuf_c_empty_string : xstrdup(value);
}

void spec_remove(void ***items, size_t *n, size_t i)
{
	protobuf_c_message_free_unpacked((*items)[i], NULL);
	memmove(*items + i, *items + i + 1, (*n - i - 1) * sizeof(**items));
	if (--*n == 0) {
		free(*items);
		*items = NULL;
	}
}

/* Frees a sub-message: the pointer becomes NULL. */
#define DROP(field)                                                                          \
	do {                                                                                 \
		if (field)                                                                   \
			protobuf_c_message_free_unpacked((ProtobufCMessage *)(field), NULL); \
		(field) = NULL;                                                              \
	} while (0)

#define DROP_ALL(owner, field)                        \
	do {                                          \
		while ((owner)->n_##field)            \
			SPEC_REMOVE(owner, field, 0); \
	} while (0)

/* --- namespaces --- */

/* What becomes of a namespace of the document. */
enum namespace_fate { KEEP, DROP_IT, SHARE_PID };

static enum namespace_fate namespace_fate(const Grpc__LinuxNamespace *ns)
{
	/* The VM is the network namespace. */
	if (streq(ns->type, "network"))
		return DROP_IT;
	/* A path means the pod's (the host's processes cannot be joined from a VM). */
	if (streq(ns->type, "pid") && !str_empty(ns->path))
		return SHARE_PID;
	return KEEP;
}

static void change_namespaces(Grpc__Linux *linux, bool *shared_pidns)
{
	for (size_t i = 0; i < linux->n_namespaces;) {
		enum namespace_fate fate = namespace_fate(linux->namespaces[i]);

		if (fate == SHARE_PID)
			*shared_pidns = true;
		if (fate == KEEP) {
			spec_set(&linux->namespaces[i]->path, NULL);
			i++;
		} else {
			SPEC_REMOVE(linux, namespaces, i);
		}
	}
}

/* --- resources --- */

/* Device numbers, CPU numbers, page sizes and network classes are those of the host. */
static void change_resources(Grpc__LinuxResources *r)
{
	DROP_ALL(r, hugepagelimits);
	DROP_ALL(r, rdma);
	DROP(r->network);
	if (r->cpu) {
		spec_set(&r->cpu->cpus, NULL);
		spec_set(&r->cpu->mems, NULL);
	}
	if (r->memory) {
		r->memory->kernel = 0;
		r->memory->kerneltcp = 0;
	}
	if (r->blockio) {
		DROP_ALL(r->blockio, weightdevice);
		DROP_ALL(r->blockio, throttlereadbpsdevice);
		DROP_ALL(r->blockio, throttlewritebpsdevice);
		DROP_ALL(r->blockio, throttlereadiopsdevice);
		DROP_ALL(r->blockio, throttlewriteiopsdevice);
	}
}

Grpc__LinuxResources *spec_resources_to_guest(const Grpc__LinuxResources *resources)
{
	Grpc__LinuxResources *r = (Grpc__LinuxResources *)copy(&resources->base);

	change_resources(r);
	return r;
}

bool spec_privileged(const Grpc__Spec *spec)
{
	const Grpc__LinuxResources *r = spec->linux ? spec->linux->resources : NULL;
	bool all = false;

	for (size_t i = 0; r && i < r->n_devices; i++) {
		const Grpc__LinuxDeviceCgroup *rule = r->devices[i];

		if ((str_empty(rule->type) || streq(rule->type, "a")) && rule->major <= 0 &&
		    rule->minor <= 0)
			all = rule->allow;
	}
	return all;
}

/* --- hooks and labels --- */

/* Those of the host were taken by hooks.c; createContainer runs a host's program in the container's
 * namespaces, and these are in the VM. */
static int change_hooks(Grpc__Hooks *hooks, struct err *err)
{
	if (hooks->n_createcontainer)
		return err_setx(err, -ENOSYS,
				"hooks.createContainer (%s): a program of the host cannot run "
				"inside of a virtual machine",
				hooks->createcontainer[0]->path);
	DROP_ALL(hooks, prestart);
	DROP_ALL(hooks, createruntime);
	DROP_ALL(hooks, poststart);
	DROP_ALL(hooks, poststop);
	return 0;
}

void spec_process_to_guest(Grpc__Process *p)
{
	if (!str_empty(p->apparmorprofile))
		log_debug("AppArmor profile %s: not for the guest's kernel", p->apparmorprofile);
	if (!str_empty(p->selinuxlabel))
		log_debug("SELinux label %s: not for the guest's kernel", p->selinuxlabel);
	spec_set(&p->apparmorprofile, NULL);
	spec_set(&p->selinuxlabel, NULL);
	/* CPU numbers of the host. */
	DROP(p->execcpuaffinity);
}

static int change_linux(Grpc__Linux *linux, bool *shared_pidns, struct err *err)
{
	change_namespaces(linux, shared_pidns);
	if (linux->resources)
		change_resources(linux->resources);
	spec_set(&linux->mountlabel, NULL);
	if (linux->n_netdevices)
		return err_setx(err, -ENOSYS,
				"linux.netDevices (%s): a network device of the host cannot be "
				"moved into a virtual machine",
				linux->netdevices[0]->key);
	DROP(linux->intelrdt);
	DROP(linux->memorypolicy);
	return 0;
}

int spec_to_guest(Grpc__Spec *spec, bool *ret_shared_pidns, struct err *err)
{
	bool shared_pidns = false;
	int r = 0;

	if (!spec->process)
		return err_setx(err, -EINVAL, "config.json: there is no process");
	if (spec->process->n_args == 0)
		return err_setx(err, -EINVAL, "config.json: process.args is empty");
	spec_process_to_guest(spec->process);
	if (spec->hooks)
		r = change_hooks(spec->hooks, err);
	if (r >= 0 && spec->linux)
		r = change_linux(spec->linux, &shared_pidns, err);
	DROP(spec->solaris);
	DROP(spec->windows);
	if (r >= 0)
		*ret_shared_pidns = shared_pidns;
	return r;
}
