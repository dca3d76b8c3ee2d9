/* SPDX-License-Identifier: Apache-2.0 */
/* What a container finds: its user, root file system, devices; and hooks. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent/container_fixture.h"

/* --- who the process is --- */

static void as_user(struct fixture *f)
{
	f->user.uid = 1000;
	f->user.gid = 1001;
	f->gids[0] = 7;
	f->user.additionalgids = f->gids;
	f->user.n_additionalgids = 1;
	f->user.opt_umask_case = GRPC__USER__OPT_UMASK_UMASK;
	f->user.umask = 0027;
	f->process.nonewprivileges = true;
	f->process.oomscoreadj = 321;
	f->rlimit = (Grpc__POSIXRlimit)GRPC__POSIXRLIMIT__INIT;
	f->rlimit.type = S("RLIMIT_NOFILE");
	f->rlimit.soft = 123;
	f->rlimit.hard = 456;
	f->rlimit_list[0] = &f->rlimit;
	f->process.rlimits = f->rlimit_list;
	f->process.n_rlimits = 1;
	f->process.cwd = S("/tmp/made/here");
}

static void in_roots_folder(struct fixture *f)
{
	f->user.uid = f->user.gid = 1000;
	f->process.cwd = S("/root");
}

static void with_caps(struct fixture *f)
{
	static char *names[] = {S("CAP_NET_RAW"), S("CAP_CHOWN"), S("CAP_FROM_THE_FUTURE")};

	f->user.uid = 1000;
	f->caps.bounding = f->caps.permitted = f->caps.effective = f->caps.inheritable = names;
	f->caps.n_bounding = f->caps.n_permitted = f->caps.n_effective = 3;
	f->caps.n_inheritable = 1;
	f->caps.ambient = names;
	f->caps.n_ambient = 1;
}

static void body_user(void)
{
	_cleanup_(freep) char *private = path_join(t.rootfs, "root");

	check_script("id -u; id -g; id -G; umask; pwd; ulimit -n; ulimit -Hn; echo $HOME;"
		     "cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status",
		     as_user,
		     "1000\n1001\n1001 7\n0027\n/tmp/made/here\n123\n456\n/home/u\n321\n"
		     "NoNewPrivs:\t1\n");
	/* A working directory that only root can enter. */
	assert_int_equal(chmod(private, 0700), 0);
	check_script("pwd; id -u; ls 2>/dev/null || echo closed", in_roots_folder,
		     "/root\n1000\nclosed\n");
	/* /dev/stdout is the user's to open again. */
	check_script("echo again >/dev/stdout", as_user, "again\n");
	check_script("grep ^Cap /proc/self/status", NULL,
		     "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
		     "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
		     "CapAmb:\t0000000000000000\n");
	/* Over the exec only the ambient one stays with an ordinary user. */
	check_script("grep ^Cap /proc/self/status", with_caps,
		     "CapInh:\t0000000000002000\nCapPrm:\t0000000000002000\n"
		     "CapEff:\t0000000000002000\nCapBnd:\t0000000000002001\n"
		     "CapAmb:\t0000000000002000\n");
	/* Signals are as a program expects them, and no descriptor comes along. */
	check_script("grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd", NULL,
		     "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n");
}

/* --- the file system --- */

static void with_volume(struct fixture *f)
{
	char *path = path_join(t.dir, "volume");

	strv_take(&t.kept, path);
	mkdir(path, 0755);
	add_mount(f, "/new/deep/dir", "bind", path, "rbind,rro,rprivate");
	add_mount(f, "/escape/inside", "bind", path, "bind,rw");
	path = path_join(t.dir, "bundle/rootfs/bin/plain");
	strv_take(&t.kept, path);
	add_mount(f, "/etc/dangling", "bind", path, "bind,ro");
}

static void with_masks(struct fixture *f)
{
	f->masked[0] = S("/proc/keys");
	f->masked[1] = S("/sys");
	f->masked[2] = S("/nonexistent");
	f->masked[3] = S("/escape");
	f->linux_.maskedpaths = f->masked;
	f->linux_.n_maskedpaths = 4;
	f->readonly[0] = S("/proc/sys");
	f->readonly[1] = S("/etc");
	f->readonly[2] = S("/nonexistent");
	f->linux_.readonlypaths = f->readonly;
	f->linux_.n_readonlypaths = 3;
}

