/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/bundle.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/str.h"
#include "kernel/proc.h"
#include "oci/annotations.h"
#include "oci/spec_json.h"
#include "shim/options.h"

int bundle_group_parse(const char *text, size_t n, const char *id, struct bundle_group *ret,
		       struct err *err)
{
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	enum oci_kind kind = OCI_KIND_SINGLE;
	const char *sandbox;
	int r = oci_spec_parse(text, n, &spec, err);

	if (r >= 0)
		r = oci_kind(spec->spec, &kind, err);
	if (r < 0)
		return err_wrap(err, r, "config.json");
	sandbox = kind == OCI_KIND_CONTAINER ? oci_sandbox_id(spec->spec) : id;
	*ret = (struct bundle_group){.sandbox = xstrdup(sandbox),
				     .member = kind == OCI_KIND_CONTAINER};
	return 0;
}

int bundle_group(const char *bundle, const char *id, struct bundle_group *ret, struct err *err)
{
	_cleanup_(freep) char *path = path_join(bundle, "config.json"), *text = NULL;
	size_t len = 0;
	int r = fs_read(path, OCI_JSON_MAX, &text, &len);

	if (r == -ENOENT) {
		*ret = (struct bundle_group){.sandbox = xstrdup(id)};
		return 0;
	}
	if (r < 0)
		return err_set(err, r, "read %s", path);
	r = bundle_group_parse(text, len, id, ret, err);
	return r < 0 ? err_wrap(err, r, "%s", bundle) : 0;
}

void bundle_group_fini(struct bundle_group *group)
{
	free(group->sandbox);
	*group = (struct bundle_group){0};
}

int bundle_write(const char *bundle, const char *name, const char *text, struct err *err)
{
	_cleanup_(freep) char *path = path_join(bundle, name);
	int r = fs_replace(path, text, strlen(text), 0644, false);

	return r < 0 ? err_set(err, r, "write %s", path) : 0;
}

/* A pid may have been given to another process since: its command line must be that of our start,
 * with this very id. */
static bool is_shim(pid_t pid, const char *id)
{
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	char path[64];
	bool has_id = false;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	if (fs_read(path, 1U << 16, &text, &len) < 0 || len == 0)
		return false;
	for (const char *p = text; p < text + len; p += strlen(p) + 1)
		has_id |= streq(p, id) || (str_has_prefix(p, "-") && str_has_suffix(p, id));
	return has_id && strstr(path_name(text), SHIM_NAME);
}

/* One that was killed has no command line any more. Nobody is harmed by waiting for its end, or by
 * a signal, if it is another's. */
static bool is_exiting(pid_t pid)
{
	struct proc_stat stat;

	return proc_stat_read(pid, &stat) == 0 && stat.exiting;
}

int bundle_pidfd(const char *bundle, const char *id, pid_t *ret_pid)
{
	_cleanup_(freep) char *path = path_join(bundle, "shim.pid"), *text = NULL;
	_cleanup_(closep) int fd = -1;
	uint32_t pid;
	int r = fs_read(path, 64, &text, NULL);

	if (r < 0)
		return r;
	if (parse_u32(str_chomp(text), &pid) < 0 || pid < 2 || pid > INT32_MAX)
		return -EINVAL;
	/* First the descriptor, then the look: what is looked at is what it holds. */
	fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (fd < 0)
		return -errno;
	if (!is_shim((pid_t)pid, id) && !is_exiting((pid_t)pid))
		return -ESRCH;
	*ret_pid = (pid_t)pid;
	return TAKE_FD(fd);
}
