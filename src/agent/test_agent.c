/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent as an ordinary process, in user, mount, network, UTS and IPC namespaces of the
 * test's own, spoken to over a UNIX socket. argv[1] is the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/neighbour.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "agent/agent.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/test.h"
#include "csi.pb-c.h"
#include "health.pb-c.h"
#include "wire/netlink/addr.h"
#include "wire/netlink/link.h"
#include "wire/ttrpc/ttrpc.h"

#define SOCKET    "/run/agent.sock"
#define CALL_TIME (20 * USEC_PER_SEC)
#define MAC       "02:00:00:00:00:77"

static const char *program;
static struct loop *loop;
static struct ttrpc_client *client;
static pid_t agent_pid;

/* --- the namespaces and the agent --- */

static void map_ids(uid_t uid, gid_t gid)
{
	char text[64];

	fs_write("/proc/self/setgroups", "deny");
	snprintf(text, sizeof(text), "0 %u 1", uid);
	fs_write("/proc/self/uid_map", text);
	snprintf(text, sizeof(text), "0 %u 1", gid);
	fs_write("/proc/self/gid_map", text);
}

static int start_agent(void)
{
	uid_t uid = getuid();
	gid_t gid = getgid();

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC) < 0)
		return -errno;
	map_ids(uid, gid);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("run", "/run", "tmpfs", 0, NULL) < 0)
		return -errno;
	agent_pid = fork();
	if (agent_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		execl(program, program, "--listen", "unix://" SOCKET, "--log", "error", NULL);
		_exit(127);
	}
	return agent_pid < 0 ? -errno : 0;
}

static int set_up(void **state)
{
	int fd = -ENOENT;

	(void)state;
	if (start_agent() < 0)
		skip_program("needs namespaces");
	for (int i = 0; i < 500 && fd < 0; i++) {
		fd = fd_unix_connect(SOCKET);
		if (fd < 0)
			usleep(10000);
	}
	if (fd < 0 || loop_new(&loop) < 0)
		return -1;
	return ttrpc_client_new(loop, fd, NULL, NULL, &client);
}

/* --- calls --- */

struct request {
	const char *service, *method;
	const ProtobufCMessage *message;
	const ProtobufCMessageDescriptor *output;
	ProtobufCMessage *response;
	struct err err;
	int r;
};

static void run_request(void *arg)
{
	struct request *request = arg;

	request->r = ttrpc_client_call(client, request->service, request->method, request->message,
				       request->output, clock_after(CALL_TIME), &request->response,
				       &request->err);
	loop_quit(loop, 0);
}

static int call_service(const char *service, const char *method, const void *message,
			const ProtobufCMessageDescriptor *output, void *ret)
{
	struct request request = {
		.service = service, .method = method, .message = message, .output = output};

	co_start(loop, run_request, &request);
	assert_int_equal(loop_run(loop), 0);
	if (request.r < 0)
		printf("%s: %s\n", method, err_text(&request.err));
	err_clear(&request.err);
	if (ret)
		*(ProtobufCMessage **)ret = request.response;
	else if (request.response)
		protobuf_c_message_free_unpacked(request.response, NULL);
	return request.r;
}

#define CALL(method, message, output, ret) \
	call_service("grpc.AgentService", method, message, output, ret)
#define DO(method, message) CALL(method, message, &google__protobuf__empty__descriptor, NULL)
#define FREE(message)       protobuf_c_message_free_unpacked((ProtobufCMessage *)(message), NULL)