static void read_only(struct fixture *f)
{
	f->root.readonly = true;
	add_mount(f, "/full", "tmpfs", "tmpfs", "tmpcopyup,size=1m,nosuid");
}

static void remounted(struct fixture *f)
{
	add_mount(f, "/full", "tmpfs", "tmpfs", "mode=1777");
	add_mount(f, "/full", "", "", "remount,ro,nosuid");
}

static void remounted_nothing(struct fixture *f)
{
	add_mount(f, "/nowhere", "", "", "remount,ro");
}

static void over_proc(struct fixture *f)
{
	add_mount(f, "/proc/sys", "tmpfs", "tmpfs", "");
}

static void over_proc_by_link(struct fixture *f)
{
	add_mount(f, "/prolink/sys", "tmpfs", "tmpfs", "");
}

static void bad_data(struct fixture *f)
{
	add_mount(f, "/full", "tmpfs", "tmpfs", "nonsense=1");
}

static void bad_source(struct fixture *f)
{
	add_mount(f, "/full", "bind", "/nonexistent/source", "rbind");
}

static void file_on_folder(struct fixture *f)
{
	add_mount(f, "/full", "bind", "/dev/null", "bind");
}

static void id_mapped(struct fixture *f)
{
	static Grpc__LinuxIDMapping map = GRPC__LINUX_IDMAPPING__INIT, *maps[] = {&map};

	map.size = 1;
	/* The first: nothing has cleaned the stack for it. */
	f->mounts[0].uidmappings = maps;
	f->mounts[0].n_uidmappings = 1;
}

static void relative_place(struct fixture *f)
{
	add_mount(f, "full", "tmpfs", "tmpfs", "");
}

static void long_place(struct fixture *f)
{
	char *path = xstrdup("/");

	while (strlen(path) < PATH_MAX) {
		char *longer = xasprintf("%s/x", path);

		free(path);
		path = longer;
	}
	strv_take(&t.kept, path);
	add_mount(f, path, "tmpfs", "tmpfs", "");
}

static void bad_sysctl(struct fixture *f)
{
	static Grpc__Linux__SysctlEntry entry = GRPC__LINUX__SYSCTL_ENTRY__INIT, *list[] = {&entry};

	entry.key = S("kernel.core_pattern");
	entry.value = S("|/bin/x");
	f->linux_.sysctl = list;
	f->linux_.n_sysctl = 1;
}

static void good_sysctl(struct fixture *f)
{
	bad_sysctl(f);
	f->linux_.sysctl[0]->key = S("kernel.shm_rmid_forced");
	f->linux_.sysctl[0]->value = S("1");
}

static void body_rootfs(void)
{
	_cleanup_(freep) char *link = path_join(t.rootfs, "prolink");
	_cleanup_(freep) char *dangling = path_join(t.rootfs, "etc/dangling");
	_cleanup_(freep) char *file = path_join(t.rootfs, "full/file");
	_cleanup_(freep) char *outside = path_join(t.dir, "volume/inside");

	assert_int_equal(symlink("/proc", link), 0);
	assert_int_equal(symlink("../var/made", dangling), 0);
	assert_int_equal(fs_replace(file, "copied", 6, 0640, false), 0);
	/* Nothing of the outside is mounted: the root, and the four mounts below it. */
	check_script("cat /proc/1/comm; cat /proc/mounts | wc -l; rm -f /dev/core; ls /dev;"
		     "stat -c '%a %t %T' /dev/null /dev/tty",
		     NULL,
		     "sh\n5\nfd\nfull\nnull\nptmx\npts\nrandom\nstderr\nstdin\nstdout\ntty\n"
		     "urandom\nzero\n666 1 3\n666 5 0\n");
	/* A link of the image leads to a place in the image. */
	check_script("touch /new/deep/dir/x 2>/dev/null || echo read-only; touch /escape/inside/f;"
		     "ls /tmp/inside; cat /var/made; readlink /etc/dangling",
		     with_volume, "read-only\nf\nx../var/made\n");
	assert_false(fs_exists("/tmp/inside"));
	check_script("cat /proc/keys; ls /sys; echo 1 >/proc/sys/kernel/shmmax; touch /etc/x;"
		     "touch /bin/x && rm -f /bin/x; ls /tmp; true",
		     with_masks, "");
	check_script("touch /x 2>/dev/null || echo read-only; touch /tmp/x /full/y && echo yes;"
		     "cat /full/file; stat -c %a /full/file",
		     read_only, "read-only\nyes\ncopied640\n");
	check_script("touch /full/x 2>/dev/null || echo read-only; grep -c '/full tmpfs ro,nosuid' "
		     "/proc/mounts",
		     remounted, "read-only\n1\n");
	check_refused(remounted_nothing, -ENOENT, "mount /nowhere: mount point /nowhere");
	check_refused(over_proc, -EACCES, "mount /proc/sys: /proc/sys is inside /proc");
	check_refused(over_proc_by_link, -EACCES, "/prolink/sys is inside /proc");
	check_refused(bad_data, -EINVAL, "mount /full: nonsense=1 (e tmpfs: Unknown parameter");
	check_refused(bad_source, -ENOENT, "source /nonexistent/source: No such file");
	check_refused(file_on_folder, -EREMOTEIO, "mount point /full is a folder");
	/* Refused before the mount's options are looked at. */
	check_refused(id_mapped, -ENOSYS, "mount /proc: ids are mapped by the host");
	check_refused(relative_place, -EINVAL, "mount full: the destination is not an absolute");
	check_refused(long_place, -EINVAL, "the destination is too long");
	check_refused(bad_sysctl, -EACCES, "not in a separate kernel namespace");
	check_script("cat /proc/sys/kernel/shm_rmid_forced", good_sysctl, "1\n");
}

