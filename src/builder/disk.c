/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/sha256.h"
#include "base/spawn.h"
#include "builder/partition.h"

/*
 * How it works: the tree is written to a working folder and mkfs.erofs or mkfs.ext4 packs that into
 * a file of its own, which is copied behind a partition table. No loop device, no mount. Times,
 * UUID and hash seed are given, so that the tools have nothing random left to choose. mkfs.ext4
 * copies each file's ctime, which cannot be given: debugfs sets it afterwards.
 */

#define TOOL_OUTPUT_MAX 400
/* ext4: the content, its metadata, and a little room (the image is mounted read-only). */
#define EXT4_SLACK (4U << 20)
#define EXT4_BLOCK 4096U

static const struct {
	const char *name, *tool, *package;
} formats[_DISK_MAX] = {
	[DISK_NONE] = {"none"},
	[DISK_EROFS] = {"erofs", "mkfs.erofs", "erofs-utils"},
	[DISK_EXT4] = {"ext4", "mkfs.ext4", "e2fsprogs"},
};

const char *disk_format_name(enum disk_format f)
{
	return formats[f].name;
}

int disk_format_parse(const char *name, enum disk_format *ret)
{
	for (unsigned f = DISK_EROFS; f < _DISK_MAX; f++)
		if (streq(name, formats[f].name)) {
			*ret = (enum disk_format)f;
			return 0;
		}
	return -EINVAL;
}

/* RFC 9562, version 8: 122 bits of our own choice. */
static char *make_uuid(const char *key)
{
	return xasprintf("%.8s-%.4s-8%.3s-8%.3s-%.12s", key, key + 8, key + 13, key + 17, key + 20);
}

static uint64_t ext4_size(const struct tree *t)
{
	uint64_t size = EXT4_SLACK;

	for (size_t i = 0; i < t->n; i++)
		size += (t->nodes[i].len + 2 * EXT4_BLOCK) / EXT4_BLOCK * EXT4_BLOCK;
	return size / EXT4_BLOCK * EXT4_BLOCK;
}

static int run_tool(const char *tool, const char *package, const struct strv *argv, int64_t mtime,
		    struct err *err)
{
	_cleanup_(closep) int out = memfd_create("mkfs", MFD_CLOEXEC);
	char time_text[24];
	const struct spawn spawn = {
		.path = tool, .argv = argv->v, .in = -1, .out = out, .err = out};
	char text[TOOL_OUTPUT_MAX] = "";
	pid_t pid;
	int r;

	/* /sbin is not in every user's PATH; the variables fix the times that the tools choose. */
	snprintf(time_text, sizeof(time_text), "%jd", (intmax_t)MAX(mtime, 1));
	if (out < 0 || setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1) < 0 ||
	    setenv("SOURCE_DATE_EPOCH", time_text, 1) < 0 ||
	    setenv("E2FSPROGS_FAKE_TIME", time_text, 1) < 0)
		return err_set(err, -errno, "prepare %s", tool);
	pid = spawn_start(&spawn);
	if (pid == -ENOENT)
		return err_setx(err, -ENOENT, "%s is not installed: apt-get install %s", tool,
				package);
	r = pid < 0 ? (int)pid : spawn_wait(pid);
	if (r < 0)
		return err_set(err, r, "run %s", tool);
	if (r == 0)
		return 0;
	if (lseek(out, 0, SEEK_SET) == 0)
		(void)fd_read_full(out, text, sizeof(text) - 1);
	return err_setx(err, -EIO, "%s failed: %s", tool, str_chomp(text));
}

static int make_erofs(const char *file, const char *folder, const char *uuid, int64_t mtime,
		      struct err *err)
{
	_cleanup_(strv_fini) struct strv argv = {0};

	strv_add(&argv, formats[DISK_EROFS].tool);
	strv_add(&argv, "--quiet");
	strv_add(&argv, "--all-root");
	strv_addf(&argv, "-T%jd", (intmax_t)mtime);
	strv_addf(&argv, "-U%s", uuid);
	strv_add(&argv, file);
	strv_add(&argv, folder);
	return run_tool(argv.v[0], formats[DISK_EROFS].package, &argv, mtime, err);
}

