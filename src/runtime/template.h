/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Saved virtual machines on disk, from which sandboxes are restored instead of booting (design
 * decision 9). `root` is the configuration's template_path; each template has a folder there that
 *is named by its key, the VM's fingerprint:
 *
 *	root/lock       held by who makes or removes templates
 *	root/<key>/     memory   the guest's memory, sparse
 *	                state    the rest of the VM
 *	                info     the sizes, and the digest of `state`
 *	root/.new-…/    one that is being made
 *	root/.failed-…  making the one of this key has failed, at the file's time
 *
 * The folder is root's alone: what is in a template's memory becomes the memory of all its clones.
 *A template that is open goes on existing, whoever removes it.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/str.h"
#include "hypervisor/hypervisor.h"

struct template
{
	char key[VM_FINGERPRINT_SIZE];
	char state_digest[SHA256_HEX_SIZE]; /* tells this one from an earlier one of its key */
	int memory_fd, state_fd;
	uint64_t memory_size; /* of the guest */
	uint64_t memory_used; /* bytes of it that the file holds */
	uint64_t state_size;
	uint64_t created_at; /* CLOCK_REALTIME µs */
};

/* template_init: nothing is open. template_fini: close it. */
void template_init(struct template *t);
void template_fini(struct template *t);
/*
 * template_open: open and check the template of this key: -ENOENT: there is none; -EBADMSG: it is
 * damaged, err says how; other errors are the system's. template_open_at: the same of a folder that
 * is not published.
 */
int template_open(const char *root, const char *key, struct template *ret, struct err *err);
int template_open_at(const char *folder, struct template *ret, struct err *err);
/* template_list: the keys of all templates. A missing root has none. */
int template_list(const char *root, struct strv *ret, struct err *err);
/* template_lock: make root and hold the lock, waiting for it unless `try` (then -EBUSY). The
 * descriptor is the caller's; the lock ends with it. */
int template_lock(const char *root, bool try, struct err *err);
/* template_remove: that one, or with key NULL all that is there. The caller holds the lock, or is a
 * sandbox to which a template has proved to be bad. */
int template_remove(const char *root, const char *key, struct err *err);
/* template_begin: a new folder below root, under the lock; what others have left unfinished goes.
 * *ret is the caller's. template_commit: name it by its key: from now on sandboxes find it. */
int template_begin(const char *root, char **ret, struct err *err);
int template_commit(const char *root, const char *folder, const char *key, struct err *err);
/* template_write: memory and state of a saved VM into a folder of template_begin(). The memory
 * comes from `memory_fd`; the state is in the folder already. Blocks. */
int template_write(const char *folder, int memory_fd, uint64_t memory_size, struct err *err);
/*
 * template_note_failure: making the one of this key has failed. template_has_failed: … within the
 * last hour, so that nobody need try again by himself. The note goes when it succeeds, or with all
 * templates.
 */
void template_note_failure(const char *root, const char *key);
bool template_has_failed(const char *root, const char *key);
/* template_create_state: the file for the state in such a folder; the caller's, or -errno. */
int template_create_state(const char *folder, struct err *err);

/*
 * template_copy_memory: the written parts of a file of `size` bytes to the same places of an empty
 * one, which is made that long. squeeze: pages of zeros are left out. Blocks. *ret: bytes copied.
 */
int template_copy_memory(int from, int to, uint64_t size, bool squeeze, uint64_t *ret);
