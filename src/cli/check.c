/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli/cli.h"
#include "kernel/proc.h"

#define REMEDY_IMAGE "run kata-guest-image, or name the file in the configuration"

void check_say(struct check_report *report, enum check_level level, const char *remedy,
	       const char *format, ...)
{
	static const char *const words[] = {"ok:", "note:", "problem:"};
	_cleanup_(freep) char *text = NULL;
	va_list ap;

	report->n_notes += level == CHECK_NOTE;
	report->n_problems += level == CHECK_PROBLEM;
	if (level == CHECK_OK && !report->verbose)
		return;
	va_start(ap, format);
	text = xvasprintf(format, ap);
	va_end(ap);
	printf("%-8s %s\n", words[level], text);
	if (remedy)
		printf("         remedy: %s\n", remedy);
}

static void check_accelerator(const struct check_env *env, const struct config *config,
			      struct check_report *report)
{
	const struct config_hypervisor *h = &config->hypervisor;
	_cleanup_err_ struct err err = {0};
	enum vm_accel accel;

	if (accel_choose(env->accel, h->accelerator, h->allow_emulation, &accel, &err) < 0) {
		check_say(report, CHECK_PROBLEM, NULL, "%s", err_text(&err));
		return;
	}
	report->capable = true;
	report->emulated = accel == VM_ACCEL_TCG;
	if (accel == VM_ACCEL_KVM)
		check_say(report, CHECK_OK, NULL, "KVM runs a virtual machine");
}

static void check_program(struct check_report *report, const char *what, const char *path,
			  const char *remedy)
{
	if (access(path, X_OK) < 0)
		check_say(report, CHECK_PROBLEM, remedy, "%s %s: %s", what, path, strerror(errno));
	else
		check_say(report, CHECK_OK, NULL, "%s is %s", what, path);
}

static void check_file(struct check_report *report, const char *what, const char *path)
{
	struct stat st;

	if (access(path, R_OK) < 0 || stat(path, &st) < 0)
		check_say(report, CHECK_PROBLEM, REMEDY_IMAGE, "the %s %s: %s", what, path,
			  strerror(errno));
	else if (S_ISREG(st.st_mode) && st.st_size == 0)
		check_say(report, CHECK_PROBLEM, REMEDY_IMAGE, "the %s %s is empty", what, path);
	else
		check_say(report, CHECK_OK, NULL, "the %s is %s", what, path);
}

static void check_device(struct check_report *report, enum check_level missing, const char *path,
			 const char *without, const char *remedy)
{
	if (fs_exists(path))
		check_say(report, CHECK_OK, NULL, "%s is there", path);
	else
		check_say(report, missing, remedy, "%s does not exist: %s", path, without);
}

struct memory {
	uint64_t available_kib, huge_pages;
	bool known;
};

static void collect_memory(const char *key, uint64_t value, void *arg)
{
	struct memory *m = arg;

	if (streq(key, "MemAvailable")) {
		m->available_kib = value;
		m->known = true;
	} else if (streq(key, "HugePages_Free")) {
		m->huge_pages = value;
	}
}

static void check_memory(const struct check_env *env, const struct config *config,
			 struct check_report *report)
{
	const struct config_hypervisor *h = &config->hypervisor;
	struct memory m = {0};

	if (proc_pairs(env->meminfo, collect_memory, &m) < 0 || !m.known)
		return;
	if (h->enable_hugepages && !m.huge_pages)
		check_say(report, CHECK_PROBLEM,
			  "reserve some (sysctl vm.nr_hugepages), or remove enable_hugepages",
			  "no huge page is free, and enable_hugepages asks for them");
	if (m.available_kib >> 10 < h->default_memory)
		check_say(report, CHECK_NOTE, "lower default_memory in the configuration",
			  "%llu MiB of memory are available, a sandbox may use %u",
			  (unsigned long long)m.available_kib >> 10, h->default_memory);
	else
		check_say(report, CHECK_OK, NULL, "%llu MiB of memory are available",
			  (unsigned long long)m.available_kib >> 10);
}

void check_host(const struct check_env *env, const struct config *config,
		struct check_report *report)
{
	const struct config_hypervisor *h = &config->hypervisor;

	check_accelerator(env, config, report);
	if (env->uid != 0)
		check_say(report, CHECK_PROBLEM, "use sudo", "sandboxes are started by root");
	check_program(report, "QEMU", h->path,
		      "install it (Debian: apt install qemu-system-x86), or set path");
	check_file(report, "guest kernel", h->kernel);
	/* An image may have an initrd of its own. */
	if (*h->image)
		check_file(report, "guest image", h->image);
	if (*h->initrd || !*h->image)
		check_file(report, "guest initrd", h->initrd);
	if (streq(h->shared_fs, "virtio-fs"))
		check_program(report, "virtiofsd", h->virtio_fs_daemon,
			      "install it (Debian 12: apt install qemu-system-common), or set "
			      "virtio_fs_daemon");
	if (!fs_exists(h->entropy_source))
		check_say(report, CHECK_PROBLEM, "set entropy_source", "%s does not exist",
			  h->entropy_source);
	if (!streq(config->runtime.internetworking_model, "none"))
		check_device(report, CHECK_PROBLEM, env->tun, "the guest can have no network",
			     "modprobe tun");
	check_device(report, CHECK_NOTE, env->vhost_net, "QEMU copies network packets itself",
		     "modprobe vhost_net");
	check_device(report, CHECK_NOTE, env->vhost_vsock,
		     "runtime and agent talk over a virtio-serial port", "modprobe vhost_vsock");
	check_memory(env, config, report);
}
