/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/spec_check.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/str.h"

/*
 * How it works: one function a part of the specification, each saying the place in the words of
 * config.json. What is checked is what would otherwise be a surprise deep in the guest, or a way
 * out of a folder; what only the guest can know (is there such a capability) is the agent's
 * business.
 */

#define ID_NONE UINT32_MAX /* -1: "leave as it is" to chown(2) and setuid(2) */

/* --- paths --- */

/* Makes *path absolute and clean, lexically. place: "mounts[3].destination". */
static int clean_path(struct oci_spec *spec, char **path, const char *place, struct err *err)
{
	const char *in = *path;
	char *out;
	size_t n = 0;

	if (*in != '/')
		return err_setx(err, -EINVAL, "%s: \"%s\" is not an absolute path", place, in);
	out = oci_spec_alloc(spec, strlen(in) + 2);
	while (*in) {
		size_t length;

		in += strspn(in, "/");
		length = strcspn(in, "/");
		if (length == 2 && in[0] == '.' && in[1] == '.') {
			if (n == 0)
				return err_setx(err, -EINVAL, "%s: \"%s\" leads above the root",
						place, *path);
			while (out[--n] != '/')
				;
		} else if (length > 0 && !(length == 1 && *in == '.')) {
			out[n++] = '/';
			memcpy(out + n, in, length);
			n += length;
		}
		in += length;
	}
	if (n == 0)
		out[n++] = '/';
	out[n] = '\0';
	*path = out;
	return 0;
}

