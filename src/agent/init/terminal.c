/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "agent/init/init.h"
#include "agent/init/mounts.h"

/*
 * A pty of the container's own devpts, so that ttyname(3) works there. The container may have put
 * anything at these paths (this also runs for later processes): the folder must be a devpts, and
 * what is opened in it the multiplexer's device; the other side comes from the master itself
 * (TIOCGPTPEER), not from a path.
 */

#define PTMX_MAJOR 5
#define PTMX_MINOR 2

static int open_master(struct err *err)
{
	_cleanup_(closep) int dir = open("/dev/pts", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_(closep) int master = -1;
	struct statfs fs;
	struct stat st;

	if (dir < 0 || fstatfs(dir, &fs) < 0)
		return err_set(err, -errno, "/dev/pts");
	if (fs.f_type != DEVPTS_SUPER_MAGIC)
		return err_setx(err, -ENOTTY, "/dev/pts is not a devpts");
	if (fstatat(dir, "ptmx", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISCHR(st.st_mode) ||
	    st.st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR))
		return err_setx(err, -ENOTTY, "/dev/pts/ptmx is not the pty multiplexer");
	master = openat(dir, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
	if (master < 0 || fstat(master, &st) < 0)
		return err_set(err, -errno, "open /dev/pts/ptmx");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR))
		return err_setx(err, -ENOTTY, "/dev/pts/ptmx is not the pty multiplexer");
	return TAKE_FD(master);
}

/* /dev/console is the terminal itself, as a mount. An image without a /dev of its own may have a
 * link there, which must not hide a file of the kernel's. */
static int bind_console(int slave, struct err *err)
{
	_cleanup_(closep) int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closep) int tree = -1;
	_cleanup_(closep) int place = -1;
	int r;

	if (root < 0)
		return err_set(err, -errno, "open /");
	place = mounts_place(root, "/dev/console", false, NULL, err);
	if (place < 0)
		return place;
	r = mounts_check_proc(place, "/dev/console", err);
	if (r < 0)
		return r;
	tree = open_tree(slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0 ||
	    move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_set(err, -errno, "bind /dev/console");
	return 0;
}

int terminal_open(const Grpc__Process *process, bool console, int *ret_master, struct err *err)
{
	_cleanup_(closep) int master = open_master(err);
	_cleanup_(closep) int slave = -1;
	int unlock = 0, r = 0;

	if (master < 0)
		return master;
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_set(err, -errno, "unlock the pty");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_set(err, -errno, "open the pty's other side");
	if (process->consolesize && process->consolesize->height <= UINT16_MAX &&
	    process->consolesize->width <= UINT16_MAX) {
		struct winsize size = {
			.ws_row = (unsigned short)process->consolesize->height,
			.ws_col = (unsigned short)process->consolesize->width,
		};

		if (ioctl(master, TIOCSWINSZ, &size) < 0)
			return err_set(err, -errno, "set the size");
	}
	if (console)
		r = bind_console(slave, err);
	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			return err_set(err, -errno, "standard stream %d", i);
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return err_set(err, -errno, "make it the controlling terminal");
	*ret_master = TAKE_FD(master);
	return 0;
}
