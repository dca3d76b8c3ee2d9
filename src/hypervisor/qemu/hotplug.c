/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/log.h"
#include "hypervisor/qemu/qemu.h"

/*
 * How it works: adding a device is: check it, give it a place, make its descriptors known, describe
 * it, then either leave it for the command line or tell QEMU part by part, taking back what was
 * told when a later part is refused. Removing is the reverse, with a wait in the middle: the guest
 * has to let go of a PCI device before DEVICE_DELETED comes. When it does so only after the caller
 * has given up, the rest is done then.
 *
 * A device is in the VM's list from the first step on, marked busy, so that no other call can use
 * its id or its place meanwhile.
 */

#define DEATH_POLL_USEC (200 * USEC_PER_MSEC)

struct device *vm_find_device(struct vm *vm, const char *id)
{
	struct device *d;

	list_for_each (d, &vm->devices, link)
		if (streq(d->id, id))
			return d;
	return NULL;
}

static int take_place(struct vm *vm, struct device *d, struct err *err)
{
	bool hot = vm->state != VM_NEW;

	if (device_needs_slot(d)) {
		if (slots_take(&vm->slots, hot, &d->slot) < 0)
			return err_setx(err, -ENOSPC, "no PCI slot is left for device %s", d->id);
		d->has_slot = true;
	}
	if (!d->on_scsi)
		return 0;
	for (unsigned i = 0; i < QEMU_SCSI_MAX; i++) {
		if (vm->scsi_used[i / 8] & 1U << i % 8)
			continue;
		vm->scsi_used[i / 8] |= (uint8_t)(1U << i % 8);
		d->scsi_index = i;
		return 0;
	}
	d->on_scsi = false;
	return err_setx(err, -ENOSPC, "no SCSI address is left for device %s", d->id);
}

static void release_place(struct vm *vm, struct device *d)
{
	if (d->has_slot)
		slots_release(&vm->slots, &d->slot);
	if (d->on_scsi)
		vm->scsi_used[d->scsi_index / 8] &= (uint8_t) ~(1U << d->scsi_index % 8);
}

/* --- before the start --- */

static void number_fds(struct vm *vm, struct device *d)
{
	for (size_t i = 0; i < d->n_fds; i++) {
		struct device_fd *f = &d->fds[i];

		f->child = vm->next_child_fd++;
		if (f->in_set) {
			f->set = ++vm->next_set;
			snprintf(f->ref, sizeof(f->ref), "/dev/fdset/%u", f->set);
		} else {
			snprintf(f->ref, sizeof(f->ref), "%d", f->child);
		}
	}
}

/* --- while it runs --- */

static int pass_fd(struct vm *vm, struct device *d, size_t i, struct err *err)
{
	struct device_fd *f = &d->fds[i];
	json_t *arguments;

	if (f->in_set) {
		f->set = ++vm->next_set;
		snprintf(f->ref, sizeof(f->ref), "/dev/fdset/%u", f->set);
		arguments = json_pack("{s:i}", "fdset-id", (int)f->set);
	} else {
		snprintf(f->ref, sizeof(f->ref), "fd-%s-%zu", d->id, i);
		arguments = json_pack("{s:s}", "fdname", f->ref);
	}
	return vm_call_fd(vm, f->in_set ? "add-fd" : "getfd", arguments, f->fd, NULL, err);
}

/* What QEMU still holds of the first n descriptors. One that its object took over is gone already.
 */
static void forget_fds(struct vm *vm, struct device *d, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct device_fd *f = &d->fds[i];

		if (f->in_set)
			(void)vm_call(vm, "remove-fd", json_pack("{s:i}", "fdset-id", (int)f->set),
				      NULL, NULL);
		else
			(void)vm_call(vm, "closefd", json_pack("{s:s}", "fdname", f->ref), NULL,
				      NULL);
	}
}

static int remove_part(struct vm *vm, const struct part *part, struct err *err)
{
	json_t *arguments;
	const char *command = part_to_removal(part, &arguments);

	return vm_call(vm, command, arguments, NULL, err);
}

/* The backends, last first; the front end (the last part) is gone. */
static void remove_backends(struct vm *vm, struct device *d, size_t n)
{
	while (n--)
		(void)remove_part(vm, &d->parts[n], NULL);
}

static int plug(struct vm *vm, struct device *d, const struct vm_device *spec, struct err *err)
{
	size_t n_fds = 0, n_parts = 0;
	int r = 0;

	while (r == 0 && n_fds < d->n_fds) {
		r = pass_fd(vm, d, n_fds, err);
		if (r == 0)
			n_fds++;
	}
	if (r == 0)
		device_describe(d, spec, &vm->block);
	while (r == 0 && n_parts < d->n_parts) {
		json_t *arguments;
		const char *command = part_to_command(&d->parts[n_parts], &arguments);

		r = vm_call(vm, command, arguments, NULL, err);
		if (r == 0)
			n_parts++;
	}
	if (r < 0) {
		remove_backends(vm, d, n_parts);
		forget_fds(vm, d, n_fds);
	}
	return r;
}