/* /proc is that of the agent's PID namespace, where this process is not. */
static int is_mounted(const char *path)
{
	_cleanup_(freep) char *parent = path_dir(path);
	struct stat here, above;

	return stat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

/* --- tests --- */

static void health_and_version(void **state)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	Grpc__HealthCheckResponse *check;
	Grpc__VersionCheckResponse *version;

	(void)state;
	assert_int_equal(call_service("grpc.Health", "Check", &request,
				      &grpc__health_check_response__descriptor, &check),
			 0);
	assert_int_equal(check->status, GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
	FREE(check);
	assert_int_equal(call_service("grpc.Health", "Version", &request,
				      &grpc__version_check_response__descriptor, &version),
			 0);
	assert_string_equal(version->agent_version, KATA_VERSION);
	FREE(version);
}

static void what_is_not_there_says_so(void **state)
{
	Grpc__SetPolicyRequest policy = GRPC__SET_POLICY_REQUEST__INIT;
	Grpc__ResizeVolumeRequest resize = GRPC__RESIZE_VOLUME_REQUEST__INIT;

	(void)state;
	assert_int_equal(DO("SetPolicy", &policy), -ENOSYS);
	assert_int_equal(DO("ResizeVolume", &resize), -ENOSYS);
	assert_int_equal(DO("NoSuchMethod", &policy), -ENOSYS);
}

static void details(void **state)
{
	Grpc__GuestDetailsRequest request = GRPC__GUEST_DETAILS_REQUEST__INIT;
	Grpc__GuestDetailsResponse *response;

	(void)state;
	assert_int_equal(CALL("GetGuestDetails", &request,
			      &grpc__guest_details_response__descriptor, &response),
			 0);
	assert_non_null(response->agent_details);
	assert_string_equal(response->agent_details->version, KATA_VERSION);
	assert_false(response->agent_details->init_daemon);
	assert_true(response->agent_details->n_storage_handlers >= 5);
	FREE(response);
}

static int create_sandbox(const char *id, Grpc__Storage **storages, size_t n)
{
	Grpc__CreateSandboxRequest request = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	char *dns[] = {(char *)"nameserver 10.0.0.10"};

	request.sandbox_id = (char *)id;
	request.hostname = (char *)"a-pod";
	request.dns = dns;
	request.n_dns = 1;
	request.storages = storages;
	request.n_storages = n;
	return DO("CreateSandbox", &request);
}

static Grpc__Storage storage(const char *driver, const char *source, const char *fstype,
			     const char *target)
{
	Grpc__Storage s = GRPC__STORAGE__INIT;

	s.driver = (char *)driver;
	s.source = (char *)source;
	s.fstype = (char *)fstype;
	s.mount_point = (char *)target;
	return s;
}

static void a_failed_sandbox_leaves_nothing(void **state)
{
	Grpc__Storage good = storage("ephemeral", "shm", "tmpfs", AGENT_SANDBOX_DIR "/shm");
	Grpc__Storage bad = storage("pigeon", "x", "x", AGENT_SANDBOX_DIR "/x");
	Grpc__Storage dotted = storage("ephemeral", "shm", "tmpfs", AGENT_SANDBOX_DIR "/../x");
	Grpc__Storage nofs = storage("ephemeral", "x", "nofs", AGENT_SANDBOX_DIR "/x");
	Grpc__Storage *with_bad[] = {&good, &bad}, *with_dots[] = {&dotted}, *with_nofs[] = {&nofs};

	(void)state;
	assert_int_equal(create_sandbox("../evil", NULL, 0), -EINVAL);
	assert_int_equal(create_sandbox("one", with_bad, 2), -ENOSYS);
	assert_int_equal(is_mounted(good.mount_point), 0);
	assert_int_equal(create_sandbox("one", with_dots, 1), -EINVAL);
	assert_true(create_sandbox("one", with_nofs, 1) < 0);
}

static void a_sandbox_is_created_once(void **state)
{
	char *mode[] = {(char *)"mode=0777"},
	     *shm_options[] = {(char *)"mode=1777", (char *)"nodev", (char *)"size=1048576"};
	char *bind_options[] = {(char *)"ro"};
	Grpc__Storage shm = storage("ephemeral", "shm", "tmpfs", AGENT_SANDBOX_DIR "/shm");
	Grpc__Storage local = storage("local", "local", "local", AGENT_STORAGE_DIR "/empty");
	Grpc__Storage bind = storage("bind", "/usr", "bind", AGENT_STORAGE_DIR "/usr");
	Grpc__Storage part = storage("bind", AGENT_SANDBOX_DIR "/shm/made/for/it", "bind",
				     AGENT_STORAGE_DIR "/part");
	Grpc__Storage *all[] = {&shm, &local, &bind, &part};
	char *made[] = {
		(char *)"io.katacontainers.volume.overlayfs.create_directory=" AGENT_SANDBOX_DIR
			"/shm/made/for/it"};
	char hostname[64];
	struct stat st;

	(void)state;
	shm.options = shm_options;
	shm.n_options = 3;
	local.options = mode;
	local.n_options = 1;
	bind.options = bind_options;
	bind.n_options = 1;
	part.driver_options = made;
	part.n_driver_options = 1;
	assert_int_equal(create_sandbox("one", all, 4), 0);
	assert_int_equal(create_sandbox("two", NULL, 0), -EEXIST);
	assert_int_equal(gethostname(hostname, sizeof(hostname)), 0);
	assert_string_equal(hostname, "a-pod");
	assert_int_equal(is_mounted(shm.mount_point), 1);
	assert_int_equal(is_mounted(bind.mount_point), 1);
	assert_int_equal(is_mounted(part.mount_point), 1);
	assert_int_equal(stat(local.mount_point, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0777);
	assert_true(fs_exists(AGENT_STORAGE_DIR "/usr/bin"));
	assert_int_equal(mkdir(AGENT_STORAGE_DIR "/usr/x", 0755), -1);
}

static void an_ephemeral_mount_grows(void **state)
{
	Grpc__UpdateEphemeralMountsRequest request = GRPC__UPDATE_EPHEMERAL_MOUNTS_REQUEST__INIT;
	Grpc__VolumeStatsRequest stats = GRPC__VOLUME_STATS_REQUEST__INIT;
	Grpc__VolumeStatsResponse *response;
	Grpc__Storage shm = storage("ephemeral", "shm", "tmpfs", AGENT_SANDBOX_DIR "/shm");
	Grpc__Storage *all[] = {&shm};
	char *options[] = {(char *)"size=4194304"};

	(void)state;
	shm.options = options;
	shm.n_options = 1;
	request.storages = all;
	request.n_storages = 1;
	assert_int_equal(DO("UpdateEphemeralMounts", &request), 0);
	stats.volume_guest_path = shm.mount_point;
	assert_int_equal(
		CALL("GetVolumeStats", &stats, &grpc__volume_stats_response__descriptor, &response),
		0);
	assert_int_equal(response->n_usage, 2);
	assert_int_equal(response->usage[0]->total, 4194304);
	FREE(response);
	shm.mount_point = (char *)"/run/elsewhere";
	assert_int_equal(DO("UpdateEphemeralMounts", &request), -ENOENT);
	stats.volume_guest_path = (char *)"/no/such/volume";
	assert_int_equal(DO("GetVolumeStats", &stats), -ENOENT);
	stats.volume_guest_path = (char *)"relative";
	assert_int_equal(DO("GetVolumeStats", &stats), -EINVAL);
}

/* --- CopyFile --- */

static int copy(const char *path, uint32_t mode, const char *data, int64_t offset, int64_t size)
{
	Grpc__CopyFileRequest request = GRPC__COPY_FILE_REQUEST__INIT;

	request.path = (char *)path;
	request.file_mode = mode;
	request.dir_mode = 0750;
	request.data.data = (uint8_t *)data;
	request.data.len = strlen(data);
	request.offset = offset;
	request.file_size = size;
	return DO("CopyFile", &request);
}

static void files_arrive_in_chunks(void **state)
{
	const char *path = AGENT_SHARED_DIR "/c1/etc/hosts";
	_cleanup_(freep) char *text = NULL;
	struct stat st;

	(void)state;
	assert_int_equal(copy(path, S_IFREG | 0640, "abc", 0, 6), 0);
	assert_false(fs_exists(path));
	assert_int_equal(copy(path, S_IFREG | 0640, "def", 3, 6), 0);
	assert_int_equal(fs_read(path, 64, &text, NULL), 0);
	assert_string_equal(text, "abcdef");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(stat(AGENT_SHARED_DIR "/c1/etc", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	/* Again, over the old one; then a folder, a link, an empty file. */
	assert_int_equal(copy(path, S_IFREG | 0600, "x", 0, 1), 0);
	assert_int_equal(copy(AGENT_SHARED_DIR "/c1/dir", S_IFDIR | 01777, "", 0, 0), 0);
	assert_int_equal(stat(AGENT_SHARED_DIR "/c1/dir", &st), 0);
	assert_int_equal(st.st_mode & 07777, 01777);
	assert_int_equal(copy(AGENT_SHARED_DIR "/c1/link", S_IFLNK, "/etc/passwd", 0, 11), 0);
	assert_int_equal(lstat(AGENT_SHARED_DIR "/c1/link", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(copy(AGENT_SHARED_DIR "/c1/empty", 0644, "", 0, 0), 0);
	assert_true(fs_exists(AGENT_SHARED_DIR "/c1/empty"));
}

static void files_stay_below_the_share(void **state)
{
	(void)state;
	assert_int_equal(copy("/etc/evil", 0644, "x", 0, 1), -EACCES);
	assert_int_equal(copy(AGENT_SHARED_DIR, 0644, "x", 0, 1), -EACCES);
	assert_int_equal(copy(AGENT_SHARED_DIR "/../evil", 0644, "x", 0, 1), -EACCES);
	assert_int_equal(copy(AGENT_SHARED_DIR "/a/../../evil", 0644, "x", 0, 1), -EACCES);
	assert_int_equal(copy(AGENT_SHARED_DIR "x/evil", 0644, "x", 0, 1), -EACCES);
	/* A link that leads out is followed within the share only. */
	assert_int_equal(copy(AGENT_SHARED_DIR "/out", S_IFLNK, "/run", 0, 4), 0);
	copy(AGENT_SHARED_DIR "/out/evil", 0644, "x", 0, 1);
	assert_false(fs_exists("/run/evil"));
	/* A link as the last part is replaced. */
	assert_int_equal(copy(AGENT_SHARED_DIR "/last", S_IFLNK, "/run/evil", 0, 9), 0);
	assert_int_equal(copy(AGENT_SHARED_DIR "/last", 0644, "x", 0, 1), 0);
	assert_false(fs_exists("/run/evil"));
}

static void chunks_must_fit(void **state)
{
	const char *path = AGENT_SHARED_DIR "/c1/chunk";

	(void)state;
	assert_int_equal(copy(path, 0644, "abc", 0, 2), -EINVAL);
	assert_int_equal(copy(path, 0644, "abc", -1, 2), -EINVAL);
	assert_int_equal(copy(path, 0644, "", 3, 2), -EINVAL);
	assert_int_equal(copy(path, 0644, "abc", 0, -1), -EINVAL);
	assert_int_equal(copy(path, 0644, "abc", 100, 103), -EINVAL);
	assert_int_equal(copy(path, S_IFCHR | 0644, "", 0, 0), -ENOSYS);
	assert_false(fs_exists(path));
	/* A pipe in the way of the hidden file is refused, not waited for. */
	assert_int_equal(mkfifo(AGENT_SHARED_DIR "/c1/.pipe.kata-copy", 0666), 0);
	assert_int_equal(copy(AGENT_SHARED_DIR "/c1/pipe", 0644, "abc", 0, 3), -EINVAL);
	assert_false(fs_exists(AGENT_SHARED_DIR "/c1/pipe"));
}

/* --- network --- */

static void an_interface_becomes_the_pods(void **state)
{
	_cleanup_(nl_close) struct nl nl = NL_CLOSED;
	_cleanup_(freep) struct addr *addrs = NULL;
	Grpc__UpdateInterfaceRequest request = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface interface = TYPES__INTERFACE__INIT;
	Types__IPAddress v4 = TYPES__IPADDRESS__INIT, v6 = TYPES__IPADDRESS__INIT;
	Types__IPAddress *both[] = {&v4, &v6};
	struct link link;
	uint8_t mac[MAC_LENGTH];
	size_t n;

	(void)state;
	assert_int_equal(nl_open(&nl, NETLINK_ROUTE), 0);
	assert_int_equal(link_add_veth(&nl, "host0", "peer0"), 0);
	assert_int_equal(link_get(&nl, "host0", &link), 0);
	mac_parse(MAC, mac);
	assert_int_equal(link_set_mac(&nl, link.index, mac), 0);
	link_get(&nl, "peer0", &link);
	link_set_up(&nl, link.index, true);

	v4.address = (char *)"10.5.0.2";
	v4.mask = (char *)"24";
	v6.family = TYPES__IPFAMILY__v6;
	v6.address = (char *)"fd00::2";
	v6.mask = (char *)"64";
	interface.hwaddr = (char *)MAC;
	interface.name = interface.device = (char *)"eth0";
	interface.mtu = 1400;
	interface.ipaddresses = both;
	interface.n_ipaddresses = 2;
	request.interface = &interface;
	assert_int_equal(CALL("UpdateInterface", &request, &types__interface__descriptor, NULL), 0);
	assert_int_equal(link_get(&nl, "eth0", &link), 0);
	assert_int_equal(link.mtu, 1400);
	assert_true(link.flags & IFF_UP);
	assert_int_equal(addr_list(&nl, link.index, &addrs, &n), 0);
	assert_true(n >= 2);
	/* Again is fine; other addresses replace the old ones. */
	v4.address = (char *)"10.5.0.3";
	v4.mask = (char *)"255.255.255.0";
	interface.n_ipaddresses = 1;
	assert_int_equal(CALL("UpdateInterface", &request, &types__interface__descriptor, NULL), 0);
	v4.mask = (char *)"33";
	assert_int_equal(CALL("UpdateInterface", &request, &types__interface__descriptor, NULL),
			 -EINVAL);
	interface.hwaddr = (char *)"nonsense";
	assert_int_equal(CALL("UpdateInterface", &request, &types__interface__descriptor, NULL),
			 -EINVAL);
}

static void interfaces_are_listed(void **state)
{
	Grpc__ListInterfacesRequest request = GRPC__LIST_INTERFACES_REQUEST__INIT;
	Grpc__Interfaces *response;
	bool found = false;

	(void)state;
	assert_int_equal(CALL("ListInterfaces", &request, &grpc__interfaces__descriptor, &response),
			 0);
	for (size_t i = 0; i < response->n_interfaces; i++) {
		const Types__Interface *one = response->interfaces[i];

		if (strcmp(one->name, "eth0") != 0)
			continue;
		found = true;
		assert_string_equal(one->hwaddr, MAC);
		assert_true(one->n_ipaddresses >= 1);
		assert_string_equal(one->ipaddresses[0]->address, "10.5.0.3");
		assert_string_equal(one->ipaddresses[0]->mask, "24");
	}
	assert_true(found);
	FREE(response);
}

static int update_routes(Types__Route **routes, size_t n, Grpc__Routes **ret)
{
	Grpc__UpdateRoutesRequest request = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__Routes wanted = GRPC__ROUTES__INIT;

	wanted.routes = routes;
	wanted.n_routes = n;
	request.routes = &wanted;
	return CALL("UpdateRoutes", &request, &grpc__routes__descriptor, ret);
}

static void routes_are_replaced(void **state)
{
	Types__Route by_gateway = TYPES__ROUTE__INIT, link_route = TYPES__ROUTE__INIT;
	Types__Route *wanted[] = {&by_gateway, &link_route};
	Grpc__Routes *response;
	bool found = false;

	(void)state;
	by_gateway.dest = (char *)"0.0.0.0/0";
	by_gateway.gateway = (char *)"169.254.1.1";
	by_gateway.device = (char *)"eth0";
	link_route.dest = (char *)"169.254.1.1/32";
	link_route.device = (char *)"eth0";
	/* The one that makes the gateway reachable comes second and is added first. */
	assert_int_equal(update_routes(wanted, 2, &response), 0);
	for (size_t i = 0; i < response->n_routes; i++)
		if (strcmp(response->routes[i]->gateway, "169.254.1.1") == 0)
			found = response->routes[i]->dest[0] == '\0';
	assert_true(found);
	FREE(response);
	assert_int_equal(update_routes(&wanted[1], 1, &response), 0);
	for (size_t i = 0; i < response->n_routes; i++)
		assert_string_equal(response->routes[i]->gateway, "");
	FREE(response);
	link_route.device = (char *)"eth9";
	assert_int_equal(update_routes(&wanted[1], 1, NULL), -ENOENT);
	link_route.dest = (char *)"nonsense";
	assert_int_equal(update_routes(&wanted[1], 1, NULL), -EINVAL);
}

static void neighbours_are_added(void **state)
{
	Grpc__AddARPNeighborsRequest request = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;
	Grpc__ARPNeighbors all = GRPC__ARPNEIGHBORS__INIT;
	Types__ARPNeighbor one = TYPES__ARPNEIGHBOR__INIT, *list[] = {&one};
	Types__IPAddress address = TYPES__IPADDRESS__INIT;

	(void)state;
	address.address = (char *)"10.5.0.1";
	one.toipaddress = &address;
	one.device = (char *)"eth0";
	one.lladdr = (char *)"02:00:00:00:00:01";
	one.state = NUD_PERMANENT;
	all.arpneighbors = list;
	all.n_arpneighbors = 1;
	request.neighbors = &all;
	assert_int_equal(DO("AddARPNeighbors", &request), 0);
	one.lladdr = (char *)"zz";
	assert_int_equal(DO("AddARPNeighbors", &request), -EINVAL);
	one.toipaddress = NULL;
	assert_int_equal(DO("AddARPNeighbors", &request), -EINVAL);
}

/* --- the guest --- */

static void metrics_have_katas_names(void **state)
{
	static const char *const names[] = {
		"kata_agent_scrape_count 1",
		"kata_agent_proc_status{item=\"vmrss\"}",
		"kata_agent_process_resident_memory_bytes",
		"kata_guest_cpu_time{cpu=\"total\",item=\"user\"}",
		"kata_guest_load{item=\"load1\"}",
		"kata_guest_meminfo{item=\"mem_total\"}",
		"kata_guest_meminfo{item=\"active_anon\"}",
		"kata_guest_netdev_stat{interface=\"eth0\",item=\"recv_bytes\"}",
		"kata_guest_vm_stat{item=\"pgfault\"}",
		"kata_guest_filesystem_bytes{mount=\"/run/kata-containers/sandbox/shm\"",
	};
	Grpc__GetMetricsRequest request = GRPC__GET_METRICS_REQUEST__INIT;
	Grpc__Metrics *response;

	(void)state;
	assert_int_equal(CALL("GetMetrics", &request, &grpc__metrics__descriptor, &response), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strstr(response->metrics, names[i]))
			fail_msg("no %s", names[i]);
	FREE(response);
}

static void the_guest_is_looked_after(void **state)
{
	Grpc__OnlineCPUMemRequest online = GRPC__ONLINE_CPUMEM_REQUEST__INIT;
	Grpc__ReseedRandomDevRequest reseed = GRPC__RESEED_RANDOM_DEV_REQUEST__INIT;
	Grpc__SetGuestDateTimeRequest date = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;
	Grpc__GetIPTablesRequest tables = GRPC__GET_IPTABLES_REQUEST__INIT;
	Grpc__AddSwapRequest swap = GRPC__ADD_SWAP_REQUEST__INIT;
	Grpc__GetDiagnosticDataRequest diagnosis = GRPC__GET_DIAGNOSTIC_DATA_REQUEST__INIT;

	(void)state;
	online.wait = true;
	online.cpu_only = true;
	online.nb_cpus = 1;
	assert_int_equal(DO("OnlineCPUMem", &online), 0);
	assert_int_equal(DO("ReseedRandomDev", &reseed), -EINVAL);
	date.sec = -1;
	assert_int_equal(DO("SetGuestDateTime", &date), -EINVAL);
	/* In a user namespace the clock is not ours to set. */
	date.sec = 1;
	assert_int_equal(DO("SetGuestDateTime", &date), -EACCES);
	assert_int_equal(DO("AddSwap", &swap), -EINVAL);
	assert_int_equal(DO("GetDiagnosticData", &diagnosis), -ENOSYS);
	(void)tables;
}

static void the_end_leaves_nothing(void **state)
{
	Grpc__DestroySandboxRequest message = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	struct request first = {.service = "grpc.AgentService",
				.method = "DestroySandbox",
				.message = &message.base,
				.output = &google__protobuf__empty__descriptor,
				.r = 1};
	struct request second = first;
	int status;

	(void)state;
	/* The second comes while the first unmounts. */
	co_start(loop, run_request, &first);
	co_start(loop, run_request, &second);
	while (first.r > 0 || second.r > 0)
		assert_int_equal(loop_run(loop), 0);
	assert_int_equal(first.r, 0);
	FREE(first.response);
	assert_int_equal(second.r, -EBUSY);
	assert_non_null(strstr(err_text(&second.err), "is being destroyed"));
	err_clear(&second.err);
	assert_int_equal(is_mounted(AGENT_SANDBOX_DIR "/shm"), 0);
	assert_int_equal(is_mounted(AGENT_STORAGE_DIR "/usr"), 0);
	assert_false(fs_exists(AGENT_STORAGE_DIR "/empty"));
	assert_int_equal(waitpid(agent_pid, &status, 0), agent_pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	ttrpc_client_free(client);
	loop_free(loop);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(health_and_version),
		cmocka_unit_test(what_is_not_there_says_so),
		cmocka_unit_test(details),
		cmocka_unit_test(a_failed_sandbox_leaves_nothing),
		cmocka_unit_test(a_sandbox_is_created_once),
		cmocka_unit_test(an_ephemeral_mount_grows),
		cmocka_unit_test(files_arrive_in_chunks),
		cmocka_unit_test(files_stay_below_the_share),
		cmocka_unit_test(chunks_must_fit),
		cmocka_unit_test(an_interface_becomes_the_pods),
		cmocka_unit_test(interfaces_are_listed),
		cmocka_unit_test(routes_are_replaced),
		cmocka_unit_test(neighbours_are_added),
		cmocka_unit_test(metrics_have_katas_names),
		cmocka_unit_test(the_guest_is_looked_after),
		cmocka_unit_test(the_end_leaves_nothing),
	};

	if (argc != 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, set_up, NULL);
}
