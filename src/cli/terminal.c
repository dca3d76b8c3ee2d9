/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>

static struct termios saved;
static int saved_fd = -1;

void terminal_restore(void)
{
	if (saved_fd < 0)
		return;
	tcsetattr(saved_fd, TCSADRAIN, &saved);
	saved_fd = -1;
}

int terminal_raw(int fd)
{
	static bool registered;
	struct termios raw;

	if (tcgetattr(fd, &saved) < 0)
		return -errno;
	raw = saved;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
		return -errno;
	saved_fd = fd;
	if (!registered)
		atexit(terminal_restore);
	registered = true;
	return 0;
}

bool terminal_size(int fd, uint32_t *ret_width, uint32_t *ret_height)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || !size.ws_col || !size.ws_row)
		return false;
	*ret_width = size.ws_col;
	*ret_height = size.ws_row;
	return true;
}
