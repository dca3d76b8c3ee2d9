/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tap devices (Documentation/networking/tuntap.rst): a network interface whose wire is a file. */

/*
 * tap_open: make the tap interface `name` in the caller's network namespace, not persistent (it
 * goes with the last descriptor), with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR as QEMU wants it. Returns
 * the non-blocking, close-on-exec fd; -EBUSY when the name is in use; or -errno.
 */
int tap_open(const char *name);
/* tap_open_at: the same in the namespace of netns_fd; the caller's own is restored. */
int tap_open_at(const char *name, int netns_fd);
/* tap_drain: throw away the frames that have queued up. Returns 0 or -errno. */
int tap_drain(int fd);
