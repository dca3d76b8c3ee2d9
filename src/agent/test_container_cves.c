/* SPDX-License-Identifier: Apache-2.0 */
/* Published bugs of container runtimes, tried on the agent: docs/cves.md has what each was. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/container_fixture.h"

#define ROUNDS    40 /* of a race */
#define SWAP_NAME "swap"

/* A file in the fixture's folder, for as long as the tests run. */
static const char *in_dir(const char *name)
{
	strv_take(&t.kept, path_join(t.dir, name));
	return t.kept.v[t.kept.n - 1];
}

/* What no container may reach: a folder of the agent's with one file. */
static const char *outside(void)
{
	const char *dir = in_dir("outside"), *secret = in_dir("outside/secret");

	assert_int_equal(fs_mkdir_all(dir, 0755), 0);
	if (!fs_exists(secret))
		assert_int_equal(fs_replace(secret, "secret", 6, 0600, false), 0);
	return dir;
}

/* It is as it was made. */
static void check_outside(void)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(closedirp) DIR *dir = opendir(outside());
	struct stat st;
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	assert_int_equal(n, 3);
	assert_int_equal(stat(in_dir("outside/secret"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(fs_read(in_dir("outside/secret"), 64, &text, NULL), 0);
	assert_string_equal(text, "secret");
}

/* The attacker of a race: another container, which has the shared volume `dir`, puts a link in the
 * place of `name` and takes it away again without end. */
static pid_t swap_forever(const char *dir, const char *name, const char *target)
{
	pid_t pid;
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(symlinkat(target, fd, SWAP_NAME), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		while (renameat2(fd, name, fd, SWAP_NAME, RENAME_EXCHANGE) == 0) {
		}
		_exit(1);
	}
	close(fd);
	return pid;
}

/* What was there is there again. */
static void end_swap(pid_t pid, const char *dir, const char *name)
{
	_cleanup_(freep) char *place = path_join(dir, name);
	_cleanup_(freep) char *swap = path_join(dir, SWAP_NAME);
	char target[4];
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	if (readlink(place, target, sizeof(target)) > 0)
		assert_int_equal(renameat2(AT_FDCWD, place, AT_FDCWD, swap, RENAME_EXCHANGE), 0);
	assert_int_equal(unlink(swap), 0);
}

/* Creates it again and again: that it is refused is fine, that something happens elsewhere not. */
static void race(void (*change)(struct fixture *f), int rounds)
{
	int made = 0;

	for (int i = 0; i < rounds; i++) {
		struct fixture f;

		fixture_init(&f, "race", ARGS("true"));
		change(&f);
		if (create(&f, NULL) == 0) {
			made++;
			assert_int_equal(remove_container("race", NULL), 0);
		}
		check_outside();
	}
	print_message("measured: %d of %d containers made in the race\n", made, rounds);
}

/* --- CVE-2024-21626: the working directory is a descriptor of the runtime's --- */

static char cwd[64];

static void with_cwd(struct fixture *f)
{
	f->process.cwd = cwd;
}

static void body_cwd_in_a_descriptor(void)
{
	static const char *const below[] = {"", "/../../../..", "/made"};

	outside();
	for (int fd = 3; fd < 24; fd++)
		for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
			struct fixture f;

			snprintf(cwd, sizeof(cwd), "/proc/self/fd/%d%s", fd, below[i]);
			fixture_init(&f, "cwd", ARGS("sh", "-c", "ls .."));
			with_cwd(&f);
			if (create(&f, NULL) == 0)
				fail_msg("%s is a working directory", cwd);
		}
	/* One that leads back to the root is inside. */
	snprintf(cwd, sizeof(cwd), "/proc/self/root/full");
	check_script("pwd -P", with_cwd, "/full\n");
}

/* --- CVE-2016-9962: a process that enters is looked into by those that are there --- */

#define SPY                                                                    \
	"echo ready; while :; do for p in /proc/[0-9]*; do "                   \
	"l=$(readlink $p/exe 2>/dev/null) || continue; "                       \
	"case $l in */busybox) ;; *) echo $l >>/tmp/seen ;; esac; "            \
	"ls $p/fd 2>/dev/null | grep -qvxE '[0-3]|10' && echo $p >>/tmp/fds; " \
	"done; done"

static void body_entering_is_not_seen(void)
{
	_cleanup_(freep) char *out = NULL;
	struct fixture f;

	fixture_init(&f, "spy", ARGS("sh", "-c", SPY));
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("spy", NULL), 0);
	expect_line("spy", "ready\n");
	set_args(&f, ARGS("true"));
	for (int i = 0; i < ROUNDS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "e%d", i);
		assert_int_equal(exec(&f, "spy", name, NULL), 0);
		assert_int_equal(wait_process("spy", name), 0);
	}
	set_args(&f, ARGS("sh", "-c", "cat /tmp/seen; true"));
	assert_int_equal(exec(&f, "spy", "last", NULL), 0);
	out = read_all("spy", "last", true);
	assert_string_equal(out, "");
	assert_int_equal(remove_container("spy", NULL), 0);
}

