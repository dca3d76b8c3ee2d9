/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"

#define DISKS_MAX 64 /* of one container */

static struct disk *disk_new(struct sandbox *s, struct host_file file, bool read_only)
{
	struct disk *disk = xnew(struct disk);

	*disk = (struct disk){.file = file, .read_only = read_only};
	snprintf(disk->id, sizeof(disk->id), "disk%u", s->next_disk++);
	return disk;
}

static struct disk *find(const struct sandbox *s, struct host_file file, bool read_only)
{
	for (struct list *l = s->disks.next; l != &s->disks; l = l->next) {
		struct disk *disk = list_entry(l, struct disk, link);

		if (disk->n_users && host_file_equal(disk->file, file) &&
		    disk->read_only == read_only)
			return disk;
	}
	return NULL;
}

/* Takes the descriptor. */
static int add(struct sandbox *s, struct disk *disk, int fd, struct err *err)
{
	const struct config_hypervisor *config = &s->config->hypervisor;
	struct vm_device device = {
		.type = VM_DEVICE_BLOCK,
		.id = disk->id,
		.block = {.fd = fd,
			  .read_only = disk->read_only,
			  .format = "raw",
			  .logical_sector_size = config->block_device_logical_sector_size,
			  .physical_sector_size = config->block_device_physical_sector_size},
	};
	struct vm_device_address address;
	int r = vm_add_device(s->vm, &device, &address, err);

	if (r < 0)
		return r;
	disk->driver = *address.scsi ? "scsi" : "blk";
	snprintf(disk->source, sizeof(disk->source), "%s",
		 *address.scsi ? address.scsi : address.pci_path);
	list_add_tail(&s->disks, &disk->link);
	s->n_disks++;
	return 0;
}

/* With the lock, so that two containers that come at once have one disk. */
static int find_or_add(struct container *c, const char *path, bool read_only, struct disk **ret,
		       struct err *err)
{
	struct sandbox *s = c->sandbox;
	_cleanup_(closep) int fd = -1;
	struct host_file file;
	struct stat st;
	int r = sandbox_usable(s, err);

	if (r < 0)
		return r;
	fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "open %s", path);
	file = host_file_of(&st);
	*ret = find(s, file, read_only);
	if (*ret)
		return 0;
	*ret = disk_new(s, file, read_only);
	r = add(s, *ret, TAKE_FD(fd), err);
	if (r < 0) {
		free(TAKE_PTR(*ret));
		return err_wrap(err, r, "attach %s", path);
	}
	return 0;
}

int disk_plug(struct container *c, const char *path, bool read_only, const struct disk **ret,
	      struct err *err)
{
	struct disk *disk = NULL;
	int r;

	if (c->n_disks == DISKS_MAX)
		return err_setx(err, -E2BIG, "%s: more than %d block devices", path, DISKS_MAX);
	co_lock(&c->sandbox->disk_lock);
	r = find_or_add(c, path, read_only, &disk, err);
	if (disk)
		disk->n_users++;
	co_unlock(&c->sandbox->disk_lock);
	if (!disk)
		return r;
	c->disks = xreallocarray(c->disks, c->n_disks + 1, sizeof(*c->disks));
	c->disks[c->n_disks++] = disk;
	*ret = disk;
	return 0;
}

/* Returns whether it is out of the VM, or nobody can say any more. */
static bool unplug(struct sandbox *s, const struct disk *disk)
{
	_cleanup_err_ struct err err = {0};
	int r;

	if (s->state != SANDBOX_RUNNING)
		return true;
	r = vm_remove_device(s->vm, disk->id, &err);
	if (r >= 0 || r == -ENOENT || r == -ESHUTDOWN)
		return true;
	log_warn("%s: the host's device stays open, it is tried again later", err_text(&err));
	return false;
}

static void leave(struct sandbox *s, struct disk *disk)
{
	disk->leaving = true;
	if (unplug(s, disk)) {
		s->n_disks--;
		list_remove(&disk->link);
		free(disk);
	} else {
		disk->leaving = false;
	}
}

/* Of earlier containers: not let go of by the guest. */
static struct disk *find_kept(const struct sandbox *s)
{
	for (struct list *l = s->disks.next; l != &s->disks; l = l->next) {
		struct disk *disk = list_entry(l, struct disk, link);

		if (!disk->n_users && !disk->leaving)
			return disk;
	}
	return NULL;
}

/* Each once: what fails again waits for the next call. */
static void retry(void *arg)
{
	struct sandbox *s = arg;
	_cleanup_(freep) struct disk **kept = xcalloc(s->n_disks + 1, sizeof(struct disk *));
	size_t n = 0;

	for (struct disk *disk = find_kept(s); disk; disk = find_kept(s)) {
		disk->leaving = true;
		kept[n++] = disk;
	}
	for (size_t i = 0; i < n; i++)
		leave(s, kept[i]);
	sandbox_unref(s);
}

void disks_unplug(struct container *c)
{
	struct sandbox *s = c->sandbox;

	/* This one does not wait for those. */
	if (find_kept(s)) {
		sandbox_ref(s);
		co_start(s->loop, retry, s);
	}
	while (c->n_disks) {
		struct disk *disk = c->disks[--c->n_disks];

		if (--disk->n_users == 0)
			leave(s, disk);
	}
	free(c->disks);
	c->disks = NULL;
}

void disks_free(struct sandbox *s)
{
	for (struct list *l = list_pop(&s->disks); l; l = list_pop(&s->disks))
		free(list_entry(l, struct disk, link));
}
