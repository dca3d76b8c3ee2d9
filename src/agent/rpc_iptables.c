/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/rpc.h"
#include "base/fd.h"
#include "base/spawn.h"

/*
 * GetIPTables and SetIPTables run iptables-save and iptables-restore of the guest image; an image
 * without them (ours, unless they were added) answers that. In a child that owns the pipes, so that
 * both may block.
 */

#define OUTPUT_MAX (1U << 20)
#define RUN_TIME   (5 * USEC_PER_SEC)

struct output {
	size_t n;
	uint8_t data[OUTPUT_MAX];
};

struct run {
	const char *program;
	const ProtobufCBinaryData *input; /* NULL: none */
};

static const char *find_program(const char *const *paths)
{
	for (; *paths; paths++)
		if (access(*paths, X_OK) == 0)
			return *paths;
	return NULL;
}

static int input_file(const ProtobufCBinaryData *input)
{
	_cleanup_(closep) int fd = memfd_create("input", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, input->data, input->len);
	if (r < 0)
		return r;
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : TAKE_FD(fd);
}

static int run_in_child(void *arg, void *reply)
{
	const struct run *run = arg;
	struct output *output = reply;
	char *argv[] = {(char *)run->program, NULL};
	_cleanup_(closep) int in = -1, out = -1;
	struct spawn spawn = {.path = run->program, .argv = argv, .err = -1};
	int pipe_fds[2], status;
	ssize_t n;
	pid_t pid;

	if (run->input) {
		in = input_file(run->input);
		if (in < 0)
			return in;
	}
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	out = pipe_fds[0];
	spawn.in = in;
	spawn.out = pipe_fds[1];
	spawn.die_with_parent = true;
	pid = spawn_start(&spawn);
	close(pipe_fds[1]);
	if (pid < 0)
		return pid;
	n = fd_read_full(out, output->data, sizeof(output->data));
	out = fd_close(out);
	status = spawn_wait(pid);
	if (n < 0)
		return (int)n;
	output->n = (size_t)n;
	return status == 0 ? 0 : -EINVAL;
}

static int run(struct ttrpc_call *call, const char *const *paths, const ProtobufCBinaryData *input,
	       ProtobufCBinaryData *ret, struct err *err)
{
	_cleanup_(freep) struct output *output = NULL;
	struct run what = {.input = input};
	int r;

	what.program = find_program(paths);
	if (!what.program)
		return err_setx(err, -ENOSYS, "%s: the guest image has no %s",
				ttrpc_call_method(call), paths[0]);
	output = xcalloc(1, sizeof(*output));
	r = co_run_child(run_in_child, &what, output, sizeof(*output), clock_after(RUN_TIME));
	if (r < 0)
		return err_set(err, r, "run %s", what.program);
	ret->len = MIN(output->n, sizeof(output->data));
	ret->data = ttrpc_call_alloc(call, ret->len + 1);
	memcpy(ret->data, output->data, ret->len);
	return 0;
}

RPC(get_ip_tables)
{
	static const char *const save[] = {"/sbin/iptables-save", "/usr/sbin/iptables-save", NULL};
	static const char *const save6[] = {"/sbin/ip6tables-save", "/usr/sbin/ip6tables-save",
					    NULL};
	const Grpc__GetIPTablesRequest *request = request_;
	Grpc__GetIPTablesResponse *response = response_;

	return run(call, request->is_ipv6 ? save6 : save, NULL, &response->data, err);
}

RPC(set_ip_tables)
{
	static const char *const restore[] = {"/sbin/iptables-restore",
					      "/usr/sbin/iptables-restore", NULL};
	static const char *const restore6[] = {"/sbin/ip6tables-restore",
					       "/usr/sbin/ip6tables-restore", NULL};
	const Grpc__SetIPTablesRequest *request = request_;
	Grpc__SetIPTablesResponse *response = response_;

	return run(call, request->is_ipv6 ? restore6 : restore, &request->data, &response->data,
		   err);
}