int vm_add_device(struct vm *vm, const struct vm_device *spec, struct vm_device_address *ret,
		  struct err *err)
{
	_cleanup_(device_freep) struct device *d = NULL;
	int r;

	r = device_new(spec, &vm->block, &d, err);
	if (r < 0)
		return r;
	if (vm_find_device(vm, d->id))
		return err_setx(err, -EEXIST, "device %s exists", d->id);
	/* The backend would map other pages than the guest's, and the first access hang. */
	if (d->type == VM_DEVICE_FS && !vm->config.shared_memory)
		return err_setx(err, -EINVAL, "device %s needs shared guest memory", d->id);
	if (vm->state != VM_NEW && vm->state != VM_RUNNING)
		return vm_dead(vm, err);
	vm_enter(vm);
	r = take_place(vm, d, err);
	if (r == 0) {
		list_add_tail(&vm->devices, &d->link);
		d->busy = true;
		if (vm->state == VM_NEW) {
			number_fds(vm, d);
			device_describe(d, spec, &vm->block);
		} else {
			r = plug(vm, d, spec, err);
			for (size_t i = 0; i < d->n_fds; i++)
				d->fds[i].fd = fd_close(d->fds[i].fd);
		}
		d->busy = false;
	}
	if (r == 0) {
		if (ret)
			device_get_address(d, ret);
		d = NULL; /* the list's */
	} else {
		release_place(vm, d);
		list_remove(&d->link);
		err_wrap(err, r, "add device %s", d->id);
	}
	vm_leave(vm);
	return r;
}

/* --- removal --- */

static void remove_rest(struct vm *vm, struct device *d)
{
	remove_backends(vm, d, d->n_parts - 1);
	forget_fds(vm, d, d->n_fds);
}

struct late {
	struct vm *vm;
	struct device *device;
};

/* A removal that was given up before the guest let go. */
static void finish_late(void *arg)
{
	struct late *late = arg;
	struct vm *vm = late->vm;

	log_info("device %s: the guest has let go of it after all", late->device->id);
	remove_rest(vm, late->device);
	release_place(vm, late->device);
	device_free(late->device);
	free(late);
	vm_leave(vm);
}

static void start_late(struct vm *vm, struct device *d)
{
	struct late *late = xnew(struct late);

	*late = (struct late){vm, d};
	d->busy = true;
	vm_enter(vm);
	co_start(vm->loop, finish_late, late);
}

void hotplug_on_event(struct vm *vm, const char *name, json_t *data)
{
	const char *id = json_string_value(json_object_get(data, "device"));
	struct device *d = id ? vm_find_device(vm, id) : NULL;

	if (!d || !(d->busy || d->unplugging))
		return;
	if (streq(name, "DEVICE_DELETED"))
		d->deleted = true;
	else if (streq(name, "DEVICE_UNPLUG_GUEST_ERROR"))
		d->refused = true;
	else
		return;
	if (d->busy)
		co_cond_wake_all(&d->changed);
	else if (d->deleted)
		start_late(vm, d);
}

static int unplug(struct vm *vm, struct device *d, struct err *err)
{
	uint64_t deadline = clock_after(vm->unplug_usec);
	int r;

	r = remove_part(vm, &d->parts[d->n_parts - 1], err);
	/* "Already in the process of unplug" after a removal that timed out: wait again. */
	if (r < 0 && r != -ENOENT && !(r == -EREMOTEIO && d->unplugging))
		return r;
	d->unplugging = true;
	if (r == -ENOENT)
		d->deleted = true;
	err_clear(err);
	/* In slices, since the VM may die without this device hearing of it. */
	while (!d->deleted && !d->refused && vm->qmp && clock_now() < deadline)
		(void)co_cond_wait(&d->changed, MIN(deadline, clock_after(DEATH_POLL_USEC)));
	if (d->deleted)
		return 0;
	if (!vm->qmp)
		return vm_dead(vm, err);
	if (d->refused)
		return err_setx(err, -EBUSY, "the guest refused to let go of it");
	return err_setx(err, -ETIMEDOUT, "the guest did not let go of it within %llu s",
			(unsigned long long)(vm->unplug_usec / USEC_PER_SEC));
}

static int remove_now(struct vm *vm, struct device *d, struct err *err)
{
	int r = 0;

	if (vm->state == VM_RUNNING) {
		r = unplug(vm, d, err);
		if (r == 0)
			remove_rest(vm, d);
	} else if (vm->state != VM_NEW) {
		return vm_dead(vm, err);
	}
	return r;
}

int vm_remove_device(struct vm *vm, const char *id, struct err *err)
{
	struct device *d = vm_find_device(vm, id);
	int r;

	if (!d)
		return err_setx(err, -ENOENT, "no device %.80s", id);
	if (d->busy)
		return err_setx(err, -EBUSY, "device %s is being added or removed", id);
	vm_enter(vm);
	d->busy = true;
	d->refused = false;
	r = remove_now(vm, d, err);
	d->busy = false;
	if (r == 0) {
		release_place(vm, d);
		device_free(d);
	} else {
		err_wrap(err, r, "remove device %s", id);
	}
	vm_leave(vm);
	return r;
}
