/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/test.h"
#include "runtime/device.h"
#include "runtime/spec_guest.h"

#define FILE_MODE (S_IFREG | 0644)
#define DIR_MODE  (S_IFDIR | 0755)

static void classify(void **state)
{
	static const struct {
		const char *destination, *type, *source, *option;
		mode_t mode;
		bool on_tmpfs;
		enum volume_kind kind;
	} rows[] = {
		{"/proc", "proc", "proc", "nosuid", 0, false, VOLUME_GUEST},
		{"/sys", "sysfs", "sysfs", "ro", 0, false, VOLUME_GUEST},
		{"/dev", "tmpfs", "tmpfs", "mode=755", 0, false, VOLUME_GUEST},
		{"/dev/shm", "tmpfs", "shm", "size=1k", 0, false, VOLUME_GUEST},
		{"/dev/pts", "devpts", "devpts", "newinstance", 0, false, VOLUME_GUEST},
		{"/sys/fs/cgroup", "cgroup", "cgroup", "ro", 0, false, VOLUME_GUEST},
		{"/dev/shm", "bind", "/run/x/shm", "rbind", DIR_MODE, true, VOLUME_SHM},
		{"/etc/hosts", "bind", "/var/x/hosts", "rbind", FILE_MODE, false, VOLUME_SHARED},
		{"/data", "", "/srv/data", "rbind", DIR_MODE, false, VOLUME_SHARED},
		{"/data", "none", "/srv/data", "bind", DIR_MODE, false, VOLUME_SHARED},
		/* What is the host's kernel's is never shown to the guest. */
		{"/host/sys", "bind", "/sys", "rbind", DIR_MODE, false, VOLUME_GUEST_BIND},
		{"/x", "bind", "/proc/1/root", "rbind", DIR_MODE, false, VOLUME_GUEST_BIND},
		{"/x", "bind", "/sys/fs/cgroup", "rbind", DIR_MODE, false, VOLUME_GUEST_BIND},
		{"/x", "bind", "/dev", "rbind", DIR_MODE, false, VOLUME_GUEST_BIND},
		{"/x", "bind", "/dev/sda", "rbind", S_IFBLK | 0600, false, VOLUME_GUEST_BIND},
		{"/x", "bind", "/dev/kvm", "rbind", S_IFCHR | 0600, false, VOLUME_GUEST_BIND},
		{"/x", "bind", "/system", "rbind", DIR_MODE, false, VOLUME_SHARED},
		{"/c", "bind", "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/cache",
		 "rbind", DIR_MODE, true, VOLUME_EPHEMERAL},
		{"/c", "bind", "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/cache",
		 "rbind", DIR_MODE, false, VOLUME_SHARED},
		{"/x", "ext4", "/dev/sda1", "rw", 0, false, _VOLUME_UNSUPPORTED},
		{"/x", "nfs", "host:/x", "rw", 0, false, _VOLUME_UNSUPPORTED},
		{"/x", "overlay", "overlay", "lowerdir=/", 0, false, _VOLUME_UNSUPPORTED},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *options[] = {(char *)rows[i].option};
		struct volume_source source = {
			.exists = true, .mode = rows[i].mode, .on_tmpfs = rows[i].on_tmpfs};
		Grpc__Mount mount = GRPC__MOUNT__INIT;

		mount.destination = (char *)rows[i].destination;
		mount.type = (char *)rows[i].type;
		mount.source = (char *)rows[i].source;
		mount.options = options;
		mount.n_options = 1;
		if (volume_classify(&mount, &source, true) != rows[i].kind)
			fail_msg("row %zu: %s", i, rows[i].source);
	}
}

static unsigned long flags_of(const char *a, const char *b, const char *c, bool *recursive)
{
	char *options[] = {(char *)a, (char *)b, (char *)c};
	Grpc__Mount mount = GRPC__MOUNT__INIT;

	mount.options = options;
	mount.n_options = 3;
	return volume_bind_flags(&mount, recursive);
}