static void with_propagation(struct fixture *f, const char *options)
{
	static char *names[] = {S("CAP_SYS_ADMIN")};
	char *path = path_join(t.dir, "volume");

	strv_take(&t.kept, path);
	f->caps.bounding = f->caps.permitted = f->caps.effective = names;
	f->caps.n_bounding = f->caps.n_permitted = f->caps.n_effective = 1;
	add_mount(f, "/volume", "bind", path, options);
}

/* Kubernetes' mountPropagation: Bidirectional in one container, HostToContainer in two others. */
static void body_propagation(void)
{
	struct fixture sender, receiver, none;
	_cleanup_(freep) char *out = NULL;

	fixture_init(&receiver, "receiver", ARGS("sleep", "1000"));
	with_propagation(&receiver, "rbind,rslave");
	assert_int_equal(create(&receiver, NULL), 0);
	assert_int_equal(start("receiver", NULL), 0);
	fixture_init(&none, "none", ARGS("sleep", "1000"));
	with_propagation(&none, "rbind,rprivate");
	assert_int_equal(create(&none, NULL), 0);
	assert_int_equal(start("none", NULL), 0);
	fixture_init(&sender, "sender",
		     ARGS("sh", "-c",
			  "mkdir -p /volume/m && "
			  "mount -t tmpfs x /volume/m && "
			  "echo sent >/volume/m/f"));
	with_propagation(&sender, "rbind,rshared");
	sender.linux_.rootfspropagation = S("rshared");
	assert_int_equal(create(&sender, NULL), 0);
	assert_int_equal(start("sender", NULL), 0);
	assert_int_equal(wait_process("sender", "sender"), 0);
	set_args(&receiver, ARGS("cat", "/volume/m/f"));
	assert_int_equal(exec(&receiver, "receiver", "e", NULL), 0);
	out = read_all("receiver", "e", true);
	assert_string_equal(out, "sent\n");
	assert_int_equal(exec(&receiver, "none", "e", NULL), 0);
	assert_int_equal(wait_process("none", "e"), 1);
	assert_int_equal(remove_container("sender", NULL), 0);
	assert_int_equal(remove_container("receiver", NULL), 0);
	assert_int_equal(remove_container("none", NULL), 0);
}

