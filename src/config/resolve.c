/* SPDX-License-Identifier: Apache-2.0 */
#include "config/resolve.h"

#include <errno.h>
#include <pwd.h>
#include <stdint.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"

/* Where things are when the configuration does not say: "@" is the installation's prefix. */
static const char *const qemu_places[] = {
	"@/bin/qemu-system-x86_64",
	"/usr/bin/qemu-system-x86_64",
	"/usr/libexec/qemu-kvm",
	NULL,
};
static const char *const virtiofsd_places[] = {
	"@/libexec/virtiofsd",         "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd",
	"/usr/libexec/qemu/virtiofsd", "/usr/lib/virtiofsd",     NULL,
};
static const char *const kernel_places[] = {
	"/var/cache/kata-containers/vmlinux.container",
	"@/share/kata-containers/vmlinux.container",
	"/usr/share/kata-containers/vmlinux.container",
	NULL,
};
static const char *const initrd_places[] = {
	"/var/cache/kata-containers/kata-containers-initrd.img",
	"@/share/kata-containers/kata-containers-initrd.img",
	"/usr/share/kata-containers/kata-containers-initrd.img",
	NULL,
};

const char *config_prefix(void)
{
	static char prefix[PATH_MAX];
	ssize_t n;

	if (*prefix)
		return prefix;
	n = readlink("/proc/self/exe", prefix, sizeof(prefix) - 1);
	if (n > 0) {
		prefix[n] = '\0';
		for (int up = 0; up < 2; up++)
			if (strrchr(prefix, '/'))
				*strrchr(prefix, '/') = '\0';
	}
	if (!*prefix)
		strcpy(prefix, "/usr");
	return prefix;
}

uint32_t config_host_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (uint32_t)n : 1;
}

static uint64_t host_memory_mib(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size >> 20 : UINT32_MAX;
}

/* The first place that exists; when none does the first of the list, which errors then name. */
static void find_place(char **path, const char *const *places)
{
	char *first = NULL;

	if (**path)
		return;
	free(*path);
	for (; *places; places++) {
		char *candidate = **places == '@' ? path_join(config_prefix(), *places + 1)
						  : xstrdup(*places);

		if (fs_exists(candidate)) {
			free(first);
			*path = candidate;
			return;
		}
		if (first)
			free(candidate);
		else
			first = candidate;
	}
	*path = first;
}

static int resolve_user(struct config_hypervisor *h, struct err *err)
{
	const struct passwd *entry;
	uint32_t number;

	if (parse_u32(h->user, &number) == 0) {
		h->uid = number;
		h->gid = number;
		return 0;
	}
	errno = 0;
	entry = getpwnam(h->user);
	if (!entry)
		return err_setx(err, -EINVAL, "user: there is no user \"%s\" on this host",
				h->user);
	h->uid = entry->pw_uid;
	h->gid = entry->pw_gid;
	return 0;
}

static void resolve_size(struct config_hypervisor *h)
{
	uint32_t cpus = config_host_cpus();
	uint64_t memory = host_memory_mib();

	if (h->default_vcpus == 0)
		h->default_vcpus = 1;
	if (h->default_vcpus < 0 || h->default_vcpus > cpus)
		h->default_vcpus = cpus;
	if (h->default_maxvcpus == 0 || h->default_maxvcpus > cpus)
		h->default_maxvcpus = cpus;
	if (h->default_maxvcpus < h->default_vcpus)
		h->default_maxvcpus = (uint32_t)(h->default_vcpus + 0.999999);
	if (h->default_maxmemory == 0 || h->default_maxmemory > memory)
		h->default_maxmemory = memory;
	h->default_maxmemory = MAX(h->default_maxmemory, (uint64_t)h->default_memory);
	h->default_bridges = MAX(h->default_bridges, 1U);
}

static bool is_sector_size(uint32_t n)
{
	return n == 0 || (n >= 512 && (n & (n - 1)) == 0);
}

static size_t bind_mount_name_length(const char *name)
{
	size_t n = strlen(name);

	return str_has_suffix(name, ":ro") || str_has_suffix(name, ":rw") ? n - 3 : n;
}

/* Each is shown by its last component: "/path", "/path:ro" or "/path:rw". */
static bool same_bind_mount_name(const char *a, const char *b)
{
	const char *x = path_name(a), *y = path_name(b);
	size_t n = bind_mount_name_length(x);

	return n == bind_mount_name_length(y) && strncmp(x, y, n) == 0;
}

static int check_bind_mounts(const struct config *config, struct err *err)
{
	const struct strv *all = &config->runtime.sandbox_bind_mounts;

	if (all->n && streq(config->hypervisor.shared_fs, "none"))
		return err_setx(err, -EINVAL,
				"sandbox_bind_mounts needs shared_fs = \"virtio-fs\"");
	for (size_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < i; k++)
			if (same_bind_mount_name(all->v[i], all->v[k]))
				return err_setx(err, -EINVAL,
						"sandbox_bind_mounts: \"%s\" and \"%s\" would be "
						"seen under the same name",
						all->v[k], all->v[i]);
	return 0;
}

/* What mounts the image when the kernel has the drivers for it as modules: kata-guest-image puts it
 * beside the image. */
static char *initrd_of_image(const struct config_hypervisor *h)
{
	return xasprintf("%s.initrd", h->image);
}

static void find_initrd(struct config_hypervisor *h)
{
	_cleanup_(freep) char *beside = initrd_of_image(h);

	if (!*h->image) {
		find_place(&h->initrd, initrd_places);
	} else if (!*h->initrd && fs_exists(beside)) {
		free(h->initrd);
		h->initrd = TAKE_PTR(beside);
	}
}

/* Keys that contradict each other. */
static int check_together(const struct config *config, struct err *err)
{
	const struct config_hypervisor *h = &config->hypervisor;
	_cleanup_(freep) char *beside = initrd_of_image(h);

	if (*h->image && *h->initrd && !streq(h->initrd, beside))
		return err_setx(err, -EINVAL,
				"image and initrd are both given: the guest can have one of them "
				"only");
	if (streq(h->accelerator, "tcg") && !h->allow_emulation)
		return err_setx(err, -EINVAL,
				"accelerator = \"tcg\" needs allow_emulation = true: emulation "
				"does not isolate");
	if (!is_sector_size(h->block_device_logical_sector_size) ||
	    !is_sector_size(h->block_device_physical_sector_size))
		return err_setx(err, -EINVAL,
				"a sector size must be 0 or a power of two from 512 on");
	if (config->factory.enable_template && !*config->factory.template_path)
		return err_setx(err, -EINVAL, "enable_template needs a template_path");
	return check_bind_mounts(config, err);
}

int config_resolve(struct config *config, struct err *err)
{
	struct config_hypervisor *h = &config->hypervisor;
	int r = check_together(config, err);

	if (r < 0)
		return r;
	find_place(&h->path, qemu_places);
	find_place(&h->virtio_fs_daemon, virtiofsd_places);
	find_place(&h->kernel, kernel_places);
	find_initrd(h);
	resolve_size(h);
	return resolve_user(h, err);
}
