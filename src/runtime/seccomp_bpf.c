/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/seccomp_bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "base/sha256.h"
#include "runtime/blocking.h"

#define SYSCALLS_MAX 4096

static int find_action(const char *name, uint32_t errno_ret, uint32_t *ret)
{
	static const struct {
		const char *name;
		uint32_t action;
	} actions[] = {
		{"SCMP_ACT_KILL", SCMP_ACT_KILL},
		{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
		{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
		{"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
		{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
		{"SCMP_ACT_LOG", SCMP_ACT_LOG},
	};

	if (streq(name, "SCMP_ACT_ERRNO")) {
		*ret = SCMP_ACT_ERRNO(errno_ret & 0xffff);
		return 0;
	}
	if (streq(name, "SCMP_ACT_TRACE")) {
		*ret = SCMP_ACT_TRACE(errno_ret & 0xffff);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (streq(name, actions[i].name)) {
			*ret = actions[i].action;
			return 0;
		}
	}
	return -EINVAL;
}

static int find_op(const char *name, enum scmp_compare *ret)
{
	static const struct {
		const char *name;
		enum scmp_compare op;
	} ops[] = {
		{"SCMP_CMP_NE", SCMP_CMP_NE},
		{"SCMP_CMP_LT", SCMP_CMP_LT},
		{"SCMP_CMP_LE", SCMP_CMP_LE},
		{"SCMP_CMP_EQ", SCMP_CMP_EQ},
		{"SCMP_CMP_GE", SCMP_CMP_GE},
		{"SCMP_CMP_GT", SCMP_CMP_GT},
		{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (streq(name, ops[i].name)) {
			*ret = ops[i].op;
			return 0;
		}
	}
	return -EINVAL;
}

static int add_arches(scmp_filter_ctx ctx, const Grpc__LinuxSeccomp *profile, struct err *err)
{
	for (size_t i = 0; i < profile->n_architectures; i++) {
		const char *name = profile->architectures[i];
		char lower[32] = "";
		uint32_t arch;
		int r;

		/* "SCMP_ARCH_X86_64" is libseccomp's "x86_64". */
		name = str_has_prefix(name, "SCMP_ARCH_") ? name + strlen("SCMP_ARCH_") : name;
		for (size_t k = 0; k < sizeof(lower) - 1 && name[k]; k++)
			lower[k] = name[k] >= 'A' && name[k] <= 'Z' ? (char)(name[k] | 0x20)
								    : name[k];
		arch = seccomp_arch_resolve_name(lower);
		if (!arch)
			return err_setx(err, -EINVAL, "seccomp: unknown architecture %s",
					profile->architectures[i]);
		r = seccomp_arch_add(ctx, arch);
		if (r < 0 && r != -EEXIST)
			return err_set(err, r, "seccomp: architecture %s",
				       profile->architectures[i]);
	}
	return 0;
}

/*
 * Conditions on different arguments must all hold; several on the same argument are alternatives
 * (as runc reads a profile, since libseccomp allows one condition for an argument).
 */
static int add_rule(scmp_filter_ctx ctx, uint32_t action, int number,
		    const Grpc__LinuxSyscall *syscall)
{
	struct scmp_arg_cmp args[6];
	unsigned int seen[6] = {0}, n = 0;
	bool repeated = false;
	int r = 0;

	for (size_t i = 0; i < syscall->n_args; i++) {
		const Grpc__LinuxSeccompArg *arg = syscall->args[i];
		enum scmp_compare op;

		if (arg->index >= ARRAY_SIZE(args) || find_op(arg->op, &op) < 0)
			return -EINVAL;
		repeated |= seen[arg->index]++ > 0;
		if (i < ARRAY_SIZE(args))
			args[n++] = (struct scmp_arg_cmp){.arg = (unsigned int)arg->index,
							  .op = op,
							  .datum_a = arg->value,
							  .datum_b = arg->valuetwo};
	}
	if (!repeated)
		return seccomp_rule_add_array(ctx, action, number, n, args);
	for (size_t i = 0; r >= 0 && i < syscall->n_args; i++) {
		const Grpc__LinuxSeccompArg *arg = syscall->args[i];
		struct scmp_arg_cmp one = {.arg = (unsigned int)arg->index,
					   .datum_a = arg->value,
					   .datum_b = arg->valuetwo};

		find_op(arg->op, &one.op);
		r = seccomp_rule_add_array(ctx, action, number, 1, &one);
	}
	return r;
}

static int add_syscalls(scmp_filter_ctx ctx, const Grpc__LinuxSyscall *syscall,
			uint32_t default_action, struct err *err)
{
	uint32_t action, value = EPERM;
	int r;

	if (syscall->errno_ret_case == GRPC__LINUX_SYSCALL__ERRNO_RET_ERRNORET)
		value = syscall->errnoret;
	r = find_action(syscall->action, value, &action);
	if (r < 0)
		return err_setx(err, r, "seccomp: action %s is not supported", syscall->action);
	/* libseccomp refuses rules that say what the default says. */
	if (action == default_action)
		return 0;
	for (size_t i = 0; i < syscall->n_names; i++) {
		int number = seccomp_syscall_resolve_name(syscall->names[i]);

		/* Newer than libseccomp: the default holds, as in runc. */
		if (number == __NR_SCMP_ERROR)
			continue;
		r = add_rule(ctx, action, number, syscall);
		if (r < 0 && r != -EEXIST)
			return err_set(err, r, "seccomp: rule for %s", syscall->names[i]);
	}
	return 0;
}

static int export_bpf(scmp_filter_ctx ctx, uint8_t **ret, size_t *ret_n, struct err *err)
{
	_cleanup_(closep) int fd = memfd_create("bpf", MFD_CLOEXEC);
	_cleanup_(freep) uint8_t *bpf = NULL;
	ssize_t n;
	int r;

	if (fd < 0)
		return err_set(err, -errno, "seccomp: memfd");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return err_set(err, r, "seccomp: make the BPF program");
	bpf = xmalloc(SECCOMP_BPF_MAX + 1);
	lseek(fd, 0, SEEK_SET);
	n = fd_read_full(fd, bpf, SECCOMP_BPF_MAX + 1);
	if (n < 0)
		return err_set(err, (int)n, "seccomp: read the BPF program");
	if (n > SECCOMP_BPF_MAX)
		return err_setx(err, -E2BIG, "seccomp: the profile is too long for the kernel");
	*ret = TAKE_PTR(bpf);
	*ret_n = (size_t)n;
	return 0;
}

static void release(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

int seccomp_compile(const Grpc__LinuxSeccomp *profile, uint8_t **ret, size_t *ret_n,
		    struct err *err)
{
	_cleanup_(release) scmp_filter_ctx ctx = NULL;
	uint32_t action, value = EPERM;
	int r;

	if (!str_empty(profile->listenerpath))
		return err_setx(err, -ENOSYS, "seccomp: listenerPath is not supported");
	if (profile->opt_default_errno_ret_case ==
	    GRPC__LINUX_SECCOMP__OPT_DEFAULT_ERRNO_RET_DEFAULT_ERRNO_RET)
		value = profile->defaulterrnoret;
	r = find_action(profile->defaultaction, value, &action);
	if (r < 0)
		return err_setx(err, r, "seccomp: default action %s is not supported",
				profile->defaultaction);
	ctx = seccomp_init(action);
	if (!ctx)
		return err_setx(err, -ENOMEM, "seccomp: no filter could be made");
	/* The agent's to set, with the flags of the profile. */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	r = add_arches(ctx, profile, err);
	if (r < 0)
		return r;
	if (profile->n_syscalls > SYSCALLS_MAX)
		return err_setx(err, -E2BIG, "seccomp: more than %d rules", SYSCALLS_MAX);
	for (size_t i = 0; r >= 0 && i < profile->n_syscalls; i++)
		r = add_syscalls(ctx, profile->syscalls[i], action, err);
	return r < 0 ? r : export_bpf(ctx, ret, ret_n, err);
}

/* --- in a child, with the cache --- */

struct job {
	const Grpc__LinuxSeccomp *profile;
	const char *cached; /* path */
};

struct outcome {
	size_t n;
	char error[256];
	uint8_t bpf[SECCOMP_BPF_MAX];
};

static int compile_in_child(void *arg, void *reply)
{
	_cleanup_(freep) uint8_t *bpf = NULL;
	_cleanup_err_ struct err err = {0};
	const struct job *job = arg;
	struct outcome *out = reply;
	int r;

	r = seccomp_compile(job->profile, &bpf, &out->n, &err);
	if (r < 0) {
		snprintf(out->error, sizeof(out->error), "%s", err_text(&err));
		return r;
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): set when it succeeds */
	memcpy(out->bpf, bpf, out->n);
	fs_mkdir_all(SECCOMP_CACHE_DIR, 0700);
	fs_replace(job->cached, bpf, out->n, 0600, false);
	return 0;
}

/* The version is part of the name: another libseccomp may make another program. */
static char *cache_path(const Grpc__LinuxSeccomp *profile)
{
	size_t n = grpc__linux_seccomp__get_packed_size(profile);
	_cleanup_(freep) uint8_t *packed = xmalloc(n + 1);
	const struct scmp_version *version = seccomp_version();
	char name[SHA256_HEX_SIZE];

	grpc__linux_seccomp__pack(profile, packed);
	sha256_hex(packed, n, name);
	return xasprintf("%s/%s-%u.%u.%u.bpf", SECCOMP_CACHE_DIR, name, version->major,
			 version->minor, version->micro);
}

static bool read_cached(const char *path, struct outcome *out)
{
	_cleanup_(freep) char *data = NULL;

	if (fs_read(path, SECCOMP_BPF_MAX, &data, &out->n) < 0 || out->n == 0 || out->n % 8)
		return false;
	memcpy(out->bpf, data, out->n);
	return true;
}

int seccomp_prepare(Grpc__Spec *spec, const struct config *config, uint64_t deadline,
		    struct err *err)
{
	Grpc__LinuxSeccomp *profile = spec->linux ? spec->linux->seccomp : NULL;
	_cleanup_(freep) struct outcome *out = NULL;
	_cleanup_(freep) char *path = NULL;
	int r;

	if (!profile)
		return 0;
	if (config->runtime.disable_guest_seccomp) {
		grpc__linux_seccomp__free_unpacked(profile, NULL);
		spec->linux->seccomp = NULL;
		return 0;
	}
	path = cache_path(profile);
	out = xcalloc(1, sizeof(*out));
	if (!read_cached(path, out)) {
		r = blocking_run(compile_in_child, &(struct job){profile, path}, out, sizeof(*out),
				 deadline);
		if (r < 0 && *out->error)
			return err_setx(err, r, "%s", out->error);
		if (r < 0)
			return err_set(err, r, "compile the seccomp profile");
	}
	free(profile->bpf.data);
	profile->bpf.data = xmemdup(out->bpf, out->n);
	profile->bpf.len = out->n;
	/* The rules themselves are not needed any more, and they are long. */
	while (profile->n_syscalls)
		grpc__linux_syscall__free_unpacked(profile->syscalls[--profile->n_syscalls], NULL);
	free(profile->syscalls);
	profile->syscalls = NULL;
	return 0;
}

int seccomp_check(const Grpc__Spec *spec, const struct agent_client *agent, struct err *err)
{
	if (!spec->linux || !spec->linux->seccomp || agent_has(agent, SECCOMP_FEATURE))
		return 0;
	return err_setx(err, -ENOSYS,
			"the agent in the guest (version %s) cannot enforce a compiled seccomp "
			"profile; use our agent, or set disable_guest_seccomp = true",
			agent_version(agent));
}
