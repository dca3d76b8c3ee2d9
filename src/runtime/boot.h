/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Steps of the boot that are not in boot.c, which has the table: channel, guest, network, share and
 * template. context: struct sandbox. */

#include "runtime/model.h"

/*
 * boot_guest_patience: how long a call of the boot may take in a guest that has taken boot_usec
 * until its agent answered. The boot is the longest piece of work of them all: the next ones, a
 * tenth of it, last as long only where the host has lost most of its time to others meanwhile.
 */
#define BOOT_GUEST_TIMEOUT (60 * USEC_PER_SEC)
static inline uint64_t boot_guest_patience(uint64_t boot_usec)
{
	return MAX(BOOT_GUEST_TIMEOUT, 2 * boot_usec);
}

/* The virtio-serial port of the agent, where there is no vhost-vsock. */
#define BOOT_AGENT_PORT "org.kata-containers.agent.0"

/* boot_make_state: the folder of the state file is ours from now on, and what was left there is
 * removed. */
int boot_make_state(void *context, struct err *err);
/*
 * boot_choose_size: whole CPUs and MiB to begin with. With static_sandbox_resource_mgmt the pod's
 * limits, which containerd tells in advance, are added at once instead of being hot-plugged. spec
 * may be NULL.
 */
int boot_choose_size(const struct config *config, const Grpc__Spec *spec, uint32_t *ret_vcpus,
		     uint64_t *ret_memory_mib, struct err *err);

/* boot_choose_channel: vsock or serial port; never fails. boot_drop_channel: its undo.
 * boot_add_channel: give the VM, before it starts, the device that was chosen. */
int boot_choose_channel(void *context, struct err *err);
void boot_drop_channel(void *context);
int boot_add_channel(struct sandbox *s, struct err *err);
/* boot_add_port: a virtio-serial port of the VM; *ret is our end. */
int boot_add_port(struct sandbox *s, const char *id, const char *name, int *ret, struct err *err);
/* boot_dial_agent: reach the agent and learn what it can. boot_hang_up: its undo. */
int boot_dial_agent(void *context, struct err *err);
void boot_hang_up(void *context);
/* boot_create_in_guest: CreateSandbox: shared folder, /dev/shm, names, kernel modules. */
int boot_create_in_guest(void *context, struct err *err);
/*
 * boot_warm_up: of a VM in which no pod runs yet: make the guest do once what a pod will make it
 * do, in a sandbox that is gone afterwards: mounts, a container, a process that is executed in it,
 * its own first one, both of which have to end with 0. -ENOSYS when the agent cannot end a sandbox
 * and go on (feature kata-c.spare). After a failure the VM is good for nothing.
 */
int boot_warm_up(void *context, struct err *err);
/* boot_open_network: join the pod's interfaces with the VM, each written down before it is joined.
 * boot_close_network: its undo. boot_attach_network: the VM's cards. boot_tell_network: what CNI
 * had configured on the host. */
int boot_open_network(void *context, struct err *err);
void boot_close_network(void *context);
int boot_attach_network(void *context, struct err *err);
int boot_tell_network(void *context, struct err *err);
/* boot_open_port_forward: take the loopback of the pod's namespace, while the guest boots.
 * boot_close_port_forward: its undo. boot_start_port_forward: serve it. Where that cannot be, the
 * log says why. */
int boot_open_port_forward(void *context, struct err *err);
void boot_close_port_forward(void *context);
int boot_start_port_forward(void *context, struct err *err);

/* boot_open_share: the folders that the guest will see. boot_close_share: its undo. */
int boot_open_share(void *context, struct err *err);
void boot_close_share(void *context);
/* boot_bind_mounts: sandbox_bind_mounts of the configuration. boot_unbind_mounts: its undo. */
int boot_bind_mounts(void *context, struct err *err);
void boot_unbind_mounts(void *context);
/* boot_start_virtiofsd: what serves them. boot_stop_virtiofsd: its undo. boot_attach_share: the
 * VM's devices for them. */
int boot_start_virtiofsd(void *context, struct err *err);
void boot_stop_virtiofsd(void *context);
int boot_attach_share(struct sandbox *s, struct err *err);
/* boot_share_storages: how the guest mounts them; borrowed from s. Returns how many there are. */
size_t boot_share_storages(const struct sandbox *s, Grpc__Storage storages[_SHARE_MAX]);

/*
 * boot_find_template: when there is a template of the VM that was prepared, begin to restore that,
 * beside the next steps. boot_drop_template: its undo. boot_await_restore: until the VM runs.
 * boot_freshen: give the clone its own random numbers and the time; a guest that has booted the
 * time alone, where it could not learn it.
 */
int boot_find_template(void *context, struct err *err);
void boot_drop_template(void *context);
int boot_await_restore(struct sandbox *s, struct err *err);
int boot_freshen(void *context, struct err *err);
/* boot_set_clock: the guest's, to the host's. boot_follow_clock: from now on whenever that jumps.
 * boot_leave_clock: its undo. */
int boot_set_clock(struct sandbox *s, struct err *err);
int boot_follow_clock(void *context, struct err *err);
void boot_leave_clock(void *context);
/* boot_can_restore: whether sandboxes of this configuration are restored where there is a template.
 */
bool boot_can_restore(const struct config *config);
/* boot_name_vm: the key of the VM that was prepared. boot_save_memory: of a VM that is to be a
 * template: its key, and its memory in a file that outlives it; -EALREADY when there is such a
 * template. boot_forget_memory: its undo. */
int boot_name_vm(void *context, struct err *err);
int boot_save_memory(void *context, struct err *err);
void boot_forget_memory(void *context);
/* boot_may_boot_instead: after a failure of a sandbox that was to be restored, and its undo:
 * whether to boot it. The reason is logged, and a template that was still on trial removed. */
bool boot_may_boot_instead(struct sandbox *s, const struct err *err);

/*
 * A spare that becomes a pod's sandbox (boot_spare.c). boot_take_name: its folders get the name of
 * the sandbox, and its processes the priority of this one. boot_move_cgroup: they move to the
 * pod's control group. boot_forget_former: what is on disk under the spare's own name.
 */
int boot_take_name(void *context, struct err *err);
int boot_move_cgroup(void *context, struct err *err);
void boot_forget_former(struct sandbox *s);

/* boot_is_broken: the guest, or what serves it, does not answer any more. */
static inline bool boot_is_broken(const struct sandbox *s)
{
	return s->stuck || s->reason;
}
