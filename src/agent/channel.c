/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/channel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
/* clang-format off: linux/vm_sockets.h needs sa_family_t */
#include <linux/vm_sockets.h>
/* clang-format on */

#include "agent/uevents.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/path.h"

#define PORTS_DIR         "/sys/class/virtio-ports"
#define VIRTIO_DEVICES    "/sys/bus/virtio/devices"
#define VIRTIO_ID_CONSOLE "0x0003"
#define VIRTIO_ID_VSOCK   "0x0013"
#define PORT_GRACE        (500 * USEC_PER_MSEC)
#define BACKLOG           128
#define CHANNEL_COMPLAIN  (10 * USEC_PER_SEC)

int channel_find_port(const char *name, char **ret)
{
	_cleanup_(closedirp) DIR *dir = opendir(PORTS_DIR);

	if (!dir)
		return -ENOENT;
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
		_cleanup_(freep) char *path = NULL, *text = NULL;

		if (d->d_name[0] == '.')
			continue;
		path = xasprintf(PORTS_DIR "/%s/name", d->d_name);
		if (fs_read(path, 256, &text, NULL) < 0 || !streq(str_chomp(text), name))
			continue;
		*ret = path_join("/dev", d->d_name);
		return 0;
	}
	return -ENOENT;
}

static bool has_device(const char *id)
{
	_cleanup_(closedirp) DIR *dir = opendir(VIRTIO_DEVICES);

	if (!dir)
		return false;
	for (const struct dirent *d = readdir(dir); d; d = readdir(dir)) {
		_cleanup_(freep) char *path = xasprintf(VIRTIO_DEVICES "/%s/device", d->d_name);
		_cleanup_(freep) char *text = NULL;

		if (fs_read(path, 32, &text, NULL) == 0 && streq(str_chomp(text), id))
			return true;
	}
	return false;
}

int channel_vsock_listen(unsigned int cid, unsigned int port)
{
	struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	_cleanup_(closep) int fd = -1;

	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int open_unix(const char *path, struct err *err)
{
	int fd = fd_unix_listen(path, 0600);

	return fd < 0 ? err_set(err, fd, "listen on %s", path) : fd;
}

bool channel_from_host(int fd)
{
	struct sockaddr_storage peer = {0};
	socklen_t n = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &n) < 0)
		return false;
	return peer.ss_family != AF_VSOCK ||
	       ((struct sockaddr_vm *)&peer)->svm_cid == VMADDR_CID_HOST;
}

/* The family comes with the driver of a device that is looked for at this moment. */
static int await_vsock(struct agent *agent, unsigned int cid, unsigned int port, uint64_t deadline)
{
	uint64_t complain = clock_after(CHANNEL_COMPLAIN);
	int fd;

	while ((fd = channel_vsock_listen(cid, port)) == -EAFNOSUPPORT && agent->is_init) {
		if (uevents_wait(agent, MIN(deadline, complain)) == 0)
			continue;
		if (clock_now() >= deadline)
			break;
		log_error("no driver for vsock; still waiting");
		complain = USEC_NEVER;
	}
	return fd;
}

static int open_vsock(struct agent *agent, const char *address, uint64_t deadline, struct err *err)
{
	const char *colon = strchr(address, ':');
	_cleanup_(freep) char *cid_text = NULL;
	uint32_t cid = VMADDR_CID_ANY, port;
	int fd;

	if (!colon || parse_u32(colon + 1, &port) < 0)
		return err_setx(err, -EINVAL, "vsock://%s: not vsock://CID:PORT", address);
	cid_text = xstrndup(address, (size_t)(colon - address));
	if (!streq(cid_text, "-1") && !streq(cid_text, "any") && parse_u32(cid_text, &cid) < 0)
		return err_setx(err, -EINVAL, "vsock://%s: bad CID", address);
	fd = await_vsock(agent, cid, port, deadline);
	return fd < 0 ? err_set(err, fd, "listen on vsock://%s", address) : fd;
}

static int open_serial(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? err_set(err, -errno, "open %s", path) : fd;
}

static int open_port(struct agent *agent, const char *name, uint64_t deadline, struct err *err)
{
	_cleanup_(freep) char *path = NULL;

	while (channel_find_port(name, &path) < 0)
		if (uevents_wait(agent, deadline) < 0)
			return err_setx(err, -ETIMEDOUT, "no virtio port named %s appeared", name);
	return open_serial(path, err);
}

int channel_open(struct agent *agent, const char *address, uint64_t deadline,
		 enum channel_kind *ret_kind, int *ret_fd, struct err *err)
{
	const char *rest;
	int fd;

	if ((rest = str_skip_prefix(address, "unix://")) != NULL) {
		*ret_kind = CHANNEL_LISTEN;
		fd = open_unix(rest, err);
	} else if ((rest = str_skip_prefix(address, "vsock://")) != NULL) {
		*ret_kind = CHANNEL_LISTEN;
		fd = open_vsock(agent, rest, deadline, err);
	} else if ((rest = str_skip_prefix(address, "serial:")) != NULL) {
		*ret_kind = CHANNEL_SERIAL;
		fd = open_serial(rest, err);
	} else if ((rest = str_skip_prefix(address, "port:")) != NULL) {
		*ret_kind = CHANNEL_SERIAL;
		fd = open_port(agent, rest, deadline, err);
	} else {
		return err_setx(err, -EINVAL,
				"address %s: not unix://, vsock://, serial: or port:", address);
	}
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

/*
 * Ports of a virtio-serial device appear one after the other, some time after the device; they are
 * given PORT_GRACE before a vsock is taken instead.
 */
static char *wait_for_channel(struct agent *agent)
{
	uint64_t grace = clock_after(PORT_GRACE), complain = clock_after(CHANNEL_COMPLAIN);

	for (;;) {
		_cleanup_(freep) char *path = NULL;

		if (channel_find_port(CHANNEL_AGENT_PORT, &path) == 0)
			return xstrdup("port:" CHANNEL_AGENT_PORT);
		if (has_device(VIRTIO_ID_VSOCK) &&
		    (clock_now() > grace || !has_device(VIRTIO_ID_CONSOLE)))
			return xasprintf("vsock://any:%u", CHANNEL_AGENT_VPORT);
		if (uevents_wait(agent, complain) == -ETIMEDOUT) {
			log_error("no channel to the host: neither a virtio port named %s nor a "
				  "vsock; still waiting",
				  CHANNEL_AGENT_PORT);
			complain = USEC_NEVER;
		}
	}
}

char *channel_default(struct agent *agent)
{
	if (agent->config.server_addr[0])
		return xstrdup(agent->config.server_addr);
	switch (agent->config.channel) {
	case AGENT_CHANNEL_SERIAL:
		return xstrdup("port:" CHANNEL_AGENT_PORT);
	case AGENT_CHANNEL_VSOCK:
		return xasprintf("vsock://any:%u", CHANNEL_AGENT_VPORT);
	case AGENT_CHANNEL_AUTO:
		break;
	}
	return wait_for_channel(agent);
}
