/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/path.h"
#include "builder/bzimage.h"
#include "builder/decompress.h"
#include "builder/elf64.h"

/*
 * How it works: a kernel is a file and a folder of modules with the same release. Distributions put
 * the file in /boot (Debian, Ubuntu) or beside the modules (Fedora, CoreOS). "Newest" compares
 * releases as strverscmp(3) does, 6.1.0-9 before 6.1.0-10.
 */

#define KERNEL_REMEDY "install one, for example: apt-get install linux-image-cloud-amd64"

/* %s: release. In order of preference. */
static const char *const file_patterns[] = {
	"/boot/vmlinuz-%s",
	"/lib/modules/%s/vmlinuz",
	"/usr/lib/modules/%s/vmlinuz",
};
static const char *const module_folders[] = {"/lib/modules", "/usr/lib/modules"};

static char *expand(const char *root, const char *pattern, const char *release)
{
	const char *hole = strstr(pattern, "%s");

	return xasprintf("%s%.*s%s%s", root, (int)(hole - pattern), pattern, release, hole + 2);
}

static char *find_modules(const char *root, const char *release)
{
	for (size_t i = 0; i < ARRAY_SIZE(module_folders); i++) {
		_cleanup_(freep) char *dir = xasprintf("%s%s/%s", root, module_folders[i], release);
		_cleanup_(freep) char *index = path_join(dir, "modules.dep.bin");

		if (fs_exists(index))
			return TAKE_PTR(dir);
	}
	return NULL;
}

/* True and *ret when there is a file and a folder of modules for the release. */
static bool find_release(const char *root, const char *release, struct kernel *ret)
{
	_cleanup_(freep) char *modules = find_modules(root, release);

	if (!modules)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(file_patterns); i++) {
		_cleanup_(freep) char *path = expand(root, file_patterns[i], release);

		if (access(path, R_OK) < 0)
			continue;
		*ret = (struct kernel){.path = TAKE_PTR(path),
				       .release = xstrdup(release),
				       .modules_dir = TAKE_PTR(modules)};
		return true;
	}
	return false;
}

static char *newest_release(const char *root)
{
	_cleanup_(freep) char *newest = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(module_folders); i++) {
		_cleanup_(freep) char *folder = xasprintf("%s%s", root, module_folders[i]);
		_cleanup_(closedirp) DIR *dir = opendir(folder);
		struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			struct kernel found = {0};

			if (entry->d_name[0] == '.' ||
			    (newest && strverscmp(entry->d_name, newest) <= 0) ||
			    !find_release(root, entry->d_name, &found))
				continue;
			kernel_fini(&found);
			free(newest);
			newest = xstrdup(entry->d_name);
		}
	}
	return TAKE_PTR(newest);
}

int kernel_find(const char *root, const char *running, struct kernel *ret, struct err *err)
{
	_cleanup_(freep) char *newest = NULL;

	if (find_release(root, running, ret))
		return 0;
	newest = newest_release(root);
	if (!newest || !find_release(root, newest, ret))
		return err_setx(err, -ENOENT,
				"no kernel with its modules in %s/boot or %s/lib/modules, neither "
				"of the running %s nor another; " KERNEL_REMEDY,
				root, root, running);
	ret->note = xasprintf("the running kernel %s has no file here: the guest gets the newest "
			      "installed one, %s",
			      running, newest);
	return 0;
}

/* Maps a whole file; *ret_n 0 and NULL for an empty one. */
static int map_file(const char *path, size_t max, void **ret, size_t *ret_n)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return -ENOEXEC;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	*ret_n = (size_t)st.st_size;
	return 0;
}

/* The payload of a boot image, when it is an ELF that can be started directly. */
static int extract_payload(const struct bzimage *bz, struct kernel_image *image)
{
	enum compression c = compression_detect(bz->payload, bz->payload_len);
	_cleanup_err_ struct err unpack_err = {0};
	uint32_t entry;
	size_t n;
	int r;

	image->packed = compression_name(c);
	r = decompress(bz->payload, bz->payload_len, VMLINUX_MAX, &image->data, &unpack_err);
	if (r < 0) {
		image->kept_why = r == -ENOSYS ? "its compression is not supported here"
					       : "its payload cannot be uncompressed";
		return r;
	}
	n = image->data.len;
	r = elf64_pvh_entry(image->data.data, n, &entry);
	if (r < 0) {
		image->kept_why = r == -ENOENT ? "it has no PVH entry" : "its payload is no kernel";
		return r;
	}
	r = elf64_trim(image->data.data, &n);
	if (r == 0)
		image->data.len = n;
	return r;
}

