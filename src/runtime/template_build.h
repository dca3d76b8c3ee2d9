/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Making a template: boot a VM as a sandbox of this configuration would, save it, and try a clone.
 * And what it is called. */

#include "config/config.h"
#include "loop/loop.h"
#include "runtime/template.h"

/* How somebody wants it. */
struct template_wish {
	const char *key; /* only if that is what it is called (-ESTALE); NULL: whatever it is */
	bool at_once;    /* -EBUSY while another makes one, instead of waiting */
	void (*says)(void *arg,
		     const char *what); /* "boot the virtual machine" …; NULL: nobody asks */
	void *arg;
};

/*
 * template_build: from a coroutine. Under the lock of the configuration's template_path, for which
 * it waits: removes what killed builders have left, makes the template for sandboxes of `config`
 * that say nothing else, unless there is a good one, and publishes it when a clone of it has
 * passed: the guest's kernel and agent answer, it has its own random numbers and the time, and the
 * shared folders are mounted. *ret is open, the caller's. Returns 1 when it was made, 0 when it was
 * there, or -errno: nothing is left then but a note that it has failed.
 */
int template_build(struct loop *loop, struct config *config, const struct template_wish *wish,
		   struct template *ret, struct err *err);
/*
 * template_key: from a coroutine: the key of the template that sandboxes of `config` that say
 * nothing else are restored from; no VM is started for it. -ENOSYS: templates are off; -EOPNOTSUPP:
 * they boot all the same; err says why.
 */
int template_key(struct loop *loop, struct config *config, char ret[VM_FINGERPRINT_SIZE],
		 struct err *err);
/* template_build_alone, template_key_alone: the same for a program that does nothing else
 * meanwhile: with a loop, and what builds with a mount namespace, of its own. */
int template_build_alone(struct config *config, const struct template_wish *wish,
			 struct template *ret, struct err *err);
int template_key_alone(struct config *config, char ret[VM_FINGERPRINT_SIZE], struct err *err);
/*
 * template_build_in_background: all that the program does which a sandbox has started because it
 * found no template: makes the one of this key with the lowest priority, and says in the log what
 * became of it. Returns 0 also when it is another's turn, or not this configuration's template.
 */
int template_build_in_background(struct config *config, const char *key, struct err *err);
