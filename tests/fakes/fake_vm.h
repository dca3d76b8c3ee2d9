/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * hypervisor/hypervisor.h and virtiofsd.h without QEMU: a test links this instead. The "guest" is a
 * fake_agent at the other end of the serial port. One VM at a time. kernel/vhost_vsock.h too, so
 * that a test does not depend on the host's.
 */

#include "fakes/fake_agent.h"

/* What the test wants of the next VM. */
struct fake_vm_plan {
	enum fake_mood mood;
	/* Name of the function that fails: "vm_new", "vm_start", "virtiofsd_start",
	 * "vm_add_device:<id>" … or NULL. */
	const char *fail;
	const char *fail_once;    /* the same, the first time only */
	const char *slow_method;  /* of the agent: takes 10 ms; NULL: none */
	bool no_agent;            /* nobody listens in the guest … */
	uint64_t dies_after_usec; /* … and it ends after that; 0: it lives */
	bool replaced;            /* its files are others by now */
	bool vhost_vsock;         /* the host has /dev/vhost-vsock … */
	int set_cid_error;        /* … which answers this to a context id … */
	unsigned int n_set_cid;   /* … so often */
	uint32_t max_vcpus;       /* it cannot grow beyond that; 0: it does not grow */
	uint64_t max_memory_mib;
};

/* What is in the state of a saved VM, and in its third page of memory. */
#define FAKE_VM_STATE  "the state of a fake VM"
#define FAKE_VM_MEMORY "the memory of a fake VM"

extern struct fake_vm_plan fake_vm_plan;

/* fake_vm_gone: there is no VM any more. */
bool fake_vm_gone(void);
/* fake_vm_agent: the agent of the VM that runs, NULL: none. */
struct fake_agent *fake_vm_agent(void);
/* fake_vm_die: QEMU ends. fake_vm_virtiofsd_die: virtiofsd ends. fake_vm_hang_up: the agent ends.
 */
void fake_vm_die(const char *reason);
void fake_vm_virtiofsd_die(const char *reason);
void fake_vm_hang_up(void);
/* fake_vm_params: the kernel command line of the last VM. */
const char *fake_vm_params(void);
/* fake_vm_cid: the last context id that was asked for. fake_vm_vhost_open: does anybody still hold
 * the last /dev/vhost-vsock? */
uint32_t fake_vm_cid(void);
bool fake_vm_vhost_open(void);
/* fake_vm_log: what was done, "vm_new virtiofsd_start vm_add_device:fs0 … vm_free"; emptied by
 * fake_vm_log_clear. */
/* fake_vm_log: what was done, "vm_new virtiofsd_start vm_add_device:fs0 … vm_free", with the
 * agent's log in brackets where it ended; emptied by fake_vm_log_clear. */
const char *fake_vm_log(void);
void fake_vm_log_clear(void);