static int extract(const void *file, size_t n, struct kernel_image *image)
{
	char release[128] = "";
	struct bzimage bz;
	uint32_t entry;
	size_t trimmed = n;
	int r;

	if (elf64_detect(file, n)) {
		if (elf64_linux_release(file, n, release, sizeof(release)))
			image->release = xstrdup(release);
		r = elf64_pvh_entry(file, n, &entry);
		if (r < 0)
			return r == -ENOENT ? -ENOEXEC : r;
		buf_add(&image->data, file, n);
		r = elf64_trim(image->data.data, &trimmed);
		image->data.len = trimmed;
		image->pvh = true;
		return r;
	}
	r = bzimage_parse(file, n, &bz);
	if (r < 0)
		return r;
	image->release = xstrdup(bz.release);
	image->pvh = extract_payload(&bz, image) == 0;
	if (!image->pvh) {
		image->data.len = 0;
		buf_add(&image->data, file, n);
	}
	return 0;
}

int kernel_extract(const char *path, struct kernel_image *ret, struct err *err)
{
	_cleanup_(kernel_image_fini) struct kernel_image image = {0};
	void *file = NULL;
	size_t n = 0;
	int r = map_file(path, BZIMAGE_MAX, &file, &n);

	if (r < 0 && r != -ENOEXEC)
		return err_set(err, r, "kernel %s", path);
	if (r == 0) {
		r = extract(file, n, &image);
		munmap(file, n);
	}
	if (r == -ENOEXEC)
		return err_setx(err, r,
				"kernel %s: neither a bzImage nor an ELF kernel with a PVH entry",
				path);
	if (r == -ENOSYS)
		return err_setx(err, r, "kernel %s: a bzImage from before boot protocol 2.08",
				path);
	if (r < 0)
		return err_setx(err, r, "kernel %s: damaged: its header points outside the file",
				path);
	if (!image.release)
		image.release = xstrdup("");
	*ret = image;
	image = (struct kernel_image){0};
	return 0;
}

/* Releases become parts of paths. */
static bool is_release(const char *s)
{
	return *s && *s != '.' && !strchr(s, '/');
}

/* The release that a kernel file says it is. */
static int read_release(const char *path, char *ret, size_t size)
{
	void *file = NULL;
	struct bzimage bz;
	size_t n = 0;
	int r = map_file(path, BZIMAGE_MAX, &file, &n);

	if (r < 0)
		return r;
	ret[0] = '\0';
	if (bzimage_parse(file, n, &bz) == 0)
		snprintf(ret, size, "%s", bz.release);
	else if (elf64_detect(file, n))
		elf64_linux_release(file, n, ret, size);
	munmap(file, n);
	return 0;
}

int kernel_use(const char *path, const char *modules_dir, struct kernel *ret, struct err *err)
{
	char release[128];
	int r = read_release(path, release, sizeof(release));

	if (r < 0)
		return err_set(err, r, "kernel %s", path);
	if (!is_release(release))
		snprintf(release, sizeof(release), "%s", modules_dir ? path_name(modules_dir) : "");
	if (!is_release(release))
		return err_setx(err, -EINVAL,
				"kernel %s does not say its release: name its modules with "
				"--modules DIR",
				path);
	*ret = (struct kernel){
		.path = xstrdup(path),
		.release = xstrdup(release),
		.modules_dir = modules_dir ? xstrdup(modules_dir)
					   : xasprintf("%s/%s", module_folders[0], release),
	};
	return 0;
}

void kernel_fini(struct kernel *k)
{
	free(k->path);
	free(k->release);
	free(k->modules_dir);
	free(k->note);
	*k = (struct kernel){0};
}

void kernel_image_fini(struct kernel_image *image)
{
	buf_fini(&image->data);
	free(image->release);
	*image = (struct kernel_image){0};
}
