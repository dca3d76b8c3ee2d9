/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* What came after the headers that we can count on, by version of the interface. */
#define ACCESS_FS_TRUNCATE    (1ULL << 14) /* 3 */
#define ACCESS_NET_BIND_TCP   (1ULL << 0)  /* 4 */
#define ACCESS_NET_CONNECT    (1ULL << 1)
#define SCOPE_ABSTRACT_SOCKET (1ULL << 0) /* 6 */
#define SCOPE_SIGNAL          (1ULL << 1)

struct ruleset {
	uint64_t handled_access_fs, handled_access_net, scoped;
};

static const uint64_t make_any = LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
				 LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
				 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
				 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
				 LANDLOCK_ACCESS_FS_MAKE_SYM;

static int add_rule(int ruleset, const struct landlock_rule *rule, uint64_t handled)
{
	_cleanup_(closep) int fd = open(rule->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct landlock_path_beneath_attr attr = {
		.allowed_access = LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_FS_TRUNCATE,
		.parent_fd = fd,
	};

	if (fd < 0)
		return -errno;
	if (rule->make_sockets)
		attr.allowed_access |= LANDLOCK_ACCESS_FS_MAKE_SOCK |
				       LANDLOCK_ACCESS_FS_REMOVE_FILE;
	attr.allowed_access &= handled;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) < 0)
		return -errno;
	return 0;
}

int landlock_new(const struct landlock_rule *rules, size_t n)
{
	struct ruleset set = {.handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE | make_any};
	_cleanup_(closep) int fd = -1;
	long version;

	version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (version < 0)
		return -errno;
	if (version >= 2)
		set.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		set.handled_access_fs |= ACCESS_FS_TRUNCATE;
	if (version >= 4)
		set.handled_access_net = ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT;
	if (version >= 6)
		set.scoped = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
	fd = (int)syscall(SYS_landlock_create_ruleset, &set, sizeof(set), 0);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < n; i++) {
		int r = add_rule(fd, &rules[i], set.handled_access_fs);

		if (r < 0)
			return r;
	}
	return TAKE_FD(fd);
}
