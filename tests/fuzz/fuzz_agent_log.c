/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a guest writes to its log port: lines of ours that it cannot forge or flood. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent_client/log_forward.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was logged: every line begins as ours do, and is bounded. */
static void check(int sink)
{
	_cleanup_(strv_fini) struct strv lines = {0};
	_cleanup_(freep) char *text = NULL;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", sink);
	if (fs_read(path, 64U << 20, &text, NULL) < 0)
		abort();
	strv_split(&lines, text, "\n");
	for (size_t i = 0; i < lines.n; i++)
		if (!str_has_prefix(lines.v[i], "time=") ||
		    strlen(lines.v[i]) > 6 * AGENT_LOG_LINE_MAX + 512)
			abort();
	if (lines.n > 4 * AGENT_LOG_LINES_RATE)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct log_forward *forward;
	struct loop *loop;
	int pair[2], sink = memfd_create("log", MFD_CLOEXEC);
	size_t first = size ? data[0] % size : 0;

	log_open("fuzz", sink, LOG_FORMAT_LOGFMT, LOG_LEVEL_DEBUG);
	if (sink < 0 || loop_new(&loop) < 0 || fd_socketpair(pair) < 0 ||
	    log_forward_start(loop, pair[0], &forward) < 0)
		abort();
	/* In two pieces, cut anywhere. */
	log_forward_feed(forward, (const char *)data, first);
	log_forward_feed(forward, (const char *)data + first, size - first);
	log_forward_stop(forward);
	check(sink);
	close(pair[1]);
	close(sink);
	loop_free(loop);
	return 0;
}
