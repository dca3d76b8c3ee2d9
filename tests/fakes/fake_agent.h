/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An agent for tests of the host's side: it serves the protocol on a stream of the test's own
 * process, and its processes are records that the test ends when it likes. It can also behave as
 * badly as a guest may.
 *
 * What runs in a container whose name begins with "warm-up" (runtime/boot_warm.c) ends by itself,
 * with 0, as soon as it is started.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "loop/loop.h"

enum fake_mood {
	FAKE_GOOD,
	FAKE_MUTE,    /* takes everything, answers nothing */
	FAKE_GARBAGE, /* answers the session with bytes that are no ttRPC */
	FAKE_ABSURD,  /* frames that announce 4 GiB; streams longer than asked for */
	FAKE_LIAR,    /* answers, but with nonsense: statuses, counts, lengths */
	FAKE_STUCK,   /* takes signals, but nothing ends or is removed any more */
	FAKE_FROZEN,  /* takes calls, but answers none any more */
	FAKE_FOREIGN, /* good, but has none of our features */
	FAKE_FAILING, /* good, but what ends by itself ends with 1 */
};

struct fake_agent;

/* fake_agent_new: serve `fd`, our end of a stream. serial: begin with the handshake of
 * wire/serial.h. */
struct fake_agent *fake_agent_new(struct loop *loop, int fd, bool serial, enum fake_mood mood);
void fake_agent_free(struct fake_agent *agent);
/* fake_agent_any: is one of them alive still? Methods under way keep a freed one for 100 ms. */
bool fake_agent_any(void);
/* fake_agent_fail: from now on `method` answers this error (0: no longer). */
void fake_agent_fail(struct fake_agent *agent, const char *method, int r, const char *text);
/* fake_agent_become: from now on it is like that. */
void fake_agent_become(struct fake_agent *agent, enum fake_mood mood);
/* fake_agent_delay: from now on `method` takes that long. */
void fake_agent_delay(struct fake_agent *agent, const char *method, uint64_t usec);
/* fake_agent_exit: a process of a container ends. exec_id as in the protocol. */
void fake_agent_exit(struct fake_agent *agent, const char *exec_id, int32_t status);
/* fake_agent_say: output of a process; its end comes with its exit. A connection to the loopback is
 * one named "loopback-ID". */
void fake_agent_say(struct fake_agent *agent, const char *exec_id, const char *text);
/* fake_agent_log: the calls so far, "CreateSandbox StartContainer …". */
const char *fake_agent_log(const struct fake_agent *agent);
/* fake_agent_last: what the last CreateContainer carried, packed. */
const struct buf *fake_agent_last(const struct fake_agent *agent);
/* fake_agent_sandbox: what the last CreateSandbox carried, "id hostname". */
const char *fake_agent_sandbox(const struct fake_agent *agent);
/* fake_agent_volume: what an update of the live volume has brought, "path=data path@uid:gid=data …"
 * in the order of arrival, root's without owners, "" when there is no such volume. */
const char *fake_agent_volume(const struct fake_agent *agent, const char *name);
/* fake_agent_set_volume: that is what containers have made of it. */
void fake_agent_set_volume(struct fake_agent *agent, const char *name, const char *text);
/* fake_agent_stdin: all that was written to a process. */
const char *fake_agent_stdin(struct fake_agent *agent, const char *exec_id);