static void with_sys(struct fixture *f)
{
	add_namespace(f, "cgroup", "");
	add_mount(f, "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro");
	add_mount(f, "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro");
	add_mount(f, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
	add_mount(f, "/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k");
}

static void body_sys(void)
{
	check_script("cat /sys/fs/cgroup/cgroup.procs | head -1; grep -c cgroup2 /proc/mounts;"
		     "mkdir /sys/fs/cgroup/x 2>/dev/null || echo read-only; stat -c %a /dev/shm;"
		     "ls -d /sys/kernel /dev/mqueue",
		     with_sys, "1\n1\nread-only\n1777\n/dev/mqueue\n/sys/kernel\n");
}

/* --- devices, hooks, hostile use --- */

static void with_device(struct fixture *f)
{
	static char *names[] = {S("CAP_MKNOD")};

	f->caps.bounding = f->caps.permitted = f->caps.effective = names;
	f->caps.n_bounding = f->caps.n_permitted = f->caps.n_effective = 1;
	f->device = (Grpc__LinuxDevice)GRPC__LINUX_DEVICE__INIT;
	f->device.path = S("/dev/sub/mem-zero");
	f->device.type = S("c");
	f->device.major = 1;
	f->device.minor = 5;
	f->device.filemode = 0640;
	f->device.gid = 9;
	f->device_list[0] = &f->device;
	f->linux_.devices = f->device_list;
	f->linux_.n_devices = 1;
}

static void bad_device(struct fixture *f)
{
	with_device(f);
	f->device.type = S("x");
}

static void body_devices(void)
{
	check_script("stat -c '%a %g %t %T' /dev/sub/mem-zero; head -c 3 /dev/sub/mem-zero | wc -c",
		     with_device, "640 9 1 5\n3\n");
	check_refused(bad_device, -EINVAL, "has no type");
	if (t.has_groups)
		/* Nodes can be made, and those that are not the container's not opened. */
		check_script("mknod /dev/kmsg c 1 11 && (head -c 1 /dev/kmsg 2>&1 || true)",
			     with_device, "head: /dev/kmsg: Operation not permitted\n");
}

static void with_hooks(struct fixture *f)
{
	static Grpc__Hooks hooks = GRPC__HOOKS__INIT;
	static Grpc__Hook hook = GRPC__HOOK__INIT, stop = GRPC__HOOK__INIT;
	static Grpc__Hook *prestart[] = {&hook}, *poststop[] = {&stop};
	static char *args[4], *stop_args[4];

	hook.path = stop.path = S("/bin/busybox");
	hook.args = args;
	hook.n_args = 4;
	args[0] = stop_args[0] = S("sh");
	args[1] = stop_args[1] = S("-c");
	strv_addf(&t.kept, "read s; echo \"$s\" >%s/prestart", t.dir);
	args[2] = t.kept.v[t.kept.n - 1];
	args[3] = stop_args[3] = S("hook");
	strv_addf(&t.kept, "touch %s/poststop", t.dir);
	stop_args[2] = t.kept.v[t.kept.n - 1];
	stop.args = stop_args;
	stop.n_args = 4;
	hooks.prestart = prestart;
	hooks.n_prestart = 1;
	hooks.poststop = poststop;
	hooks.n_poststop = 1;
	hooks.n_startcontainer = 0;
	f->spec.hooks = &hooks;
}

/* A hook of one kind that runs inside: a shell script. */
static void inner_hook(struct fixture *f, bool at_start, const char *script)
{
	static Grpc__Hooks hooks;
	static Grpc__Hook hook, *list[] = {&hook};
	static char *args[4], *env[] = {S("WORD=given")};

	hooks = (Grpc__Hooks)GRPC__HOOKS__INIT;
	hook = (Grpc__Hook)GRPC__HOOK__INIT;
	hook.path = S("/bin/busybox");
	hook.args = args;
	hook.n_args = 3;
	hook.env = env;
	hook.n_env = 1;
	hook.timeout = 1;
	args[0] = S("sh");
	args[1] = S("-c");
	args[2] = S(script);
	if (at_start) {
		hooks.startcontainer = list;
		hooks.n_startcontainer = 1;
	} else {
		hooks.createcontainer = list;
		hooks.n_createcontainer = 1;
	}
	f->spec.hooks = &hooks;
}

static void start_hook(struct fixture *f)
{
	f->user.uid = 1000;
	inner_hook(f, true, "read s; echo \"$s\" $WORD $(id -u) $(pwd) >/full/state");
	add_mount(f, "/full", "tmpfs", "tmpfs", "mode=1777");
}

static void create_hook(struct fixture *f)
{
	strv_addf(&t.kept, "read s; echo \"$s\" >%s/tmp/state", t.rootfs);
	inner_hook(f, false, t.kept.v[t.kept.n - 1]);
}

static void failing_create_hook(struct fixture *f)
{
	inner_hook(f, false, "printf 'no\\377\\nway' >&2; exit 7");
}

static void bad_inner_hook(struct fixture *f)
{
	inner_hook(f, true, "true");
	f->spec.hooks->startcontainer[0]->path = S("sh");
}

static void check_start_hook(const char *script, const char *path, int code, const char *text)
{
	_cleanup_err_ struct err err = {0};
	struct fixture f;

	fixture_init(&f, "starts", ARGS("sleep", "1000"));
	inner_hook(&f, true, script);
	if (path)
		f.spec.hooks->startcontainer[0]->path = S(path);
	assert_int_equal(create(&f, &err), 0);
	assert_int_equal(start("starts", &err), code);
	if (!strstr(err_text(&err), text))
		fail_msg("\"%s\" is not in \"%s\"", text, err_text(&err));
	assert_int_equal(remove_container("starts", NULL), 0);
}

static void body_inner_hooks(void)
{
	_cleanup_(freep) char *at_start = xasprintf(
		"{\"ociVersion\":\"1.0.2\",\"id\":\"script\",\"status\":\"created\",\"pid\":1,"
		"\"bundle\":\"%s/bundle\"} given 1000 /\n",
		t.dir);

	check_script("cat /full/state", start_hook, at_start);
	/* Of the guest, in the container's mounts. */
	check_script("grep -c '\"status\":\"creating\"' /tmp/state", create_hook, "1\n");
	check_refused(failing_create_hook, -EREMOTEIO,
		      "createContainer hook /bin/busybox ended with status 7: no? way");
	check_refused(bad_inner_hook, -EINVAL, "hook \"sh\" is not valid");
	check_start_hook("exit 3", NULL, -EREMOTEIO,
			 "startContainer hook /bin/busybox ended with status 3");
	check_start_hook("", "/bin/nothere", -EREMOTEIO, "No such file or directory");
	check_start_hook("sleep 100", NULL, -ETIMEDOUT, "did not end in time");
}

static void failing_hook(struct fixture *f)
{
	with_hooks(f);
	f->spec.hooks->prestart[0]->args[2] = S("exit 7");
}

static void body_hooks(void)
{
	_cleanup_(freep) char *path = path_join(t.dir, "prestart");
	_cleanup_(freep) char *stop = path_join(t.dir, "poststop");
	_cleanup_(freep) char *text = NULL;

	/* busybox writes where the test can see it: the mount namespace is a copy. */
	check_script("echo ran", with_hooks, "ran\n");
	assert_int_equal(fs_read(path, 4096, &text, NULL), 0);
	assert_non_null(strstr(text, "\"id\":\"script\",\"status\":\"created\",\"pid\":"));
	assert_true(fs_exists(stop));
	check_refused(failing_hook, -EREMOTEIO, "ended with status 7");
}

static char *termination_log(const char *id, int wanted, struct err *err)
{
	Grpc__GetDiagnosticDataRequest request = GRPC__GET_DIAGNOSTIC_DATA_REQUEST__INIT;
	Grpc__GetDiagnosticDataResponse *response = NULL;
	char *text;

	request.container_id = S(id);
	request.log_type = S("termination_log");
	assert_int_equal(CALL("GetDiagnosticData", &request, grpc__get_diagnostic_data_response,
			      &response, err),
			 wanted);
	if (wanted < 0)
		return NULL;
	text = xstrdup(response->data);
	protobuf_c_message_free_unpacked(&response->base, NULL);
	return text;
}

static void body_termination_log(void)
{
	static Grpc__Spec__AnnotationsEntry entry = GRPC__SPEC__ANNOTATIONS_ENTRY__INIT;
	static Grpc__Spec__AnnotationsEntry *entries[] = {&entry};
	_cleanup_(freep) char *path = path_join(t.dir, "termination-log");
	_cleanup_(freep) char *text = NULL;
	struct fixture f;

	assert_int_equal(fs_replace(path, "", 0, 0644, false), 0);
	fixture_init(&f, "words", ARGS("sh", "-c", "printf 'f\\303\\274r \\377 ever' >/dev/last"));
	add_mount(&f, "/dev/last", "bind", path, "rbind,rw");
	assert_int_equal(create(&f, NULL), 0);
	termination_log("words", -ENOENT, NULL);
	assert_int_equal(remove_container("words", NULL), 0);
	entry.key = S("io.kubernetes.container.terminationMessagePath");
	entry.value = S("/dev/last");
	f.spec.annotations = entries;
	f.spec.n_annotations = 1;
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("words", NULL), 0);
	assert_int_equal(wait_process("words", "words"), 0);
	text = termination_log("words", 0, NULL);
	assert_string_equal(text, "f\303\274r ? ever");
	assert_int_equal(remove_container("words", NULL), 0);
}

