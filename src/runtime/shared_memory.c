/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/str.h"
#include "runtime/persist.h"

/*
 * How it works: QEMU opens the file by name (/proc/self/fd/N), for reading and writing, and it may
 * be hostile by then: the seals hold against that. A holder that ends while we look at it may have
 * its number taken by another process, or its descriptor by another file: what counts is what the
 * opened one is, by the name that the kernel keeps of it, its size and its seals.
 */

#define NAME_PREFIX "kata-template-"
#define SEALS       (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static bool is_it(int fd, const char *digest, uint64_t size)
{
	char path[32], name[256], wanted[256];
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	ssize_t n;

	if (seals < 0 || (seals & SEALS) != SEALS)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(wanted, sizeof(wanted), "/memfd:" NAME_PREFIX "%s (deleted)", digest);
	n = readlink(path, name, sizeof(name) - 1);
	if (n < 0)
		return false;
	name[n] = '\0';
	return streq(name, wanted) && fstat(fd, &st) == 0 && (uint64_t)st.st_size == size;
}

static int take_from(const struct persist *p, const char *digest, uint64_t size)
{
	const struct persist_process *holder = persist_holder(p);
	_cleanup_(closep) int fd = -1;
	char path[64];

	if (!holder || p->memory_fd < 0)
		return -ENOENT;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", holder->pid, p->memory_fd);
	/* Neither waits for a peer, should it be something else. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd >= 0 && persist_alive(holder) && is_it(fd, digest, size) ? TAKE_FD(fd) : -ENOENT;
}

int shared_memory_find(const char *digest, uint64_t size)
{
	_cleanup_(strv_fini) struct strv ids = {0};
	int fd = -ENOENT;

	(void)persist_list(&ids, NULL);
	for (size_t i = 0; fd < 0 && i < ids.n; i++) {
		struct persist p;

		if (persist_load(ids.v[i], &p, NULL) < 0)
			continue;
		fd = take_from(&p, digest, size);
		persist_fini(&p);
	}
	return fd;
}

int shared_memory_new(const char *digest, uint64_t size, struct err *err)
{
	_cleanup_(freep) char *name = xasprintf(NAME_PREFIX "%s", digest);
	_cleanup_(closep) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_set(err, -errno, "make memory that clones share");
	return TAKE_FD(fd);
}

int shared_memory_seal(int fd, struct err *err)
{
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return err_set(err, -errno, "seal the memory that clones share");
	return 0;
}
