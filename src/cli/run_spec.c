/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How it works: the fixed parts are JSON text below, as other runtimes' `spec` commands make them:
 * no more capabilities than Docker's, nothing of the kernel's that a container must not see, no
 * devices but the usual ones. The virtual machine is the wall; this is the second one.
 */
#include "cli/run_spec.h"

#include <errno.h>

#include "base/kv.h"
#include "base/parse.h"
#include "base/version.h"

#define PATH_DEFAULT "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *const capabilities[] = {
	"CAP_AUDIT_WRITE", "CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",     "CAP_FSETID",
	"CAP_KILL",        "CAP_MKNOD",   "CAP_NET_BIND_SERVICE", "CAP_NET_RAW",    "CAP_SETFCAP",
	"CAP_SETGID",      "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT",
};

static const char mounts[] =
	"["
	"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
	"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
	"\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
	"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
	"\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\","
	"\"gid=5\"]},"
	"{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"
	"{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
	"{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
	"{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}"
	"]";

static const char linux_part[] =
	"{\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},"
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},"
	"{\"type\":\"mount\"},{\"type\":\"cgroup\"}],"
	"\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/kcore\",\"/proc/keys\","
	"\"/proc/latency_stats\",\"/proc/timer_list\",\"/proc/timer_stats\",\"/proc/sched_debug\","
	"\"/sys/firmware\",\"/proc/scsi\"],"
	"\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\","
	"\"/proc/sysrq-trigger\"]}";

static void add_strings(struct buf *b, const char *const *v, size_t n)
{
	buf_addc(b, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_addc(b, ',');
		kv_json_string(b, v[i]);
	}
	buf_addc(b, ']');
}

static void add_capabilities(struct buf *b)
{
	static const char *const sets[] = {"bounding", "effective", "permitted"};

	for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
		buf_addf(b, "%s\"%s\":", i ? "," : "", sets[i]);
		add_strings(b, capabilities, ARRAY_SIZE(capabilities));
	}
}

/* The given environment wins; PATH and, on a terminal, TERM are there in any case. */
static void add_env(struct buf *b, const struct run_request *request)
{
	_cleanup_(strv_fini) struct strv env = {0};
	const char *term = getenv("TERM");
	bool has_path = false, has_term = false;

	for (size_t i = 0; i < request->env.n; i++) {
		has_path |= str_has_prefix(request->env.v[i], "PATH=");
		has_term |= str_has_prefix(request->env.v[i], "TERM=");
	}
	if (!has_path)
		strv_add(&env, PATH_DEFAULT);
	if (request->terminal && !has_term)
		strv_addf(&env, "TERM=%s", str_empty(term) ? "xterm" : term);
	for (size_t i = 0; i < request->env.n; i++)
		strv_add(&env, request->env.v[i]);
	add_strings(b, (const char *const *)env.v, env.n);
}

char *run_spec_json(const struct run_request *request)
{
	struct buf b = {0};

	buf_adds(&b, "{\"ociVersion\":\"" VERSION_OCI_SPEC "\",\"process\":{");
	buf_addf(&b, "\"terminal\":%s,\"user\":{\"uid\":%u,\"gid\":%u},\"args\":",
		 request->terminal ? "true" : "false", request->uid, request->gid);
	add_strings(&b, (const char *const *)request->args.v, request->args.n);
	buf_adds(&b, ",\"env\":");
	add_env(&b, request);
	buf_adds(&b, ",\"cwd\":");
	kv_json_string(&b, request->cwd);
	buf_adds(&b, ",\"noNewPrivileges\":true,\"capabilities\":{");
	add_capabilities(&b);
	buf_adds(&b, "}},\"root\":{\"path\":");
	kv_json_string(&b, request->rootfs);
	buf_addf(&b, ",\"readonly\":%s},\"hostname\":", request->read_only ? "true" : "false");
	kv_json_string(&b, request->hostname);
	buf_addf(&b, ",\"mounts\":%s,\"linux\":%s}\n", mounts, linux_part);
	return buf_take(&b);
}

int run_parse_user(const char *text, uint32_t *ret_uid, uint32_t *ret_gid)
{
	const char *colon = strchr(text, ':');
	_cleanup_(freep) char *first = xstrndup(text, strcspn(text, ":"));
	uint32_t uid, gid = 0;
	int r = parse_u32(first, &uid);

	if (r == 0 && colon)
		r = parse_u32(colon + 1, &gid);
	if (r < 0)
		return r;
	*ret_uid = uid;
	*ret_gid = gid;
	return 0;
}

int run_parse_memory(const char *text, uint32_t *ret_mib)
{
	uint64_t bytes;
	uint32_t mib;

	if (parse_u32(text, &mib) == 0) {
		*ret_mib = mib;
		return mib ? 0 : -ERANGE;
	}
	if (parse_size(text, &bytes) < 0)
		return -EINVAL;
	if (bytes >> 20 == 0 || bytes >> 20 > UINT32_MAX)
		return -ERANGE;
	*ret_mib = (uint32_t)(bytes >> 20);
	return 0;
}