static int removed;

static void remove_in_between(void *arg)
{
	removed = remove_container(arg, NULL);
}

static void touch(const char *name)
{
	_cleanup_(freep) char *path = path_join(t.dir, name);

	assert_int_equal(fs_replace(path, "", 0, 0644, false), 0);
}

/* A container whose removal begins here and ends after touch("go"). */
static void begin_removal(void)
{
	_cleanup_(freep) char *begun = path_join(t.dir, "begun");
	_cleanup_(freep) char *go = path_join(t.dir, "go");
	struct fixture f;

	unlink(begun);
	unlink(go);
	fixture_init(&f, "going", ARGS("sleep", "1000"));
	with_hooks(&f);
	strv_addf(&t.kept, "touch %s; while [ ! -e %s ]; do sleep 0.02; done; touch %s/gone", begun,
		  go, t.dir);
	f.spec.hooks->poststop[0]->args[2] = t.kept.v[t.kept.n - 1];
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("going", NULL), 0);
	removed = 1;
	co_start(t.loop, remove_in_between, S("going"));
	while (removed > 0 && !fs_exists(begun))
		co_sleep(10 * USEC_PER_MSEC);
	assert_int_equal(removed, 1);
}

/* What waits on a container that goes would find it gone. */
static void body_removing(void)
{
	Grpc__UpdateContainerRequest update = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	_cleanup_err_ struct err err = {0};

	begin_removal();
	update.container_id = S("going");
	assert_int_equal(CALL_EMPTY("UpdateContainer", &update, &err), -EBUSY);
	assert_non_null(strstr(err_text(&err), "container going is being removed"));
	err_clear(&err);
	termination_log("going", -EBUSY, &err);
	assert_non_null(strstr(err_text(&err), "container going is being removed"));
	touch("go");
	while (removed > 0)
		co_sleep(10 * USEC_PER_MSEC);
	assert_int_equal(removed, 0);
}

