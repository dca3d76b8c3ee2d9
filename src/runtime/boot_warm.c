/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "oci/spec_json.h"
#include "runtime/boot.h"
#include "runtime/volume.h"

/*
 * How it works: what a pod will make the guest do is done once before there is one, in a sandbox
 * and a container that nobody sees: the guest's kernel and agent have run that code then, and QEMU,
 * where it emulates, has translated it; and a guest that cannot run a process fails here, not in
 * somebody's pod. The container is what containerd makes of an image without options. Its root is
 * a folder of the share, as a pod's would be, or of the guest where nothing is shared. Its program
 * is the only one that every guest has, the agent's own.
 *
 * The table below is the order. A process may be executed in a container that waits for its start:
 * the first one ends too soon for anything to happen beside it.
 */

#define SPARE_FEATURE "kata-c.spare"
#define CONTAINER     "warm-up"
#define EXEC          "warm-up-exec"
#define FOLDER        ".warm-up" /* in the share: no container's name begins with a dot */
#define GUEST_ROOT    "/run/kata-containers/sandbox/warm-up"
/* Its program in the agent's mount namespace, out of which nothing else can be bound. */
#define GUEST_PROGRAM "/run/kata-containers/sandbox/warm-up-agent"
#define OUTPUT_MAX    4096

#define CAPABILITIES                                                                       \
	"[\"CAP_CHOWN\",\"CAP_DAC_OVERRIDE\",\"CAP_FSETID\",\"CAP_FOWNER\",\"CAP_MKNOD\"," \
	"\"CAP_NET_RAW\",\"CAP_SETGID\",\"CAP_SETUID\",\"CAP_SETFCAP\",\"CAP_SETPCAP\","   \
	"\"CAP_NET_BIND_SERVICE\",\"CAP_SYS_CHROOT\",\"CAP_KILL\",\"CAP_AUDIT_WRITE\"]"

/* %s: the root's path. */
static const char document[] =
	"{\"ociVersion\":\"1.1.0\",\"hostname\":\"\",\"root\":{\"path\":\"%s\"},"
	"\"process\":{\"args\":[\"/agent\",\"--version\"],\"cwd\":\"/\",\"noNewPrivileges\":true,"
	"\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"],"
	"\"user\":{\"uid\":0,\"gid\":0,\"additionalGids\":[0]},\"capabilities\":{"
	"\"bounding\":" CAPABILITIES ",\"effective\":" CAPABILITIES ",\"permitted\":" CAPABILITIES
	"},\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1024,\"soft\":1024}]},"
	"\"mounts\":["
	"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
	"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
	"\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
	"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
	"\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\","
	"\"gid=5\"]},"
	"{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
	"{\"destination\":\"/dev/shm\",\"type\":\"bind\",\"source\":\"" VOLUME_GUEST_SHM "\","
	"\"options\":[\"rbind\"]},"
	"{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
	"{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]},"
	"{\"destination\":\"/agent\",\"type\":\"bind\",\"source\":\"" GUEST_PROGRAM "\","
	"\"options\":[\"bind\",\"ro\"]}],"
	"\"linux\":{\"cgroupsPath\":\"/" CONTAINER "\",\"resources\":{"
	"\"devices\":[{\"allow\":false,\"access\":\"rwm\"}],"
	"\"memory\":{\"limit\":67108864},\"cpu\":{\"shares\":1024}},"
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},"
	"{\"type\":\"mount\"}],"
	"\"maskedPaths\":[\"/proc/kcore\",\"/proc/keys\",\"/proc/timer_list\",\"/sys/firmware\"],"
	"\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\","
	"\"/proc/sysrq-trigger\"]}}";

struct warm {
	struct sandbox *sandbox;
	char *host_root; /* NULL: the root is the guest's */
	char *guest_root;
	struct oci_spec *spec;
};

static void warm_fini(struct warm *w)
{
	if (w->host_root)
		(void)fs_remove_all(w->host_root);
	free(w->host_root);
	free(w->guest_root);
	oci_spec_free(w->spec);
}

static uint64_t deadline_of(const struct warm *w)
{
	return clock_after(w->sandbox->patience);
}

/* --- the container's root --- */

/* The guest cannot make mount points in it: what it sees of the share is read-only. */
static int make_host_root(const char *root)
{
	static const char *const folders[] = {"proc", "dev", "sys"};
	_cleanup_(freep) char *program = path_join(root, "agent");
	int r = fs_mkdir_all(root, 0755);

	for (size_t i = 0; i < ARRAY_SIZE(folders) && r == 0; i++) {
		_cleanup_(freep) char *path = path_join(root, folders[i]);

		r = mkdir(path, 0755) < 0 ? -errno : 0;
	}
	return r < 0 ? r : fs_replace(program, "", 0, 0755, false);
}

static int make_root(struct warm *w, struct err *err)
{
	const struct share *share = &w->sandbox->share;
	enum share_kind kind = SHARE_ROOTS < share->n_views ? SHARE_ROOTS : SHARE_VOLUMES;
	int r;

	if (!share->n_views) {
		w->guest_root = xstrdup(GUEST_ROOT);
		return 0;
	}
	w->host_root = path_join(share->views[kind].mounts, FOLDER);
	w->guest_root = path_join(share->views[kind].guest_dir, FOLDER);
	r = make_host_root(w->host_root);
	return r < 0 ? err_set(err, r, "make %s", w->host_root) : 0;
}