static int make_ext4(const struct tree *t, const char *file, const char *folder, const char *uuid,
		     int64_t mtime, struct err *err)
{
	_cleanup_(strv_fini) struct strv argv = {0};

	strv_add(&argv, formats[DISK_EXT4].tool);
	strv_add(&argv, "-qF");
	strv_addf(&argv, "-b%u", EXT4_BLOCK);
	strv_add(&argv, "-m0");
	strv_add(&argv, "-O^has_journal,^resize_inode");
	strv_addf(&argv, "-Ehash_seed=%s,root_owner=0:0,lazy_itable_init=0", uuid);
	strv_addf(&argv, "-U%s", uuid);
	strv_addf(&argv, "-d%s", folder);
	strv_add(&argv, file);
	strv_addf(&argv, "%juk", (uintmax_t)ext4_size(t) / 1024);
	return run_tool(argv.v[0], formats[DISK_EXT4].package, &argv, mtime, err);
}

static int set_ext4_ctimes(const struct tree *t, const char *dir, const char *file, int64_t mtime,
			   struct err *err)
{
	_cleanup_(freep) char *script = path_join(dir, "ctimes");
	_cleanup_(buf_fini) struct buf commands = {0};
	_cleanup_(strv_fini) struct strv argv = {0};
	int r;

	buf_addf(&commands, "set_inode_field / ctime @%jd\n", (intmax_t)mtime);
	for (size_t i = 0; i < t->n; i++)
		buf_addf(&commands, "set_inode_field \"/%s\" ctime @%jd\n", t->nodes[i].path,
			 (intmax_t)mtime);
	r = fs_replace(script, commands.data, commands.len, 0600, false);
	if (r < 0)
		return err_set(err, r, "write %s", script);
	strv_add(&argv, "debugfs");
	strv_add(&argv, "-w");
	strv_addf(&argv, "-f%s", script);
	strv_add(&argv, file);
	r = run_tool(argv.v[0], formats[DISK_EXT4].package, &argv, mtime, err);
	unlink(script);
	return r;
}

static int write_image(int from, uint64_t size, int to, const char *key)
{
	uint8_t digest[SHA256_SIZE];
	struct sha256 hash;
	void *p;
	int r = 0;

	sha256_init(&hash);
	sha256_add(&hash, key, strlen(key));
	sha256_end(&hash, digest);
	if (ftruncate(to, (off_t)partition_image_size(size)) < 0)
		return -errno;
	r = partition_write_head(to, size, digest);
	if (r < 0)
		return r;
	p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, from, 0);
	if (p == MAP_FAILED || lseek(to, PARTITION_OFFSET, SEEK_SET) < 0)
		return -errno;
	r = fd_write_all(to, p, size);
	munmap(p, size);
	if (r == 0 && fsync(to) < 0)
		r = -errno;
	return r;
}

/* The image: the file system behind the partition tables. */
static int add_partition(const char *fs, const char *file, const char *key, struct err *err)
{
	_cleanup_(closep) int from = open(fs, O_RDONLY | O_CLOEXEC);
	_cleanup_(closep) int to = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	struct stat st;
	int r;

	if (from < 0 || fstat(from, &st) < 0)
		return err_set(err, -errno, "read %s", fs);
	r = to < 0 ? -errno : write_image(from, (uint64_t)st.st_size, to, key);
	return r < 0 ? err_set(err, r, "write %s", file) : 0;
}

int disk_make(const struct tree *t, enum disk_format f, const char *dir, const char *name,
	      const char *key, int64_t mtime, struct err *err)
{
	_cleanup_(freep) char *folder = path_join(dir, "root");
	_cleanup_(freep) char *fs = path_join(dir, "root.fs");
	_cleanup_(freep) char *file = path_join(dir, name);
	_cleanup_(freep) char *uuid = make_uuid(key);
	int r;

	if (mkdir(folder, 0755) < 0)
		return err_set(err, -errno, "make %s", folder);
	r = tree_extract(t, folder, mtime, err);
	if (r == 0 && f == DISK_EROFS)
		r = make_erofs(fs, folder, uuid, mtime, err);
	else if (r == 0)
		r = make_ext4(t, fs, folder, uuid, mtime, err);
	if (r == 0 && f == DISK_EXT4)
		r = set_ext4_ctimes(t, dir, fs, mtime, err);
	if (r == 0)
		r = add_partition(fs, file, key, err);
	unlink(fs);
	fs_remove_all(folder);
	return r;
}