/* --- CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc or /sys is a link --- */

/* The image has a link in the place of a folder; the caller undoes it. */
static void replace(const char *name, const char *target)
{
	_cleanup_(freep) char *path = path_join(t.rootfs, name);
	_cleanup_(freep) char *aside = xasprintf("%s.aside", path);

	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink(target, path), 0);
}

static void put_back(const char *name)
{
	_cleanup_(freep) char *path = path_join(t.rootfs, name);
	_cleanup_(freep) char *aside = xasprintf("%s.aside", path);

	assert_int_equal(unlink(path), 0);
	assert_int_equal(rename(aside, path), 0);
}

static void with_volume(struct fixture *f)
{
	add_mount(f, "/full", "bind", in_dir("volume"), "rbind,rw");
	/* Before /proc, as a runtime with other habits would have it. */
	f->mount_list[f->spec.n_mounts - 1] = &f->mounts[0];
	f->mount_list[0] = &f->mounts[f->spec.n_mounts - 1];
}

static void as_it_is(_unused_ struct fixture *f)
{
}

static void with_sys(struct fixture *f)
{
	add_mount(f, "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro");
}

static void body_proc_is_a_link(void)
{
	assert_int_equal(fs_mkdir_all(in_dir("volume/proc"), 0755), 0);
	replace("proc", "/full/proc");
	check_refused(with_volume, -EREMOTEIO, "mount point /proc, which may not be a link");
	check_refused(as_it_is, -EREMOTEIO, "mount point /proc, which may not be a link");
	put_back("proc");
	replace("sys", "tmp");
	check_refused(with_sys, -EREMOTEIO, "mount point /sys, which may not be a link");
	put_back("sys");
	check_script("cat /proc/1/comm; true", with_volume, "sh\n");
}

/* --- CVE-2021-30465, CVE-2024-45310: a mount point in a shared volume is exchanged --- */

static void into_the_volume(struct fixture *f)
{
	add_mount(f, "/full", "bind", in_dir("volume"), "rbind,rw");
	add_mount(f, "/full/place/made/deep", "bind", in_dir("other"), "rbind,rw");
	add_mount(f, "/full/place/file", "bind", in_dir("outside/secret"), "bind,ro");
}