static void flags(void **state)
{
	bool recursive;

	(void)state;
	assert_int_equal(flags_of("rbind", "rprivate", "ro", &recursive), MS_REC | MS_RDONLY);
	assert_false(recursive);
	assert_int_equal(flags_of("bind", "rprivate", "rw", &recursive), 0);
	assert_int_equal(flags_of("rbind", "rro", "rslave", &recursive),
			 MS_REC | MS_RDONLY | MS_SLAVE);
	assert_true(recursive);
	/* The last one wins. */
	assert_int_equal(flags_of("bind", "ro", "rw", &recursive), 0);
	assert_int_equal(flags_of("bind", "rw", "ro", &recursive), MS_RDONLY);
}

struct plan {
	struct share share;
	struct host_mounts mounts;
	Grpc__Storage **storages;
	size_t n_storages;
	struct volume_source *sources;
	Grpc__Spec *copy;
};

static void plan_fini(struct plan *p)
{
	share_fini(&p->share);
	host_mounts_fini(&p->mounts);
	for (size_t i = 0; i < p->n_storages; i++)
		grpc__storage__free_unpacked(p->storages[i], NULL);
	free(p->storages);
	free(p->sources);
	grpc__spec__free_unpacked(p->copy, NULL);
}

static bool no_share;

static int prepare(const char *destination, const char *type, const char *source, struct plan *p,
		   struct err *err)
{
	Grpc__Mount mount = GRPC__MOUNT__INIT, *mounts[] = {&mount};
	char *options[] = {(char *)"rbind", (char *)"ro"};
	Grpc__Spec spec = GRPC__SPEC__INIT;

	mount.destination = (char *)destination;
	mount.type = (char *)type;
	mount.source = (char *)source;
	mount.options = options;
	mount.n_options = streq(type, "bind") ? 2 : 0;
	spec.n_mounts = 1;
	spec.mounts = mounts;
	*p = (struct plan){.copy = spec_copy(&spec)};
	share_init(&p->share, "s1", no_share ? 0 : _SHARE_MAX);
	return volumes_prepare(p->copy, "c1", &p->share, &p->mounts, &p->storages, &p->n_storages,
			       &p->sources, USEC_NEVER, err);
}

/* Wherever kubelet's root is; never one that a container may write, nor a part of one. */
static void live(void **state)
{
	static const struct {
		const char *source, *option;
		bool atomic;
		enum volume_kind kind;
	} rows[] = {
#define PODS "/var/lib/kubelet/pods/u/volumes/"
		{PODS "kubernetes.io~configmap/cfg", "ro", true, VOLUME_LIVE},
		{PODS "kubernetes.io~secret/key", "ro", true, VOLUME_LIVE},
		{PODS "kubernetes.io~projected/kube-api-access-x", "ro", true, VOLUME_LIVE},
		{PODS "kubernetes.io~downward-api/info", "ro", true, VOLUME_LIVE},
		{"/k/volumes/kubernetes.io~configmap/cfg", "ro", true, VOLUME_LIVE},
		{PODS "kubernetes.io~configmap/cfg", "rw", true, VOLUME_SHARED},
		{PODS "kubernetes.io~configmap/cfg", "ro", false, VOLUME_SHARED},
		{PODS "kubernetes.io~configmap/cfg/key", "ro", true, VOLUME_SHARED},
		{PODS "kubernetes.io~configmap/../x", "ro", true, VOLUME_SHARED},
		{PODS "kubernetes.io~configmap", "ro", true, VOLUME_SHARED},
		{PODS "kubernetes.io~csi/cfg", "ro", true, VOLUME_SHARED},
		{PODS "kubernetes.io~empty-dir/cfg", "ro", true, VOLUME_SHARED},
		{"/k/pods/u/volume-subpaths/cfg/c/0", "ro", true, VOLUME_SHARED},
		{"/kubernetes.io~configmap/cfg", "ro", true, VOLUME_SHARED},
		{"/proc/1/root" PODS "kubernetes.io~secret/key", "ro", true, VOLUME_GUEST_BIND},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *options[] = {(char *)"rbind", (char *)rows[i].option};
		struct volume_source source = {
			.exists = true, .mode = DIR_MODE, .atomic = rows[i].atomic};
		Grpc__Mount mount = GRPC__MOUNT__INIT;

		mount.destination = (char *)"/cfg";
		mount.type = (char *)"bind";
		mount.source = (char *)rows[i].source;
		mount.options = options;
		mount.n_options = 2;
		if (volume_classify(&mount, &source, true) != rows[i].kind)
			fail_msg("row %zu: %s", i, rows[i].source);
	}
}

