/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The devices a VM can have: one function per device says what QEMU must be told (a backend and a
 * front end, as props), whether on its command line or through QMP.
 */

#include "base/list.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/qemu/props.h"
#include "hypervisor/qemu/slots.h"
#include "loop/co.h"

#define DEVICE_PARTS_MAX 2
#define DEVICE_FDS_MAX   2
#define DEVICE_ID_MAX    64

enum part_kind { PART_CHARDEV, PART_NETDEV, PART_BLOCKDEV, PART_OBJECT, PART_DEVICE };

struct part {
	enum part_kind kind;
	struct props props; /* the first property is the implied one ("driver"); has an "id" */
};

struct device_fd {
	int fd;       /* owned; -1 once QEMU has it */
	int child;    /* its number in QEMU (cold plug) */
	bool in_set;  /* goes into a descriptor set and is opened as /dev/fdset/N */
	unsigned set; /* N */
	char ref[80]; /* what QEMU is told: a number, a name, or /dev/fdset/N */
};

/* How blocks are attached; from the configuration. */
struct block_settings {
	bool scsi;
	const char *aio; /* "threads", "native", "io_uring" */
	bool cache_direct, cache_noflush;
};

struct device {
	struct list link;
	enum vm_device_type type;
	char *id;
	struct device_fd fds[DEVICE_FDS_MAX];
	size_t n_fds;
	bool has_slot;
	struct slot slot;
	bool on_scsi;
	unsigned scsi_index;                 /* target * 256 + LUN */
	struct part parts[DEVICE_PARTS_MAX]; /* in the order QEMU must learn of them */
	size_t n_parts;
	bool busy;       /* being added or removed */
	bool unplugging; /* device_del was accepted */
	bool deleted;    /* DEVICE_DELETED has come */
	bool refused;    /* the guest does not let go */
	struct co_cond changed;
};

/*
 * device_new: check what is asked for and take its descriptors (always consumed). It has no place
 * and no parts yet.
 */
int device_new(const struct vm_device *spec, const struct block_settings *block,
	       struct device **ret, struct err *err);
void device_free(struct device *d);
DEFINE_CLEANUP(struct device *, device_free)
/* device_needs_slot: it is a PCI device (a SCSI disk and a serial port are not). */
bool device_needs_slot(const struct device *d);
/* device_describe: fill the parts, when the place and the references of the descriptors are known.
 */
void device_describe(struct device *d, const struct vm_device *spec,
		     const struct block_settings *block);
void device_get_address(const struct device *d, struct vm_device_address *ret);

/* part_to_arg: "-device" and its argument, appended. */
void part_to_args(const struct part *part, struct strv *args);
/* part_to_command: the QMP command that adds the part, and its arguments (the caller's). */
const char *part_to_command(const struct part *part, json_t **ret_arguments);
/* part_to_removal: the command that removes it again. */
const char *part_to_removal(const struct part *part, json_t **ret_arguments);
const char *part_id(const struct part *part);
void part_fini(struct part *part);