static void body_mount_points_race(void)
{
	static const char *const links[] = {"..", "../../../../../../../../../.."};
	_cleanup_(freep) char *up = xasprintf("../../../../../../../..%s", outside());

	assert_int_equal(fs_mkdir_all(in_dir("volume/place"), 0755), 0);
	assert_int_equal(fs_mkdir_all(in_dir("other"), 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(links) + 2; i++) {
		const char *target = i < ARRAY_SIZE(links)    ? links[i]
				     : i == ARRAY_SIZE(links) ? outside()
							      : up;
		pid_t pid = swap_forever(in_dir("volume"), "place", target);

		race(into_the_volume, ROUNDS);
		end_swap(pid, in_dir("volume"), "place");
	}
	assert_false(fs_exists("/made"));
	assert_false(fs_exists("/file"));
}

/* --- CVE-2025-52565's like: a device node in a shared volume is exchanged for a link --- */

static void node_in_the_volume(struct fixture *f)
{
	add_mount(f, "/full", "bind", in_dir("volume"), "rbind,rw");
	f->device = (Grpc__LinuxDevice)GRPC__LINUX_DEVICE__INIT;
	f->device.path = S("/full/node");
	f->device.type = S("c");
	f->device.major = 1;
	f->device.minor = 5;
	f->device.filemode = 0666;
	f->device_list[0] = &f->device;
	f->linux_.devices = f->device_list;
	f->linux_.n_devices = 1;
}

static void body_device_nodes_race(void)
{
	const char *node = in_dir("volume/node");
	pid_t pid;

	assert_int_equal(fs_mkdir_all(in_dir("volume"), 0755), 0);
	outside();
	assert_int_equal(mknod(node, S_IFCHR, makedev(1, 5)), 0);
	assert_int_equal(chmod(node, 0666), 0);
	pid = swap_forever(in_dir("volume"), "node", in_dir("outside/secret"));
	/* Two system calls apart: the narrowest. */
	race(node_in_the_volume, 6 * ROUNDS);
	end_swap(pid, in_dir("volume"), "node");
	/* One with another mode is replaced. */
	assert_int_equal(chmod(node, 0600), 0);
	check_script("stat -c '%a %t %T' /full/node", node_in_the_volume, "666 1 5\n");
}

/* --- CVE-2026-41579: /dev is a link, and what is made there is made elsewhere --- */

static void without_dev(struct fixture *f)
{
	f->mounts[1].destination = f->mounts[2].destination = S("/full");
}

static void body_dev_is_a_link(void)
{
	replace("dev", outside());
	check_refused(without_dev, -ENOENT, "/dev");
	put_back("dev");
	check_outside();
	replace("dev", "/tmp");
	check_script("ls /tmp/null; ls -l /dev | wc -l", without_dev, "/tmp/null\n1\n");
	put_back("dev");
	check_outside();
}

/* --- CVE-2025-31133, CVE-2025-52565, CVE-2026-88264: what /dev has is not what it says --- */

static void own_dev(struct fixture *f)
{
	f->mounts[1].type = S("");
	f->mounts[1].source = (char *)in_dir("dev");
	f->options[1][0] = S("rbind");
	f->mounts[1].n_options = 1;
}

static void masked_with_own_dev(struct fixture *f)
{
	own_dev(f);
	f->masked[0] = S("/proc/keys");
	f->linux_.maskedpaths = f->masked;
	f->linux_.n_maskedpaths = 1;
}

static void terminal_with_own_dev(struct fixture *f)
{
	own_dev(f);
	f->process.terminal = true;
}

static void body_dev_is_a_trap(void)
{
	assert_int_equal(fs_mkdir_all(in_dir("dev/pts"), 0755), 0);
	assert_int_equal(symlink("/proc/sys/kernel/shmmax", in_dir("dev/null")), 0);
	assert_int_equal(symlink("/proc/sys/kernel/shmmni", in_dir("dev/console")), 0);
	/* What hides it is the null device, and a /dev that was given is left as it is. */
	check_script("stat -c '%t %T' /proc/keys; readlink /dev/null; ls /dev", masked_with_own_dev,
		     "1 3\n/proc/sys/kernel/shmmax\nconsole\nnull\npts\n");
	check_refused(terminal_with_own_dev, -EACCES, "is inside /proc");
	assert_int_equal(unlink(in_dir("dev/console")), 0);
	assert_int_equal(symlink(in_dir("outside/secret"), in_dir("dev/console")), 0);
	check_outside();
}

/* --- CVE-2025-52881: what the runtime writes to /proc goes to a file of the container's --- */

static void fake_proc(struct fixture *f)
{
	static Grpc__Linux__SysctlEntry entry, *list[] = {&entry};

	entry = (Grpc__Linux__SysctlEntry)GRPC__LINUX__SYSCTL_ENTRY__INIT;
	entry.key = S("kernel.shm_rmid_forced");
	entry.value = S("1");
	f->linux_.sysctl = list;
	f->linux_.n_sysctl = 1;
	f->process.oomscoreadj = 123;
	f->mounts[0].type = S("bind");
	f->mounts[0].source = (char *)in_dir("fake");
	f->options[0][0] = S("rbind");
	f->mounts[0].n_options = 1;
}

#define SHOW_FAKES \
	"cat /proc/self/oom_score_adj /proc/sys/kernel/shm_rmid_forced /proc/self/attr/exec"

static void body_proc_is_fake(void)
{
	static const char *const files[] = {"fake/self/oom_score_adj", "fake/self/attr/exec",
					    "fake/sys/kernel/shm_rmid_forced"};
	_cleanup_(freep) char *out = NULL;
	struct fixture f;

	assert_int_equal(fs_mkdir_all(in_dir("fake/self/attr"), 0755), 0);
	assert_int_equal(fs_mkdir_all(in_dir("fake/sys/kernel"), 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		assert_int_equal(fs_replace(in_dir(files[i]), "", 0, 0666, false), 0);
	fixture_init(&f, "fake", ARGS("sleep", "1000"));
	fake_proc(&f);
	assert_int_equal(create(&f, NULL), 0);
	assert_int_equal(start("fake", NULL), 0);
	set_args(&f, ARGS("sh", "-c", SHOW_FAKES));
	assert_int_equal(exec(&f, "fake", "e", NULL), 0);
	out = read_all("fake", "e", true);
	assert_string_equal(out, "");
	assert_int_equal(remove_container("fake", NULL), 0);
}

/* --- CVE-2023-25809: control groups that were to be read-only were not, in a user namespace --- */

static void groups_in_a_user_namespace(struct fixture *f)
{
	static Grpc__LinuxIDMapping map = GRPC__LINUX_IDMAPPING__INIT, *maps[] = {&map};

	map.hostid = 0;
	map.size = 65536;
	f->linux_.uidmappings = f->linux_.gidmappings = maps;
	f->linux_.n_uidmappings = f->linux_.n_gidmappings = 1;
	add_namespace(f, "user", "");
	add_mount(f, "/sys", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro");
}

static void body_groups_are_read_only(void)
{
	check_script("ls /sys | grep -q . && touch /sys/made 2>&1; true",
		     groups_in_a_user_namespace, "touch: /sys/made: Read-only file system\n");
}

FIXTURE_MAIN(FIXTURE_TEST(cwd_in_a_descriptor), FIXTURE_TEST(entering_is_not_seen),
	     FIXTURE_TEST(proc_is_a_link), FIXTURE_TEST(mount_points_race),
	     FIXTURE_TEST(device_nodes_race), FIXTURE_TEST(dev_is_a_link),
	     FIXTURE_TEST(dev_is_a_trap), FIXTURE_TEST(proc_is_fake),
	     FIXTURE_TEST_GROUPS(groups_are_read_only))