/* An emptyDir is the guest's own then, and a file is copied. */
static void kinds_without_share(_unused_ void **state)
{
	static const char empty_dir[] = "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/x";
	struct volume_source source = {.exists = true, .mode = S_IFDIR | 0777};
	char *options[] = {(char *)"rbind"};
	Grpc__Mount mount = GRPC__MOUNT__INIT;

	mount.destination = (char *)"/x";
	mount.type = (char *)"bind";
	mount.source = (char *)empty_dir;
	mount.options = options;
	mount.n_options = 1;
	assert_int_equal(volume_classify(&mount, &source, false), VOLUME_EPHEMERAL);
	mount.source = (char *)"/srv/x";
	assert_int_equal(volume_classify(&mount, &source, false), VOLUME_SHARED);
	source.mode = S_IFREG | 0644;
	assert_int_equal(volume_classify(&mount, &source, false), VOLUME_COPIED);
	mount.source = (char *)"/proc/version";
	assert_int_equal(volume_classify(&mount, &source, false), VOLUME_GUEST_BIND);
}

/* With shared_fs = "none" what the guest has itself still works. */
static void nothing_shared(void **state)
{
	_cleanup_(plan_fini) struct plan p, q, r;
	_cleanup_err_ struct err err = {0};

	(void)state;
	no_share = true;
	assert_int_equal(prepare("/x", "bind", "/etc", &p, &err), -ENOSYS);
	assert_non_null(strstr(err_text(&err), "/etc is the host's"));
	assert_int_equal(p.mounts.n, 0);
	assert_int_equal(prepare("/proc", "proc", "proc", &q, NULL), 0);
	/* Files are left for when there is a guest. */
	assert_int_equal(prepare("/etc/x", "bind", "/etc/passwd", &r, NULL), 0);
	assert_int_equal(r.sources[0].kind, VOLUME_COPIED);
	assert_string_equal(r.copy->mounts[0]->source, "/etc/passwd");
	assert_int_equal(r.mounts.n, 0);
	no_share = false;
}

/* One mount of a spec whose user namespace maps to 65536, its own mappings to 7000. */
struct mapped_row {
	const char *destination, *source, *option;
	bool uids, gids;
	size_t n_linux;
	int result;
	uint32_t outside; /* 0: not mapped */
};

static int prepare_mapped(const struct mapped_row *row, struct plan *p)
{
	Grpc__LinuxIDMapping own = GRPC__LINUX_IDMAPPING__INIT, users = own;
	Grpc__LinuxIDMapping *owns[] = {&own}, *all[] = {&users};
	Grpc__Mount mount = GRPC__MOUNT__INIT, *mounts[] = {&mount};
	char *options[] = {(char *)"rbind", (char *)row->option};
	Grpc__Linux linux = GRPC__LINUX__INIT;
	Grpc__Spec spec = GRPC__SPEC__INIT;

	own.hostid = 7000;
	users.hostid = 65536;
	own.size = users.size = 10;
	mount.destination = (char *)row->destination;
	mount.type = (char *)"bind";
	mount.source = (char *)row->source;
	mount.options = options;
	mount.n_options = ARRAY_SIZE(options);
	mount.uidmappings = mount.gidmappings = owns;
	mount.n_uidmappings = row->uids;
	mount.n_gidmappings = row->gids;
	linux.uidmappings = linux.gidmappings = all;
	linux.n_uidmappings = linux.n_gidmappings = row->n_linux;
	spec.linux = &linux;
	spec.n_mounts = 1;
	spec.mounts = mounts;
	*p = (struct plan){.copy = spec_copy(&spec)};
	share_init(&p->share, "s1", _SHARE_MAX);
	return volumes_prepare(p->copy, "c1", &p->share, &p->mounts, &p->storages, &p->n_storages,
			       &p->sources, USEC_NEVER, NULL);
}