static int make_spec(struct warm *w, struct err *err)
{
	_cleanup_(freep) char *text = xasprintf(document, w->guest_root);

	return oci_spec_parse(text, strlen(text), &w->spec, err);
}

/* --- calls --- */

static int create_sandbox(struct warm *w, struct err *err)
{
	return boot_create_in_guest(w->sandbox, err);
}

static int create(struct warm *w, struct err *err)
{
	Grpc__CreateContainerRequest request = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	Grpc__Storage program = GRPC__STORAGE__INIT, root = GRPC__STORAGE__INIT;
	Grpc__Storage *storages[] = {&program, &root};

	program.driver = program.fstype = (char *)"bind";
	program.source = (char *)"/proc/self/exe";
	program.mount_point = (char *)GUEST_PROGRAM;
	root.driver = root.source = root.fstype = (char *)"local";
	root.mount_point = w->guest_root;
	request.container_id = request.exec_id = (char *)CONTAINER;
	request.oci = w->spec->spec;
	request.storages = storages;
	request.n_storages = w->host_root ? 1 : 2;
	return agent_create_container(w->sandbox->agent, &request, deadline_of(w), err);
}

static int execute(struct warm *w, struct err *err)
{
	Grpc__ExecProcessRequest request = GRPC__EXEC_PROCESS_REQUEST__INIT;

	request.container_id = (char *)CONTAINER;
	request.exec_id = (char *)EXEC;
	request.process = w->spec->spec->process;
	return agent_exec_process(w->sandbox->agent, &request, deadline_of(w), err);
}

/* Its output, as a probe's is read, and its end. */
static int await(struct warm *w, const char *exec_id, struct err *err)
{
	Grpc__ReadStreamRequest read = GRPC__READ_STREAM_REQUEST__INIT;
	Grpc__WaitProcessRequest wait = GRPC__WAIT_PROCESS_REQUEST__INIT;
	Grpc__ReadStreamResponse *output = NULL;
	Grpc__WaitProcessResponse *end = NULL;
	int32_t status;
	int r;

	read.container_id = wait.container_id = (char *)CONTAINER;
	read.exec_id = wait.exec_id = (char *)exec_id;
	read.len = OUTPUT_MAX;
	r = agent_read_stdout(w->sandbox->agent, &read, deadline_of(w), &output, err);
	if (r < 0)
		return r;
	protobuf_c_message_free_unpacked(&output->base, NULL);
	r = agent_wait_process(w->sandbox->agent, &wait, deadline_of(w), &end, err);
	if (r < 0)
		return r;
	status = end->status;
	protobuf_c_message_free_unpacked(&end->base, NULL);
	return status ? err_setx(err, -EIO, "it has ended with %" PRId32, status) : 0;
}

static int await_executed(struct warm *w, struct err *err)
{
	return await(w, EXEC, err);
}

static int start(struct warm *w, struct err *err)
{
	Grpc__StartContainerRequest request = GRPC__START_CONTAINER_REQUEST__INIT;

	request.container_id = (char *)CONTAINER;
	return agent_start_container(w->sandbox->agent, &request, deadline_of(w), err);
}

static int await_first(struct warm *w, struct err *err)
{
	return await(w, CONTAINER, err);
}

static int remove_container(struct warm *w, struct err *err)
{
	Grpc__RemoveContainerRequest request = GRPC__REMOVE_CONTAINER_REQUEST__INIT;

	request.container_id = (char *)CONTAINER;
	return agent_remove_container(w->sandbox->agent, &request, deadline_of(w), err);
}

static int reset(struct warm *w, struct err *err)
{
	Grpc__ResetSandboxRequest request = GRPC__RESET_SANDBOX_REQUEST__INIT;

	return agent_reset_sandbox(w->sandbox->agent, &request, deadline_of(w), err);
}

/* --- the table --- */

static const struct {
	const char *what;
	int (*fn)(struct warm *w, struct err *err);
} acts[] = {
	{"prepare a root file system", make_root},
	{"prepare a container", make_spec},
	{"create a sandbox", create_sandbox},
	{"create a container", create},
	{"execute a process", execute},
	{"wait for what was executed", await_executed},
	{"start the container", start},
	{"wait for its first process", await_first},
	{"remove the container", remove_container},
	{"end the sandbox", reset},
};

int boot_warm_up(void *context, struct err *err)
{
	_cleanup_(warm_fini) struct warm w = {.sandbox = context};

	if (!agent_has(w.sandbox->agent, SPARE_FEATURE))
		return err_setx(err, -ENOSYS, "the agent has no feature " SPARE_FEATURE);
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		uint64_t began = clock_now();
		int r = acts[i].fn(&w, err);

		if (r < 0)
			return err_wrap(err, r, "%s", acts[i].what);
		log_debug("warm-up: %s: %" PRIu64 " us", acts[i].what, clock_now() - began);
	}
	return 0;
}
