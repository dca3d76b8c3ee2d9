/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Capabilities (capabilities(7)) by name, through the raw system calls. A set is a bit mask:
 * bit N is capability N of linux/capability.h.
 */

#include <stdint.h>

#define CAPS_NUMBER 41 /* CAP_CHOWN to CAP_CHECKPOINT_RESTORE */

struct caps {
	uint64_t bounding, effective, permitted, inheritable, ambient;
};

/* caps_parse: the number of a name such as "CAP_CHOWN", in any case and with or without "CAP_";
 * -EINVAL when there is none. */
int caps_parse(const char *name);
/* caps_name: "CAP_CHOWN", or NULL for a number out of range. */
const char *caps_name(int cap);
/* caps_last: the highest capability that the running kernel has. */
int caps_last(void);
/* caps_set_bounding: drop what is not in `keep` from the bounding set of the calling process. */
int caps_set_bounding(uint64_t keep);
/*
 * caps_apply: make effective, permitted and inheritable those of `caps`, then the ambient set (what
 * is not both permitted and inheritable there is left out). The bounding set is not touched.
 * Returns 0 or -errno.
 */
int caps_apply(const struct caps *caps);