/* Mappings become those of the host's mount; the agent does not hear of them. */
static void mapped(void **state)
{
	static const struct mapped_row rows[] = {
		{"/etc/x", "/etc/passwd", "ro", false, false, 1, 0, 0},
		{"/etc/x", "/etc/passwd", "ro", true, true, 1, 0, 7000},
		{"/etc/x", "/etc/passwd", "ridmap", true, true, 1, 0, 7000},
		{"/etc/x", "/etc/passwd", "idmap", false, false, 1, 0, 65536},
		{"/etc/x", "/etc/passwd", "ridmap", false, false, 1, 0, 65536},
		{"/etc/x", "/etc/passwd", "idmap", false, false, 0, -EINVAL, 0},
		{"/etc/x", "/etc/passwd", "ro", true, false, 1, -EINVAL, 0},
		{"/etc/x", "/etc/passwd", "ro", false, true, 1, -EINVAL, 0},
		{"/x", "/sys", "ro", true, true, 1, -ENOTSUP, 0},
		{"/dev/shm", "/tmp", "ro", true, true, 1, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(plan_fini) struct plan p;
		const Grpc__Mount *m;

		assert_int_equal(prepare_mapped(&rows[i], &p), rows[i].result);
		if (rows[i].result < 0)
			continue;
		m = p.copy->mounts[0];
		assert_int_equal(m->n_uidmappings + m->n_gidmappings, 0);
		assert_int_equal(m->n_options, str_has_suffix(rows[i].option, "idmap") ? 1 : 2);
		if (!p.mounts.n)
			continue;
		assert_int_equal(p.mounts.v[0].idmap.n_uids, rows[i].outside != 0);
		assert_int_equal(p.mounts.v[0].idmap.n_gids, rows[i].outside != 0);
		assert_int_equal(p.mounts.v[0].recursive_idmap, streq(rows[i].option, "ridmap"));
		if (rows[i].outside)
			assert_int_equal(p.mounts.v[0].idmap.gids[0].outside, rows[i].outside);
	}
}

/* The guest's path of what two containers mount, whose first one has mounted it, is one path only
 * when they mount it in the same way. */
static void joined(void **state)
{
	struct ns_mapping here = {0, 65536, 10}, there = {0, 7000, 10};
	struct ns_maps mapped = {&here, &here, 1, 1}, otherwise = {&here, &there, 1, 1};
	const struct host_mount first = {.source = (char *)"/v", .idmap = mapped};
	const struct {
		struct host_mount bind;
		struct host_file source;
		bool same;
	} rows[] = {
		{{.source = (char *)"/v", .idmap = mapped}, {1, 2}, true},
		{{.source = (char *)"/v"}, {1, 2}, false},
		{{.source = (char *)"/v", .idmap = otherwise}, {1, 2}, false},
		{{.source = (char *)"/v", .idmap = mapped, .recursive_idmap = true}, {1, 2}, false},
		{{.source = (char *)"/v", .idmap = mapped, .flags = MS_RDONLY}, {1, 2}, false},
		{{.source = (char *)"/w", .idmap = mapped}, {1, 2}, false},
		{{.source = (char *)"/v", .idmap = mapped}, {1, 3}, false},
		{{.source = (char *)"/v", .idmap = mapped}, {3, 2}, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct host_file source = {1, 2};
		struct host_mounts one = {0}, two = {0};
		_cleanup_(freep) char *a = NULL, *b = NULL;
		struct share share;

		share_init(&share, "s1", _SHARE_MAX);
		a = share_add_volume(&share, &one, &first, &source, "one");
		one.v[0].users->mounted = true;
		b = share_add_volume(&share, &two, &rows[i].bind, &rows[i].source, "two");
		assert_string_equal(path_name(a), "one");
		assert_string_equal(path_name(b), rows[i].same ? "one" : "two");
		assert_int_equal(two.v[0].others, rows[i].same);
		host_mounts_fini(&one);
		host_mounts_fini(&two);
		assert_true(list_empty(&share.volumes));
		share_fini(&share);
	}
}

static void shared(void **state)
{
	_cleanup_(plan_fini) struct plan p;

	(void)state;
	assert_int_equal(prepare("/etc/x", "bind", "/etc/passwd", &p, NULL), 0);
	assert_string_equal(p.copy->mounts[0]->source,
			    "/run/kata-containers/shared/containers/c1-0-passwd");
	assert_int_equal(p.mounts.n, 1);
	assert_string_equal(p.mounts.v[0].source, "/etc/passwd");
	assert_string_equal(p.mounts.v[0].target, SHARE_ROOT "/s1/mounts/c1-0-passwd");
	assert_int_equal(p.mounts.v[0].flags, MS_REC | MS_RDONLY);
}

static void pod_shm(void **state)
{
	_cleanup_(plan_fini) struct plan p;

	(void)state;
	assert_int_equal(prepare("/dev/shm", "bind", "/tmp", &p, NULL), 0);
	assert_string_equal(p.copy->mounts[0]->source, VOLUME_GUEST_SHM);
	assert_int_equal(p.mounts.n, 0);
}

static void refused(void **state)
{
	_cleanup_err_ struct err err = {0};
	struct plan p;

	(void)state;
	assert_int_equal(prepare("/x", "bind", "/does/not/exist", &p, &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "/does/not/exist"));
	plan_fini(&p);
	assert_int_equal(prepare("/x", "nfs", "host:/x", &p, &err), -ENOSYS);
	plan_fini(&p);
	assert_int_equal(prepare("/x/../../y", "bind", "/etc", &p, &err), -EINVAL);
	plan_fini(&p);
	assert_int_equal(prepare("x", "bind", "/etc", &p, &err), -EINVAL);
	plan_fini(&p);
}

static void devices(void **state)
{
	static const struct {
		const char *path, *type;
		int major, minor;
		bool privileged;
		enum device_fate fate;
	} rows[] = {
		{"/dev/null", "c", 1, 3, false, DEVICE_GUEST},
		{"/dev/nothing", "c", 1, 3, false, DEVICE_GUEST},
		{"/dev/fuse", "c", 10, 229, false, DEVICE_GUEST},
		{"/dev/fifo", "p", 0, 0, false, DEVICE_GUEST},
		{"/dev/sda", "b", 8, 0, false, DEVICE_PLUG},
		/* 1:3 of block devices is a RAM disk. */
		{"/dev/ram3", "b", 1, 3, false, DEVICE_PLUG},
		{"/dev/kvm", "c", 10, 232, false, DEVICE_REFUSE},
		{"/dev/mem", "c", 1, 1, false, DEVICE_REFUSE},
		/* Never a disk of the host for a container that asks for everything. */
		{"/dev/sda", "b", 8, 0, true, DEVICE_LEAVE_OUT},
		{"/dev/kvm", "c", 10, 232, true, DEVICE_LEAVE_OUT},
		{"/dev/null", "c", 1, 3, true, DEVICE_GUEST},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		Grpc__LinuxDevice device = GRPC__LINUX_DEVICE__INIT;

		device.path = (char *)rows[i].path;
		device.type = (char *)rows[i].type;
		device.major = rows[i].major;
		device.minor = rows[i].minor;
		if (device_judge(&device, rows[i].privileged) != rows[i].fate)
			fail_msg("row %zu: %s", i, rows[i].path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classify),
		cmocka_unit_test(flags),
		cmocka_unit_test(shared),
		cmocka_unit_test(nothing_shared),
		cmocka_unit_test(kinds_without_share),
		cmocka_unit_test(pod_shm),
		cmocka_unit_test(refused),
		cmocka_unit_test(devices),
		cmocka_unit_test(mapped),
		cmocka_unit_test(live),
		cmocka_unit_test(joined),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
