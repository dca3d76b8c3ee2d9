/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/random.h>

#include "agent_client/dial.h"
#include "base/fd.h"
#include "base/log.h"
#include "kernel/vhost_vsock.h"
#include "runtime/boot.h"

/*
 * How it works: the channel to the agent is a vsock where the host has vhost-vsock, as in Kata, and
 * a virtio-serial port, which needs nothing but QEMU, where it has not, or where kernel_params of
 * the configuration tell the agent so. The choice comes before the VM, whose kernel command line
 * has it (the agent would wait for a port before it takes a vsock).
 */

#define CID_FIRST    3U /* below: the hypervisor, loopback and the host (vsock(7)) */
#define CID_ATTEMPTS 64

/* --- the choice --- */

/* A context id that nobody has: a random one, since other VMs' owners do not ask us. */
static int take_cid(int fd, uint32_t *ret)
{
	int r = -EADDRINUSE;

	for (int i = 0; r == -EADDRINUSE && i < CID_ATTEMPTS; i++) {
		uint32_t cid;

		if (getrandom(&cid, sizeof(cid), 0) != sizeof(cid))
			return -EIO;
		/* The last one means "any". */
		if (cid < CID_FIRST || cid == UINT32_MAX)
			cid = CID_FIRST;
		r = vhost_vsock_set_cid(fd, cid);
		if (r >= 0)
			*ret = cid;
	}
	return r;
}

static int open_vsock(const struct config *config, uint32_t *ret_cid)
{
	_cleanup_(strv_fini) struct strv params = {0};
	_cleanup_(closep) int fd = -1;
	int r;

	/* The one that a saved VM can have. */
	if (config->factory.enable_template)
		return -ECANCELED;
	strv_split(&params, config->hypervisor.kernel_params, " ");
	if (strv_contains(&params, "agent.channel=serial"))
		return -ECANCELED;
	fd = vhost_vsock_open();
	if (fd < 0)
		return fd;
	r = take_cid(fd, ret_cid);
	return r < 0 ? r : TAKE_FD(fd);
}

int boot_choose_channel(void *context, struct err *err)
{
	struct sandbox *s = context;
	int fd = open_vsock(s->config, &s->cid);

	(void)err;
	free(s->agent_url);
	if (fd < 0) {
		log_debug("no vhost-vsock (%s): the agent is reached over a serial port",
			  strerror(-fd));
		s->cid = 0;
		s->agent_url = xstrdup("port:" BOOT_AGENT_PORT);
		return 0;
	}
	s->vsock_fd = fd;
	s->agent_url = xasprintf("vsock://%u:%d", s->cid, AGENT_PORT);
	return 0;
}

void boot_drop_channel(void *context)
{
	struct sandbox *s = context;

	s->vsock_fd = fd_close(s->vsock_fd);
}

int boot_add_port(struct sandbox *s, const char *id, const char *name, int *ret, struct err *err)
{
	struct vm_device device = {.type = VM_DEVICE_SERIAL, .id = id};
	struct vm_device_address address;
	_cleanup_(closep) int ours = -1;
	int pair[2], r;

	r = fd_socketpair(pair);
	if (r < 0)
		return err_set(err, r, "socketpair");
	ours = pair[0];
	device.serial.name = name;
	device.serial.fd = pair[1];
	r = vm_add_device(s->vm, &device, &address, err);
	if (r >= 0)
		*ret = TAKE_FD(ours);
	return r;
}

int boot_add_channel(struct sandbox *s, struct err *err)
{
	struct vm_device device = {.type = VM_DEVICE_VSOCK, .id = "vsock0"};
	struct vm_device_address address;

	if (!s->cid)
		return boot_add_port(s, "agent0", BOOT_AGENT_PORT, &s->agent_fd, err);
	device.vsock.vhost_fd = TAKE_FD(s->vsock_fd);
	device.vsock.cid = s->cid;
	return vm_add_device(s->vm, &device, &address, err);
}

/* --- the connection --- */

static bool is_alive(void *arg)
{
	struct sandbox *s = arg;

	return !s->reason && vm_alive(s->vm);
}

static uint64_t progress(void *arg)
{
	return vm_progress(((struct sandbox *)arg)->vm);
}

/* The guest's kernel takes a moment to die after its PID 1: then the VM's end says more. */
static void on_grace(struct loop_timer *timer)
{
	struct sandbox *s = container_of(timer, struct sandbox, grace);
	_cleanup_(freep) char *text = xasprintf("the connection to the agent has ended: %s",
						agent_reason(s->agent));

	sandbox_die(s, text);
}

static void on_agent_closed(void *arg, const char *reason)
{
	struct sandbox *s = arg;

	log_debug("the agent's connection: %s", reason);
	if (s->state == SANDBOX_RUNNING || s->state == SANDBOX_SPARE || s->state == SANDBOX_BOOTING)
		loop_timer_set(s->loop, &s->grace, clock_after(300 * USEC_PER_MSEC), on_grace);
}

int boot_dial_agent(void *context, struct err *err)
{
	struct sandbox *s = context;
	const struct agent_address address = {
		.transport = s->cid ? AGENT_VSOCK : AGENT_SERIAL,
		.fd = TAKE_FD(s->agent_fd),
		.cid = s->cid,
		.port = AGENT_PORT,
	};
	const struct agent_life life = {
		.alive = is_alive,
		.progress = progress,
		.arg = s,
		.patience = s->config->agent.dial_timeout * USEC_PER_SEC,
	};
	uint64_t began = clock_now();
	int r, fd;

	r = agent_dial(&address, &life, &fd, err);
	if (r < 0)
		return r;
	s->patience = boot_guest_patience(clock_now() - began);
	r = agent_open(s->loop, fd, on_agent_closed, s, &s->agent, err);
	if (r < 0)
		return r;
	return agent_learn(s->agent, clock_after(s->patience), err);
}

void boot_hang_up(void *context)
{
	struct sandbox *s = context;

	if (s->loop)
		loop_timer_cancel(&s->grace);
	/* It is freed with the sandbox: others may be between two calls. */
	if (s->agent)
		agent_close(s->agent, s->reason ? s->reason : "the sandbox was stopped");
}
