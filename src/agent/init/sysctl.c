/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>

#include "agent/init/init.h"
#include "base/fs.h"
#include "base/str.h"

/*
 * Sysctls. Only those that belong to a namespace: others would change the guest for every container
 * in it. The IPC, UTS and network namespaces of the guest are the pod's, so what the runtime sends
 * for them holds for all containers of the pod, as with other runtimes; the rest is refused.
 */

#define SYSCTL_KEY_MAX 256U

static const char *const ipc_keys[] = {
	"kernel.msgmax",      "kernel.msgmnb",      "kernel.msgmni",      "kernel.sem",
	"kernel.shmall",      "kernel.shmmax",      "kernel.shmmni",      "kernel.shm_rmid_forced",
	"kernel.shm_next_id", "kernel.msg_next_id", "kernel.sem_next_id", "kernel.auto_msgmni",
};

/* The dots of names become slashes; in "net/…" notation it is the reverse, as in sysctl(8). */
static char *sysctl_path(const char *key)
{
	char *path = xasprintf("/proc/sys/%s", key);
	char *start = path + strlen("/proc/sys/");
	bool slashes = start[strcspn(start, "./")] == '/';

	for (char *s = start; *s && !slashes; s++)
		if (*s == '.' || *s == '/')
			*s = *s == '.' ? '/' : '.';
	return path;
}

int sysctl_check(const char *key, struct err *err)
{
	_cleanup_(freep) char *dotted = xstrndup(key, SYSCTL_KEY_MAX);
	size_t n = strlen(dotted);

	for (char *s = dotted; *s; s++)
		if (*s == '/')
			*s = '.';
	if (!n || n >= SYSCTL_KEY_MAX || strstr(dotted, "..") || dotted[0] == '.' ||
	    dotted[n - 1] == '.')
		return err_setx(err, -EINVAL, "sysctl \"%s\" is not a name", key);
	for (size_t i = 0; i < ARRAY_SIZE(ipc_keys); i++)
		if (streq(dotted, ipc_keys[i]))
			return 0;
	if (str_has_prefix(dotted, "fs.mqueue.") || str_has_prefix(dotted, "net.") ||
	    streq(dotted, "kernel.domainname") || streq(dotted, "kernel.hostname"))
		return 0;
	return err_setx(err, -EPERM, "sysctl \"%s\" is not in a separate kernel namespace", key);
}

int sysctl_open_network(struct err *err)
{
	static const struct {
		const char *path, *value;
	} table[] = {
		{"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
		{"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int r = fs_write(table[i].path, table[i].value);

		if (r < 0)
			return err_set(err, r, "write %s to %s", table[i].value, table[i].path);
	}
	return 0;
}

int sysctl_apply(const Grpc__Spec *spec, unsigned int which, struct err *err)
{
	for (size_t i = 0; spec->linux && i < spec->linux->n_sysctl; i++) {
		const Grpc__Linux__SysctlEntry *entry = spec->linux->sysctl[i];
		_cleanup_(freep) char *path = sysctl_path(entry->key);
		bool network = str_has_prefix(path, "/proc/sys/net/");
		int r = 0;

		if (which & (network ? SYSCTL_NETWORK : SYSCTL_OTHER))
			r = fs_write(path, entry->value);
		if (r < 0)
			return err_set(err, r, "set sysctl %s to \"%s\"", entry->key, entry->value);
	}
	return 0;
}