/* The agent as an ordinary process takes its containers along when it is told to end, and lets a
 * removal come to its end. Last: the agent is gone then. */
static void body_end(void)
{
	_cleanup_(freep) char *gone = path_join(t.dir, "gone");
	_cleanup_(freep) char *stop = path_join(t.dir, "poststop");
	_cleanup_(freep) char *path = xasprintf("/proc/%d/task/%d/children", t.pid, t.pid);
	_cleanup_(freep) char *agent = NULL;
	siginfo_t info = {0};
	struct fixture f;

	unlink(gone);
	begin_removal();
	unlink(stop);
	fixture_init(&f, "left", ARGS("sleep", "1000"));
	with_hooks(&f);
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("left", NULL), 0);
	assert_int_equal(fs_read(path, 64, &agent, NULL), 0);
	assert_int_equal(kill(atoi(agent), SIGTERM), 0);
	co_sleep(100 * USEC_PER_MSEC);
	touch("go");
	for (int i = 0; i < 1000 && !info.si_pid; i++) {
		co_sleep(10 * USEC_PER_MSEC);
		waitid(P_PID, (id_t)t.pid, &info, WEXITED | WNOHANG | WNOWAIT);
	}
	assert_int_equal(info.si_pid, t.pid);
	assert_int_equal(info.si_status, 0);
	assert_true(fs_exists(stop));
	assert_true(fs_exists(gone));
}

FIXTURE_MAIN(FIXTURE_TEST(user), FIXTURE_TEST(rootfs), FIXTURE_TEST(propagation),
	     FIXTURE_TEST_GROUPS(sys), FIXTURE_TEST(devices), FIXTURE_TEST(hooks),
	     FIXTURE_TEST(inner_hooks), FIXTURE_TEST(termination_log), FIXTURE_TEST(removing),
	     FIXTURE_TEST(end))
