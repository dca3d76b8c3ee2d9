/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "agent/container.h"
#include "agent/device/device.h"
#include "agent/metrics.h"
#include "agent/rpc.h"
#include "agent/storage/storage.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/parse.h"

/* The guest as a machine: processors, memory, clock, random numbers, what it can do. */

#define SYS_CPU          "/sys/devices/system/cpu"
#define SYS_MEMORY       "/sys/devices/system/memory"
#define ONLINE_TIME      (10 * USEC_PER_SEC)
#define ONLINE_RETRY     (20 * USEC_PER_MSEC)
#define RANDOM_MAX       4096U
#define PROBE_MAX        1024U
#define PROBE_TIME       (30 * USEC_PER_SEC)
#define ADDRESS_MAX      32U
#define FILESYSTEMS_MAX  (128U << 10)
#define FILESYSTEMS_TIME (1 * USEC_PER_SEC)

/* --- processors and memory --- */

/* Turns on what is off below dir ("cpu3/online" 0 → 1). Returns how many are on at the end. */
static int turn_on(const char *dir_path, const char *prefix, const char *file, const char *off,
		   const char *on, unsigned int at_most)
{
	_cleanup_(closedirp) DIR *dir = opendir(dir_path);
	unsigned int n_on = 0;

	if (!dir)
		return -errno;
	for (const struct dirent *d = readdir(dir); d && n_on < at_most; d = readdir(dir)) {
		const char *number = str_skip_prefix(d->d_name, prefix);
		_cleanup_(freep) char *path = NULL, *state = NULL;
		uint64_t index;

		if (!number || parse_u64(number, &index) < 0)
			continue;
		path = xasprintf("%s/%s/%s", dir_path, d->d_name, file);
		/* cpu0 often has no such file: it cannot be turned off. */
		if (fs_read(path, 64, &state, NULL) < 0 || !str_has_prefix(state, off) ||
		    fs_write(path, on) == 0)
			n_on++;
	}
	return (int)n_on;
}

struct online {
	uint32_t cpus; /* 0: whatever there is */
	bool memory;
};

/* In a child: bringing a processor up takes a quarter of a second under emulation. */
static int online_in_child(void *arg, _unused_ void *reply)
{
	const struct online *online = arg;
	uint64_t deadline = clock_after(ONLINE_TIME);
	uint32_t wanted = online->cpus ? online->cpus : UINT32_MAX;
	int n;

	for (;;) {
		n = turn_on(SYS_CPU, "cpu", "online", "0", "1", wanted);
		if (n < 0)
			return n;
		if (!online->cpus || (uint32_t)n >= online->cpus)
			break;
		if (clock_now() > deadline)
			return -ETIMEDOUT;
		usleep(ONLINE_RETRY);
	}
	if (online->memory)
		turn_on(SYS_MEMORY, "memory", "state", "offline", "online", UINT32_MAX);
	return 0;
}

static int run_online(struct online online)
{
	return co_run_child(online_in_child, &online, NULL, 0, clock_after(2 * ONLINE_TIME));
}

static void online_later(void *arg)
{
	struct online *online = arg;
	int r = run_online(*online);

	if (r < 0)
		log_warn("bring %u processors online: %s", online->cpus, strerror(-r));
	free(online);
}

RPC(online_cpu_mem)
{
	const Grpc__OnlineCPUMemRequest *request = request_;
	struct online online = {.cpus = request->nb_cpus, .memory = !request->cpu_only};
	int r;

	(void)response_;
	if (!request->wait) {
		co_start(rpc_agent(call)->loop, online_later, xmemdup(&online, sizeof(online)));
		return 0;
	}
	r = run_online(online);
	return r < 0 ? err_set(err, r, "bring %u processors online", online.cpus) : 0;
}

/* In a child: the kernel sets up each block's pages before it answers. The reply is the address at
 * fault. */
static int probe_in_child(void *arg, void *reply)
{
	const Grpc__MemHotplugByProbeRequest *request = arg;
	int r = 0;

	for (size_t i = 0; i < request->n_memhotplugprobeaddr && r == 0; i++) {
		snprintf(reply, ADDRESS_MAX, "0x%llx",
			 (unsigned long long)request->memhotplugprobeaddr[i]);
		r = fs_write(SYS_MEMORY "/probe", reply);
	}
	return r;
}

RPC(mem_hotplug_by_probe)
{
	const Grpc__MemHotplugByProbeRequest *request = request_;
	char address[ADDRESS_MAX] = "";
	int r;

	(void)response_;
	if (request->n_memhotplugprobeaddr > PROBE_MAX)
		return err_setx(err, -E2BIG, "%zu addresses, at most %u",
				request->n_memhotplugprobeaddr, PROBE_MAX);
	r = co_run_child(probe_in_child, (void *)request_, address, sizeof(address),
			 MIN(ttrpc_call_deadline(call), clock_after(PROBE_TIME)));
	return r < 0 ? err_set(err, r, "probe memory at %s", address) : 0;
}

/* --- random numbers and the clock --- */

