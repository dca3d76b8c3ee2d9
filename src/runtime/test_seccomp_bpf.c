/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/seccomp_bpf.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"
#include "oci/spec_json.h"

static int compile(const char *profile, uint8_t **ret, size_t *ret_n, struct err *err)
{
	_cleanup_(oci_spec_freep) struct oci_spec *spec = NULL;
	_cleanup_(freep) char *json = NULL;

	json = xasprintf("{\"ociVersion\":\"1.0.2\",\"process\":{\"cwd\":\"/\",\"args\":[\"sh\"],"
			 "\"user\":{\"uid\":0,\"gid\":0}},\"root\":{\"path\":\"r\"},"
			 "\"linux\":{\"seccomp\":{%s}}}",
			 profile);
	if (oci_spec_parse(json, strlen(json), &spec, err) < 0)
		fail_msg("%s", err_text(err));
	return seccomp_compile(spec->spec->linux->seccomp, ret, ret_n, err);
}

/* What the kernel makes of it: the child's exit status. */
static int under(const uint8_t *bpf, size_t n, int (*fn)(void))
{
	struct sock_fprog program = {.len = (unsigned short)(n / sizeof(struct sock_filter)),
				     .filter = (struct sock_filter *)bpf};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
			_exit(99);
		/* Nothing else: a sanitizer's _exit() makes calls of its own. */
		syscall(SYS_exit_group, fn());
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int try_getppid(void)
{
	return syscall(SYS_getppid) < 0 ? errno : 0;
}

static int try_personality(void)
{
	return syscall(SYS_personality, 8) < 0 ? errno : 0;
}

static int try_other_personality(void)
{
	return syscall(SYS_personality, 0xffffffff) < 0 ? errno : 0;
}

static void works(void **state)
{
	_cleanup_(freep) uint8_t *bpf = NULL;
	_cleanup_err_ struct err err = {0};
	size_t n;

	(void)state;
	if (compile("\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_X86_64\","
		    "\"SCMP_ARCH_X86\"],\"syscalls\":[{\"names\":[\"getppid\",\"no_such_call\"],"
		    "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38},"
		    "{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
		    "{\"index\":0,\"value\":8,\"op\":\"SCMP_CMP_EQ\"},"
		    "{\"index\":0,\"value\":9,\"op\":\"SCMP_CMP_EQ\"}]},"
		    "{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"}]",
		    &bpf, &n, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(n % sizeof(struct sock_filter), 0);
	assert_int_equal(under(bpf, n, try_getppid), ENOSYS);
	assert_int_equal(under(bpf, n, try_personality), EPERM);
	assert_int_equal(under(bpf, n, try_other_personality), 0);
}

static void defaults(void **state)
{
	_cleanup_(freep) uint8_t *bpf = NULL;
	_cleanup_err_ struct err err = {0};
	size_t n;

	(void)state;
	if (compile("\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":7,\"syscalls\":["
		    "{\"names\":[\"exit\",\"exit_group\"],\"action\":\"SCMP_ACT_ALLOW\"}]",
		    &bpf, &n, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(under(bpf, n, try_getppid), 7);
}

static void refused(void **state)
{
	static const char *const bad[] = {
		"\"defaultAction\":\"SCMP_ACT_NOTIFY\"",
		"\"defaultAction\":\"ALLOW\"",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_Z80\"]",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\"",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
		"\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":6,\"value\":1,"
		"\"op\":\"SCMP_CMP_EQ\"}]}]",
		"\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
		"\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,\"value\":1,"
		"\"op\":\"SCMP_CMP_ABOUT\"}]}]",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_err_ struct err err = {0};
		uint8_t *bpf = NULL;
		size_t n;

		assert_true(compile(bad[i], &bpf, &n, &err) < 0);
		assert_non_null(strstr(err_text(&err), "seccomp"));
		assert_null(bpf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(works),
		cmocka_unit_test(defaults),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