static int clean_paths(struct oci_spec *spec, char **paths, size_t n, const char *place,
		       struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		int r = clean_path(spec, &paths[i], place, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static bool one_of(const char *s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (streq(s, list[i]))
			return true;
	return false;
}

/* --- process --- */

static const char *const rlimits[] = {
	"RLIMIT_AS",     "RLIMIT_CORE",   "RLIMIT_CPU",        "RLIMIT_DATA",
	"RLIMIT_FSIZE",  "RLIMIT_LOCKS",  "RLIMIT_MEMLOCK",    "RLIMIT_MSGQUEUE",
	"RLIMIT_NICE",   "RLIMIT_NOFILE", "RLIMIT_NPROC",      "RLIMIT_RSS",
	"RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
};

static int check_rlimits(const Grpc__Process *process, const char *place, struct err *err)
{
	for (size_t i = 0; i < process->n_rlimits; i++) {
		const Grpc__POSIXRlimit *limit = process->rlimits[i];

		if (!one_of(limit->type, rlimits, ARRAY_SIZE(rlimits)))
			return err_setx(err, -EINVAL, "%s.rlimits[%zu].type: unknown limit \"%s\"",
					place, i, limit->type);
		if (limit->soft > limit->hard)
			return err_setx(err, -EINVAL, "%s.rlimits[%zu]: %s: soft is above hard",
					place, i, limit->type);
		for (size_t k = 0; k < i; k++)
			if (streq(process->rlimits[k]->type, limit->type))
				return err_setx(err, -EINVAL, "%s.rlimits[%zu]: %s is given twice",
						place, i, limit->type);
	}
	return 0;
}

static int check_user(const Grpc__User *user, const char *place, struct err *err)
{
	if (!user)
		return 0;
	if (user->uid == ID_NONE || user->gid == ID_NONE)
		return err_setx(err, -EINVAL, "%s.user: %u is not an id", place, ID_NONE);
	for (size_t i = 0; i < user->n_additionalgids; i++)
		if (user->additionalgids[i] == ID_NONE)
			return err_setx(err, -EINVAL,
					"%s.user.additionalGids[%zu]: %u is not an id", place, i,
					ID_NONE);
	if (user->opt_umask_case == GRPC__USER__OPT_UMASK_UMASK && user->umask > 0777)
		return err_setx(err, -EINVAL, "%s.user.umask: %o is more than 777", place,
				user->umask);
	return 0;
}

int oci_process_check(struct oci_spec *owner, Grpc__Process *process, const char *place,
		      struct err *err)
{
	_cleanup_(freep) char *cwd = xasprintf("%s.cwd", place);
	int r;

	if (process->n_args == 0)
		return err_setx(err, -EINVAL, "%s.args: nothing to run", place);
	if (process->oomscoreadj < -1000 || process->oomscoreadj > 1000)
		return err_setx(err, -EINVAL, "%s.oomScoreAdj: %lld is not within -1000 to 1000",
				place, (long long)process->oomscoreadj);
	r = clean_path(owner, &process->cwd, cwd, err);
	if (r == 0)
		r = check_user(process->user, place, err);
	if (r == 0)
		r = check_rlimits(process, place, err);
	return r;
}

/* --- mounts and hooks --- */

static int check_mounts(struct oci_spec *spec, struct err *err)
{
	for (size_t i = 0; i < spec->spec->n_mounts; i++) {
		_cleanup_(freep) char *place = xasprintf("mounts[%zu].destination", i);
		Grpc__Mount *mount = spec->spec->mounts[i];
		int r;

		r = clean_path(spec, &mount->destination, place, err);
		if (r < 0)
			return r;
		if (streq(mount->destination, "/"))
			return err_setx(err, -EINVAL, "%s: nothing can be mounted over the root",
					place);
	}
	return 0;
}

static int check_hooks(struct oci_spec *spec, struct err *err)
{
	const Grpc__Hooks *hooks = spec->spec->hooks;
	const struct {
		const char *name;
		Grpc__Hook **hooks;
		size_t n;
	} lists[] = {
		{"prestart", hooks->prestart, hooks->n_prestart},
		{"createRuntime", hooks->createruntime, hooks->n_createruntime},
		{"createContainer", hooks->createcontainer, hooks->n_createcontainer},
		{"startContainer", hooks->startcontainer, hooks->n_startcontainer},
		{"poststart", hooks->poststart, hooks->n_poststart},
		{"poststop", hooks->poststop, hooks->n_poststop},
	};

	for (size_t l = 0; l < ARRAY_SIZE(lists); l++)
		for (size_t i = 0; i < lists[l].n; i++) {
			_cleanup_(freep) char *place = xasprintf("hooks.%s[%zu].path",
								 lists[l].name, i);
			int r;

			r = clean_path(spec, &lists[l].hooks[i]->path, place, err);
			if (r < 0)
				return r;
			if (lists[l].hooks[i]->timeout < 0)
				return err_setx(err, -EINVAL, "hooks.%s[%zu].timeout: negative",
						lists[l].name, i);
		}
	return 0;
}

/* --- linux --- */

static int check_namespaces(const Grpc__Linux *linux, struct err *err)
{
	static const char *const types[] = {"pid", "network", "mount",  "ipc",
					    "uts", "user",    "cgroup", "time"};

	for (size_t i = 0; i < linux->n_namespaces; i++) {
		const Grpc__LinuxNamespace *ns = linux->namespaces[i];

		if (!one_of(ns->type, types, ARRAY_SIZE(types)))
			return err_setx(err, -EINVAL,
					"linux.namespaces[%zu].type: unknown namespace \"%s\"", i,
					ns->type);
		if (*ns->path && *ns->path != '/')
			return err_setx(
				err, -EINVAL,
				"linux.namespaces[%zu].path: \"%s\" is not an absolute path", i,
				ns->path);
		for (size_t k = 0; k < i; k++)
			if (streq(linux->namespaces[k]->type, ns->type))
				return err_setx(err, -EINVAL,
						"linux.namespaces[%zu]: %s is given twice", i,
						ns->type);
	}
	return 0;
}

static int check_devices(struct oci_spec *spec, const Grpc__Linux *linux, struct err *err)
{
	for (size_t i = 0; i < linux->n_devices; i++) {
		_cleanup_(freep) char *place = xasprintf("linux.devices[%zu].path", i);
		Grpc__LinuxDevice *device = linux->devices[i];
		int r;

		r = clean_path(spec, &device->path, place, err);
		if (r < 0)
			return r;
		if (strlen(device->type) != 1 || !strchr("bcup", *device->type))
			return err_setx(err, -EINVAL,
					"linux.devices[%zu].type: \"%s\" is none of b, c, u, p", i,
					device->type);
		if (device->major < 0 || device->major > 0xfff || device->minor < 0 ||
		    device->minor > 0xfffff)
			return err_setx(err, -EINVAL,
					"linux.devices[%zu]: no such device number: %lld:%lld", i,
					(long long)device->major, (long long)device->minor);
		if (device->uid == ID_NONE || device->gid == ID_NONE)
			return err_setx(err, -EINVAL, "linux.devices[%zu]: %u is not an id", i,
					ID_NONE);
	}
	return 0;
}

/* A key becomes a path below /proc/sys. */
static int check_sysctls(const Grpc__Linux *linux, struct err *err)
{
	for (size_t i = 0; i < linux->n_sysctl; i++) {
		const char *key = linux->sysctl[i]->key;
		bool fine = isalnum((unsigned char)*key) && !strstr(key, "..");

		for (const char *p = key; *p; p++)
			fine = fine && (isalnum((unsigned char)*p) || strchr("._-/:@", *p));
		if (!fine || strstr(key, "//"))
			return err_setx(err, -EINVAL, "linux.sysctl: \"%.100s\" is not a key", key);
	}
	return 0;
}

static int check_idmap(Grpc__LinuxIDMapping **maps, size_t n, const char *name, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (maps[i]->size == 0 || maps[i]->size > UINT32_MAX - maps[i]->hostid ||
		    maps[i]->size > UINT32_MAX - maps[i]->containerid)
			return err_setx(err, -EINVAL, "linux.%s[%zu]: not a range of ids", name, i);
	return 0;
}

int oci_resources_check(const Grpc__LinuxResources *resources, struct err *err)
{
	if (!resources)
		return 0;
	for (size_t i = 0; i < resources->n_unified; i++) {
		const char *key = resources->unified[i]->key;

		if (!strchr(key, '.') || strchr(key, '/') || *key == '.')
			return err_setx(err, -EINVAL,
					"linux.resources.unified: \"%.100s\" is not a file of a "
					"control group",
					key);
	}
	for (size_t i = 0; i < resources->n_devices; i++) {
		const char *type = resources->devices[i]->type;

		if (*type && (strlen(type) != 1 || !strchr("abc", *type)))
			return err_setx(err, -EINVAL,
					"linux.resources.devices[%zu].type: \"%s\" is none of a, "
					"b, c",
					i, type);
		if (resources->devices[i]->access[strspn(resources->devices[i]->access, "rwm")])
			return err_setx(err, -EINVAL,
					"linux.resources.devices[%zu].access: \"%s\" has more than "
					"r, w, m",
					i, resources->devices[i]->access);
	}
	return 0;
}

static int check_linux(struct oci_spec *spec, struct err *err)
{
	static const char *const propagations[] = {"",       "private",    "slave",
						   "shared", "unbindable", "rprivate",
						   "rslave", "rshared",    "runbindable"};
	Grpc__Linux *linux = spec->spec->linux;
	int r;

	if (!one_of(linux->rootfspropagation, propagations, ARRAY_SIZE(propagations)))
		return err_setx(err, -EINVAL, "linux.rootfsPropagation: unknown \"%s\"",
				linux->rootfspropagation);
	if (strstr(linux->cgroupspath, ".."))
		return err_setx(err, -EINVAL, "linux.cgroupsPath: \"%s\" leads elsewhere",
				linux->cgroupspath);
	r = check_namespaces(linux, err);
	if (r == 0)
		r = check_devices(spec, linux, err);
	if (r == 0)
		r = check_sysctls(linux, err);
	if (r == 0)
		r = check_idmap(linux->uidmappings, linux->n_uidmappings, "uidMappings", err);
	if (r == 0)
		r = check_idmap(linux->gidmappings, linux->n_gidmappings, "gidMappings", err);
	if (r == 0)
		r = oci_resources_check(linux->resources, err);
	if (r == 0)
		r = clean_paths(spec, linux->maskedpaths, linux->n_maskedpaths, "linux.maskedPaths",
				err);
	if (r == 0)
		r = clean_paths(spec, linux->readonlypaths, linux->n_readonlypaths,
				"linux.readonlyPaths", err);
	return r;
}

int oci_spec_check(struct oci_spec *spec, struct err *err)
{
	Grpc__Spec *document = spec->spec;
	int r = 0;

	if (!str_has_prefix(document->version, "1."))
		return err_setx(err, -EINVAL, "ociVersion: \"%s\" is not 1.x", document->version);
	if (!document->process)
		return err_setx(err, -EINVAL, "process: missing");
	if (!document->root || !*document->root->path)
		return err_setx(err, -EINVAL, "root.path: missing");
	if (strlen(document->hostname) > 64)
		return err_setx(err, -EINVAL, "hostname: longer than 64 bytes");
	r = oci_process_check(spec, document->process, "process", err);
	if (r == 0)
		r = check_mounts(spec, err);
	if (r == 0 && document->hooks)
		r = check_hooks(spec, err);
	if (r == 0 && document->linux)
		r = check_linux(spec, err);
	return r;
}