RPC(reseed_random_dev)
{
	const Grpc__ReseedRandomDevRequest *request = request_;
	_cleanup_(freep) struct rand_pool_info *pool = NULL;
	_cleanup_(closep) int fd = -1;
	size_t n = request->data.len;

	(void)call;
	(void)response_;
	if (n == 0 || n > RANDOM_MAX)
		return err_setx(err, -EINVAL, "%zu bytes of random data, not 1 to %u", n,
				RANDOM_MAX);
	pool = xcalloc(1, sizeof(*pool) + n + sizeof(__u32));
	pool->entropy_count = (int)n * 8;
	pool->buf_size = (int)n;
	memcpy(pool->buf, request->data.data, n);
	fd = open("/dev/random", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open /dev/random");
	if (ioctl(fd, RNDADDENTROPY, pool) < 0)
		return err_set(err, -errno, "add entropy");
	/* Entropy alone is mixed in some time later: a clone must not hand out what its twin did.
	 */
	if (ioctl(fd, RNDRESEEDCRNG) < 0)
		return err_set(err, -errno, "reseed the random number generator");
	explicit_bzero(pool, sizeof(*pool) + n);
	return 0;
}

RPC(set_guest_date_time)
{
	const Grpc__SetGuestDateTimeRequest *request = request_;
	struct timespec now = {.tv_sec = request->sec};

	(void)call;
	(void)response_;
	if (request->sec < 0 || request->usec < 0 || request->usec >= (int64_t)USEC_PER_SEC)
		return err_setx(err, -EINVAL, "%lld s %lld us: not a time", (long long)request->sec,
				(long long)request->usec);
	now.tv_nsec = request->usec * 1000;
	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		return err_set(err, -errno, "set the clock");
	return 0;
}

/* --- what there is --- */

/* Names of features beyond Kata's protocol; the host asks for them before it relies on one. */
static const char *const extra_features[] = {
	"kata-c.copied-files", "kata-c.hold-streams", "kata-c.live-volumes", "kata-c.loopback",
	"kata-c.seccomp-bpf",  "kata-c.serial",       "kata-c.spare",        "kata-c.template",
};

static uint64_t memory_block_size(void)
{
	_cleanup_(freep) char *text = NULL, *number = NULL;
	uint64_t size;

	if (fs_read(SYS_MEMORY "/block_size_bytes", 64, &text, NULL) < 0)
		return 0;
	/* Hexadecimal without 0x. */
	number = xasprintf("0x%s", str_chomp(text));
	return parse_u64(number, &size) < 0 ? 0 : size;
}

static size_t count(const char *const *names)
{
	size_t n = 0;

	while (names[n])
		n++;
	return n;
}

RPC(get_guest_details)
{
	const Grpc__GuestDetailsRequest *request = request_;
	Grpc__GuestDetailsResponse *response = response_;
	Grpc__AgentDetails *details = ttrpc_call_alloc(call, sizeof(*details));

	(void)err;
	grpc__agent_details__init(details);
	details->version = (char *)KATA_VERSION;
	details->init_daemon = rpc_agent(call)->is_init;
	details->device_handlers = (char **)device_types();
	details->n_device_handlers = count(device_types());
	details->storage_handlers = (char **)storage_drivers();
	details->n_storage_handlers = count(storage_drivers());
	details->supports_seccomp = true;
	details->extra_features = (char **)extra_features;
	details->n_extra_features = ARRAY_SIZE(extra_features);
	response->agent_details = details;
	if (request->mem_block_size)
		response->mem_block_size_bytes = memory_block_size();
	if (request->mem_hotplug_probe)
		response->support_mem_hotplug_probe = fs_exists(SYS_MEMORY "/probe");
	return 0;
}

/* --- diagnosis --- */

RPC(get_diagnostic_data)
{
	const Grpc__GetDiagnosticDataRequest *request = request_;
	Grpc__GetDiagnosticDataResponse *response = response_;
	_cleanup_(freep) char *text = NULL;
	struct container *c;
	int r;

	if (streq(request->log_type, "termination_log")) {
		c = container_find(rpc_agent(call), request->container_id, err);
		r = c ? container_read_termination_log(c, &text, err) : -ENOENT;
		if (r == 0)
			response->data = ttrpc_call_strdup(call, text);
		return r;
	}
	return err_setx(err, -ENOSYS, "%s: data of type \"%s\" is not supported",
			ttrpc_call_method(call), request->log_type);
}

struct filesystems {
	size_t n;
	char text[FILESYSTEMS_MAX];
};

static int filesystems_in_child(_unused_ void *arg, void *reply)
{
	struct filesystems *all = reply;
	struct buf b = {0};

	metrics_filesystems(&b);
	if (b.len > sizeof(all->text))
		return -EMSGSIZE;
	memcpy(all->text, b.data, b.len);
	all->n = b.len;
	return 0;
}

RPC(get_metrics)
{
	struct agent *agent = rpc_agent(call);
	Grpc__Metrics *response = response_;
	_cleanup_(freep) struct filesystems *all = NULL;
	_cleanup_(buf_fini) struct buf b = {0};
	int r;

	(void)request_;
	(void)err;
	agent->scrapes++;
	metrics_agent(&b, agent);
	metrics_guest(&b);
	/* Without them when a file server does not answer. */
	all = xcalloc(1, sizeof(*all));
	r = co_run_child(filesystems_in_child, NULL, all, sizeof(*all),
			 clock_after(FILESYSTEMS_TIME));
	if (r == 0)
		buf_add(&b, all->text, MIN(all->n, sizeof(all->text)));
	response->metrics = ttrpc_call_strdup(call, b.data);
	return 0;
}
