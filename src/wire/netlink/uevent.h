/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Kernel uevents (netlink(7) NETLINK_KOBJECT_UEVENT): devices that come and go. */

#include <stddef.h>

#define UEVENT_MAX 8192U

/* One event; the strings point into the parsed buffer, NULL: not given. */
struct uevent {
	const char *action;    /* "add", "remove", "change", "online" … */
	const char *devpath;   /* below /sys */
	const char *subsystem; /* "block", "net", "virtio-ports" … */
	const char *devname;   /* below /dev */
	const char *interface; /* of a net device */
	const char *modalias;  /* what a driver for it is found by */
};

/* uevent_open: a non-blocking, close-on-exec socket that receives them. Returns the fd or -errno.
 */
int uevent_open(void);
/*
 * uevent_receive: the next event into buf (UEVENT_MAX bytes). Returns 0, -EAGAIN when there is
 * none, -EBADMSG for what is not a kernel's event (skip it), -ENOBUFS when events were lost (look
 * in /sys again), or -errno.
 */
int uevent_receive(int fd, char buf[UEVENT_MAX], struct uevent *ret);
/* uevent_parse: n bytes "action@devpath\0KEY=value\0…"; buf[n] must be writable (it gets a NUL). */
int uevent_parse(char *buf, size_t n, struct uevent *ret);
