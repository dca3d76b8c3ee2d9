/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/accel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "hypervisor/probe_cache.h"
#include "loop/co.h"

/*
 * How it works: the device file alone proves nothing (under some hypervisors it exists and guests
 * hang), so a child process runs a few instructions in a VM of its own, with a time limit.
 *
 * That KVM works holds until the next boot or until /dev/kvm is made anew (a module was loaded).
 * That the test VM hangs costs every sandbox the whole time limit, but may also be the fault of a
 * host that was overloaded for a moment: it is believed for ten minutes. A refusal is not kept: the
 * next one comes as fast, or not at all when it was for want of memory or descriptors, or when
 * another hypervisor held the processor.
 */

#define PROBE_USEC (2 * USEC_PER_SEC)
#define HANG_USEC  (600 * USEC_PER_SEC)
#define WORKS      "ok"
#define CACHE_NAME "kvm-probe"

#define REMEDY                                                                                 \
	"enable virtualisation in the firmware (or nested virtualisation) and load kvm_intel " \
	"or kvm_amd"

const struct accel_env accel_host = {
	.kvm_path = "/dev/kvm",
	.probe = kvm_probe,
	.timeout = PROBE_USEC,
	.hang_kept = HANG_USEC,
};

/* Fills reason with WORKS or with what is wrong. */
static void examine(const struct accel_env *env, char reason[ACCEL_REASON_MAX])
{
	_cleanup_(freep) char *key = NULL;
	struct stat st;
	int r;

	if (stat(env->kvm_path, &st) < 0) {
		snprintf(reason, ACCEL_REASON_MAX, "%s: %s", env->kvm_path, strerror(errno));
		return;
	}
	key = probe_cache_key(env->kvm_path);
	if (probe_cache_read(CACHE_NAME, key, reason, ACCEL_REASON_MAX))
		return;
	r = co_run_child(env->probe, (void *)env->kvm_path, reason, ACCEL_REASON_MAX,
			 clock_after(env->timeout));
	reason[ACCEL_REASON_MAX - 1] = '\0';
	if (r == 0) {
		snprintf(reason, ACCEL_REASON_MAX, WORKS);
		probe_cache_write(CACHE_NAME, key, reason, USEC_NEVER);
	} else if (r == -ETIMEDOUT) {
		snprintf(reason, ACCEL_REASON_MAX, "%s exists, but a test VM does not run",
			 env->kvm_path);
		probe_cache_write(CACHE_NAME, key, reason, env->hang_kept);
	} else if (!*reason) {
		snprintf(reason, ACCEL_REASON_MAX, "test VM: %s", strerror(-r));
	}
}

int accel_choose(const struct accel_env *env, const char *wanted, bool allow_emulation,
		 enum vm_accel *ret, struct err *err)
{
	char reason[ACCEL_REASON_MAX] = "";
	bool automatic = str_empty(wanted) || streq(wanted, "auto");

	if (!automatic && !streq(wanted, "kvm") && !streq(wanted, "tcg"))
		return err_setx(err, -EINVAL, "accelerator \"%s\": use auto, kvm or tcg", wanted);
	if (!streq(wanted, "tcg")) {
		examine(env, reason);
		if (streq(reason, WORKS)) {
			*ret = VM_ACCEL_KVM;
			return 0;
		}
		if (!automatic)
			return err_setx(err, -EOPNOTSUPP, "KVM does not work (%s): " REMEDY,
					reason);
	}
	if (allow_emulation) {
		*ret = VM_ACCEL_TCG;
		return 0;
	}
	if (!automatic)
		return err_setx(err, -EOPNOTSUPP,
				"emulation gives no isolation guarantee: set allow_emulation = "
				"true to use it all the same");
	return err_setx(err, -EOPNOTSUPP,
			"KVM does not work (%s): " REMEDY
			"; or set allow_emulation = true, which gives no isolation guarantee",
			reason);
}
