/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/storage/storage.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "agent/storage/driver.h"
#include "base/log.h"
#include "base/path.h"

/*
 * How it works: agent->storages maps mount points to struct storage. A reference is counted before
 * anything waits, so that an entry never goes away under a waiter; the entry's lock makes mounting
 * and unmounting the same place take turns. Whoever drops the last reference unmounts, and removes
 * the entry unless somebody has come back meanwhile, who then mounts it anew.
 */

static struct storage *find_or_make(struct agent *agent, const char *mount_point)
{
	struct storage *storage = map_get(&agent->storages, mount_point);

	if (!storage) {
		storage = xnew(struct storage);
		storage->mount_point = xstrdup(mount_point);
		co_lock_init(&storage->lock);
		map_put(&agent->storages, mount_point, storage);
	}
	storage->refs++;
	return storage;
}

/* Gives up one reference. */
static int release(struct agent *agent, struct storage *storage, struct err *err)
{
	int r = 0;

	if (--storage->refs > 0)
		return 0;
	co_lock(&storage->lock);
	if (storage->refs == 0 && storage->ready) {
		r = storage_unmount(storage, err);
		storage->ready = false;
	}
	co_unlock(&storage->lock);
	if (storage->refs == 0 && map_get(&agent->storages, storage->mount_point) == storage) {
		map_remove(&agent->storages, storage->mount_point);
		free(storage->mount_point);
		free(storage);
	}
	return r;
}

static void hold(struct list *refs, struct storage *storage)
{
	struct storage_ref *ref = xnew(struct storage_ref);

	ref->storage = storage;
	list_add_tail(refs, &ref->link);
}

static int check(const Grpc__Storage *request, struct err *err)
{
	if (!path_is_clean(request->mount_point) || streq(request->mount_point, "/"))
		return err_setx(err, -EINVAL, "mount point \"%s\": not an absolute, plain path",
				request->mount_point);
	return 0;
}

static int add(struct agent *agent, struct list *refs, bool of_sandbox,
	       const Grpc__Storage *request, struct err *err)
{
	const struct storage_driver *driver = storage_driver_find(request->driver);
	struct storage *storage;
	int r;

	r = check(request, err);
	if (r < 0)
		return r;
	if (!driver)
		return err_setx(err, -ENOSYS, "storage driver \"%s\" is not supported",
				request->driver);
	storage = find_or_make(agent, request->mount_point);
	co_lock(&storage->lock);
	if (!storage->ready) {
		r = driver->add(agent, request, storage, err);
		storage->ready = r == 0;
		if (r == 0 && (driver->of_sandbox || request->shared) && !of_sandbox) {
			storage->refs++;
			hold(&agent->sandbox.storages, storage);
		}
	}
	co_unlock(&storage->lock);
	if (r < 0) {
		release(agent, storage, NULL);
		return err_wrap(err, r, "storage %s (%s)", request->mount_point, request->driver);
	}
	hold(refs, storage);
	return 0;
}

int storage_add_all(struct agent *agent, struct list *refs, Grpc__Storage *const *storages,
		    size_t n, struct err *err)
{
	struct list added = LIST_INIT(added);
	int r = 0;

	if (n > STORAGE_PER_REQUEST_MAX)
		return err_setx(err, -E2BIG, "%zu storages, at most %u", n,
				STORAGE_PER_REQUEST_MAX);
	for (size_t i = 0; i < n && r == 0; i++)
		r = add(agent, &added, refs == &agent->sandbox.storages, storages[i], err);
	if (r < 0) {
		storage_remove_all(agent, &added, NULL);
		return r;
	}
	while (!list_empty(&added)) {
		struct storage_ref *ref = list_first(&added, struct storage_ref, link);

		list_remove(&ref->link);
		list_add_tail(refs, &ref->link);
	}
	return 0;
}

int storage_remove_all(struct agent *agent, struct list *refs, struct err *err)
{
	int first = 0;

	while (!list_empty(refs)) {
		struct storage_ref *ref = list_entry(refs->prev, struct storage_ref, link);
		_cleanup_err_ struct err one = {0};
		int r;

		list_remove(&ref->link);
		r = release(agent, ref->storage, &one);
		free(ref);
		if (r == 0)
			continue;
		if (first == 0) {
			first = r;
			if (err)
				err_move(err, &one);
		} else {
			log_warn("%s", err_text(&one));
		}
	}
	return first;
}

int storage_update(struct agent *agent, const Grpc__Storage *request, struct err *err)
{
	struct storage *storage = map_get(&agent->storages, request->mount_point);
	int r;

	if (!streq(request->driver, "ephemeral"))
		return err_setx(err, -ENOSYS, "storage driver \"%s\" cannot be updated",
				request->driver);
	if (!storage)
		return err_setx(err, -ENOENT, "nothing is mounted at %s", request->mount_point);
	storage->refs++;
	co_lock(&storage->lock);
	r = storage->ready ? storage_remount(request, err)
			   : err_setx(err, -ENOENT, "%s is not mounted", request->mount_point);
	co_unlock(&storage->lock);
	release(agent, storage, NULL);
	return r;
}
