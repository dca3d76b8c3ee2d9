/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/caller.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "bootstrap.pb-c.h"
#include "google/protobuf/any.pb-c.h"
#include "runtimeoptions.pb-c.h"
#include "shim/buildinfo.h"

/*
 * How it works: containerd up to 2.2 sends the runtime's options as one google.protobuf.Any, or
 * nothing; from 2.3 on a BootstrapParams message, which can be told apart because its first field
 * is our -id. CRI-O sends nothing and has no address.
 *
 * Which answer the caller understands is said by nothing it sends: 1.7 and 2.2 set the very same
 * variables (MAX_SHIM_VERSION is 2 in both), and 1.7 refuses a version 3 that 2.x needs, lest it
 * speak task v2 and start a shim per container. Bootstrap parameters mean 2.3 or newer; for the
 * rest the caller's own program tells, whose list of modules names containerd/v2 from 2.0 on (also
 * in k3s and others that contain containerd). In doubt the answer is the bare address, which
 * everybody takes.
 */

#define CONTAINERD_V2 "github.com/containerd/containerd/v2"
/* A caller that starts to write and never ends does not keep us for ever. */
#define INPUT_TIMEOUT (5 * USEC_PER_SEC)

static int read_input(int fd, struct buf *b, struct err *err)
{
	uint64_t deadline = clock_after(INPUT_TIMEOUT);

	if (isatty(fd))
		return 0;
	for (;;) {
		struct pollfd pollfd = {.fd = fd, .events = POLLIN};
		uint64_t now = clock_now();
		ssize_t n;

		if (now >= deadline || poll(&pollfd, 1, (int)((deadline - now) / 1000) + 1) == 0)
			return err_set(err, -ETIMEDOUT, "read the options on standard input");
		if (pollfd.revents & POLLNVAL)
			return 0;
		buf_reserve(b, 4096);
		n = read(fd, b->data + b->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, -errno, "read the options on standard input");
		if (n == 0)
			return 0;
		b->len += n;
		if (b->len > CALLER_INPUT_MAX)
			return err_set(err, -EFBIG, "read the options on standard input");
	}
}

char *runtime_options_path(const char *type_url, const void *p, size_t n)
{
	Runtimeoptions__V1__Options *options;
	char *path = NULL;

	/* typeurl and gogo's registry differ in the prefix, and old clients have Kata's name. */
	if (!str_has_suffix(type_url, "runtimeoptions.v1.Options"))
		return NULL;
	options = runtimeoptions__v1__options__unpack(NULL, n, p);
	if (options && !str_empty(options->config_path))
		path = xstrdup(options->config_path);
	if (options)
		runtimeoptions__v1__options__free_unpacked(options, NULL);
	return path;
}

static void set(char **field, const char *value)
{
	if (str_empty(value))
		return;
	free(*field);
	*field = xstrdup(value);
}

static void take_options(struct caller *c, const Google__Protobuf__Any *any)
{
	char *path = runtime_options_path(any->type_url, any->value.data, any->value.len);

	if (!path)
		return;
	free(c->config_path);
	c->config_path = path;
}

static void take_bootstrap(struct caller *c,
			   const Containerd__Runtime__Bootstrap__V1__BootstrapParams *params)
{
	set(&c->address, params->containerd_grpc_address);
	set(&c->ttrpc_address, params->containerd_ttrpc_address);
	if (params->opt_socket_dir_case)
		set(&c->socket_dir, params->socket_dir);
	if (params->log_level <= CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_DEBUG)
		c->debug = true;
	for (size_t i = 0; i < params->n_extensions; i++)
		if (params->extensions[i]->value)
			take_options(c, params->extensions[i]->value);
	c->task_v3 = true;
}

static int take_input(struct caller *c, const char *id, const void *p, size_t n, struct err *err)
{
	Containerd__Runtime__Bootstrap__V1__BootstrapParams *params;
	Google__Protobuf__Any *any;

	if (n == 0)
		return 0;
	params = containerd__runtime__bootstrap__v1__bootstrap_params__unpack(NULL, n, p);
	if (params && streq(params->instance_id, id)) {
		take_bootstrap(c, params);
		containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(params, NULL);
		return 0;
	}
	if (params)
		containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(params, NULL);
	any = google__protobuf__any__unpack(NULL, n, p);
	if (!any)
		return err_setx(err, -EINVAL,
				"standard input has neither runtime options nor bootstrap "
				"parameters");
	take_options(c, any);
	google__protobuf__any__free_unpacked(any, NULL);
	return 0;
}

int caller_parse(const struct options *options, const void *p, size_t n, struct caller *ret,
		 struct err *err)
{
	_cleanup_(caller_fini) struct caller c = {.debug = options->debug};
	int r;

	c.address = xstrdup(options->address);
	c.ttrpc_address = xstrdup("");
	c.socket_dir = xstrdup("");
	c.config_path = xstrdup("");
	set(&c.ttrpc_address, getenv("TTRPC_ADDRESS"));
	r = take_input(&c, options->id, p, n, err);
	if (r < 0)
		return r;
	*ret = c;
	c = (struct caller){0};
	return 0;
}

/* The running program is asked first: the file may have been replaced by an upgrade. */
static bool speaks_task_v3(const struct options *options)
{
	char parent[64];
	int r;

	if (str_empty(options->address))
		return false;
	snprintf(parent, sizeof(parent), "/proc/%d/exe", getppid());
	r = buildinfo_has_module(parent, CONTAINERD_V2);
	if (r < 0 && !str_empty(options->publish_binary))
		r = buildinfo_has_module(options->publish_binary, CONTAINERD_V2);
	return r > 0;
}

int caller_read(const struct options *options, int input, struct caller *ret, struct err *err)
{
	_cleanup_(buf_fini) struct buf b = {0};
	int r = read_input(input, &b, err);

	if (r < 0)
		return r;
	r = caller_parse(options, b.data, b.len, ret, err);
	if (r < 0)
		return r;
	if (!ret->task_v3)
		ret->task_v3 = speaks_task_v3(options);
	return 0;
}

bool caller_is_crio(const struct caller *caller)
{
	return str_empty(caller->address);
}

void caller_fini(struct caller *caller)
{
	free(caller->address);
	free(caller->ttrpc_address);
	free(caller->socket_dir);
	free(caller->config_path);
	*caller = (struct caller){0};
}
