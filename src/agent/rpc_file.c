/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/rpc.h"
#include "base/fs.h"
#include "base/path.h"

/*
 * CopyFile: files that the runtime puts below the shared containers folder when there is no shared
 * file system. They arrive in chunks, are written beside their place under a hidden name, and are
 * renamed when they have their size, so that a container never sees half a file.
 *
 * Every path is resolved below the shared folder (openat2 RESOLVE_IN_ROOT), because containers can
 * make symlinks there; the last component is never followed. All of it in a child.
 */

#define COPY_TIME     (60 * USEC_PER_SEC)
#define MODE_MASK     07777U
#define DIR_MODE_MASK 0777U

struct copy {
	const Grpc__CopyFileRequest *request;
	const char *inside; /* below the shared folder */
};

static int own(int fd, const char *name, const Grpc__CopyFileRequest *request, int flags)
{
	return fchownat(fd, name, (uid_t)request->uid, (gid_t)request->gid, flags) < 0 ? -errno : 0;
}

/* The folder that the file goes to; missing parents are made. */
static int open_parent(int root, const struct copy *copy)
{
	_cleanup_(freep) char *dir = path_dir(copy->inside);
	mode_t mode = copy->request->dir_mode & DIR_MODE_MASK;
	_cleanup_(closep) int fd = -1;
	bool fresh;

	fd = path_open_in_root(root, dir, O_PATH | O_DIRECTORY, 0);
	fresh = fd == -ENOENT;
	if (fresh)
		fd = path_mkdir_in_root(root, dir, mode ? mode : 0750);
	if (fd < 0)
		return TAKE_FD(fd);
	if (fresh) {
		int r = own(fd, "", copy->request, AT_EMPTY_PATH);

		if (r < 0)
			return r;
	}
	return TAKE_FD(fd);
}

/* An old file or link in the way goes; a folder is refused by the kernel. */
static int remove_old(int parent, const char *name)
{
	return unlinkat(parent, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int copy_folder(int parent, const char *name, const Grpc__CopyFileRequest *request)
{
	_cleanup_(closep) int fd = -1;
	int r = remove_old(parent, name);

	if (r < 0 && r != -EISDIR && r != -EPERM)
		return r;
	if (mkdirat(parent, name, request->file_mode & DIR_MODE_MASK) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = own(fd, "", request, AT_EMPTY_PATH);
	/* After the change of owner, which clears the set-id bits. */
	if (r == 0 && fchmod(fd, request->file_mode & MODE_MASK) < 0)
		r = -errno;
	return r;
}

static int copy_link(int parent, const char *name, const Grpc__CopyFileRequest *request)
{
	char target[PATH_MAX];
	int r;

	if (request->data.len == 0 || request->data.len >= sizeof(target) ||
	    memchr(request->data.data, '\0', request->data.len))
		return -EINVAL;
	memcpy(target, request->data.data, request->data.len);
	target[request->data.len] = '\0';
	r = remove_old(parent, name);
	if (r < 0)
		return r;
	if (symlinkat(target, parent, name) < 0)
		return -errno;
	return own(parent, name, request, AT_SYMLINK_NOFOLLOW);
}

static int write_chunk(int fd, const Grpc__CopyFileRequest *request)
{
	const uint8_t *at = request->data.data;
	size_t left = request->data.len;
	off_t offset = request->offset;

	while (left > 0) {
		ssize_t n = pwrite(fd, at, left, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		left -= (size_t)n;
		offset += n;
	}
	return 0;
}

static int copy_content(int parent, const char *name, const Grpc__CopyFileRequest *request)
{
	_cleanup_(freep) char *hidden = xasprintf(".%s.kata-copy", name);
	_cleanup_(closep) int fd = -1;
	struct stat st;
	int r;

	/* A container may have put a pipe there, whose opening would wait for a reader. */
	fd = openat(parent, hidden,
		    O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |
			    (request->offset ? 0 : O_TRUNC),
		    0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENXIO ? -EINVAL : -errno;
	/* Chunks in order: a gap would become zeros in the finished file. */
	if (!S_ISREG(st.st_mode) || st.st_size < request->offset)
		return -EINVAL;
	r = write_chunk(fd, request);
	if (r < 0)
		return r;
	if (request->offset + (int64_t)request->data.len < request->file_size)
		return 0;
	if (fchown(fd, (uid_t)request->uid, (gid_t)request->gid) < 0 ||
	    fchmod(fd, request->file_mode & MODE_MASK) < 0 ||
	    renameat(parent, hidden, parent, name) < 0)
		return -errno;
	return 0;
}

static int copy_in_child(void *arg, _unused_ void *reply)
{
	const struct copy *copy = arg;
	const char *name = path_name(copy->inside);
	_cleanup_(closep) int root = -1, parent = -1;
	int r;

	r = fs_mkdir_all(AGENT_SHARED_DIR, 0755);
	if (r < 0)
		return r;
	umask(0);
	root = open(AGENT_SHARED_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	parent = open_parent(root, copy);
	if (parent < 0)
		return parent;
	switch (copy->request->file_mode & S_IFMT) {
	case S_IFDIR:
		return copy_folder(parent, name, copy->request);
	case S_IFLNK:
		return copy_link(parent, name, copy->request);
	case S_IFREG:
	case 0:
		return copy_content(parent, name, copy->request);
	default:
		return -EOPNOTSUPP;
	}
}

static int check(const Grpc__CopyFileRequest *request, const char **ret_inside, struct err *err)
{
	const char *inside = str_skip_prefix(request->path, AGENT_SHARED_DIR "/");

	if (!inside || !*inside || !path_is_clean(request->path) ||
	    strlen(request->path) >= PATH_MAX || strlen(path_name(inside)) > NAME_MAX - 16)
		return err_setx(err, -EPERM, "copy to \"%s\": not a plain path below %s",
				request->path, AGENT_SHARED_DIR);
	if (request->offset < 0 || request->file_size < 0 || request->offset > request->file_size ||
	    (int64_t)request->data.len > request->file_size - request->offset)
		return err_setx(err, -EINVAL,
				"copy to %s: %zu bytes at %lld do not fit in a file of %lld",
				request->path, request->data.len, (long long)request->offset,
				(long long)request->file_size);
	*ret_inside = inside;
	return 0;
}

RPC(copy_file)
{
	struct copy copy = {.request = request_};
	int r;

	(void)response_;
	r = check(copy.request, &copy.inside, err);
	if (r < 0)
		return r;
	r = co_run_child(copy_in_child, &copy, NULL, 0,
			 MIN(ttrpc_call_deadline(call), clock_after(COPY_TIME)));
	return r < 0 ? err_set(err, r, "copy to %s", copy.request->path) : 0;
}
