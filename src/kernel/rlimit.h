/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Resource limits (setrlimit(2)) by name. */

/* rlimit_parse: the number of "RLIMIT_NOFILE" and the like; -EINVAL when there is none. */
int rlimit_parse(const char *name);
/* rlimit_name: the reverse, or NULL. */
const char *rlimit_name(int resource);
