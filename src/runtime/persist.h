/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a sandbox leaves on disk, in /run/vc/sbs/<id>/state.json, so that after a crash
 * sandbox_cleanup() finds everything that has to go, and `kata-runtime list` what there is. It is
 * written before a thing comes to be, whole and atomically, so that it names at least what exists.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

#define PERSIST_ROOT     "/run/vc/sbs"
#define PERSIST_VM_ROOT  "/run/vc/vm"
#define PERSIST_SIZE_MAX (256U << 10)
#define PERSIST_PIDS_MAX 8

/* A process, told from a later one with the same number by the time it began. */
struct persist_process {
	char name[16]; /* "shim", "virtiofsd" */
	pid_t pid;
	uint64_t start_time; /* clock ticks since boot, /proc/<pid>/stat field 22 */
};

struct persist {
	char *id;
	char *state; /* "new", "booting", "running", "dead", "stopping", "stopped" */
	char *netns; /* path; "": none */
	char *reason;
	char *config_file;
	char *owner; /* whose it is: the bundle, which names containerd's namespace; "": nobody's */
	char *vm_name;       /* that the VM was started with; "": the id */
	uint64_t created_at; /* CLOCK_REALTIME µs */
	bool emulated;
	int memory_fd; /* its shim's descriptor of memory that clones share; -1: none */
	struct persist_process processes[PERSIST_PIDS_MAX];
	size_t n_processes;
	struct strv endpoints; /* devices in netns with our redirect */
	struct strv cgroups;   /* absolute folders, outermost first */
	struct strv containers;
};

void persist_init(struct persist *p, const char *id);
void persist_fini(struct persist *p);
/* persist_dir: "/run/vc/sbs/<id>"; the caller frees. */
char *persist_dir(const char *id);
/* persist_set: replace one of the strings above. */
void persist_set(char **field, const char *value);
/* persist_add_process: note a process by its number; an ended one is left out. */
void persist_add_process(struct persist *p, const char *name, pid_t pid);
/*
 * persist_claim: make the folder with this state in it: from now on the id is ours. Ids are unique
 * for each caller only (containerd's for each of its namespaces), while the folders of a sandbox
 * are named by the id alone: -EEXIST with who has it, as long as the process that it has as "shim"
 * lives. Returns 1 when the one who had it has ended without cleaning up: *left, to be undone by
 * the caller and freed, says what there is; until the next persist_save() the file says both.
 */
int persist_claim(const struct persist *p, struct persist *left, struct err *err);
/*
 * persist_take_over: the same for who cleans up what `owner` (NULL: whoever) has left: from now on
 * this process is its "shim". `ended`: one that does not count as alive, it was killed (0: none).
 * Returns 1 with *ret, which the caller frees; 0 when it is another's, or lives.
 */
int persist_take_over(const char *id, const char *owner, pid_t ended, struct persist *ret,
		      struct err *err);
/* persist_holder: the process that has it; NULL: nobody who lives. */
const struct persist_process *persist_holder(const struct persist *p);
/* persist_disown: what is left under the id is for the next one to undo. */
void persist_disown(const char *id);
/* persist_remove: the folder goes: the id is anybody's again. */
void persist_remove(const char *id);
/* persist_save: write it; the folder exists. persist_load: read and check it; p is initialised by
 * it on success. */
int persist_save(const struct persist *p, struct err *err);
int persist_load(const char *id, struct persist *p, struct err *err);
/* persist_parse: the same from memory. */
int persist_parse(const char *text, size_t n, struct persist *p, struct err *err);
/* persist_format: the text of the file; the caller frees. */
char *persist_format(const struct persist *p);
/* persist_list: ids of all sandboxes that have a folder. */
int persist_list(struct strv *ret, struct err *err);
/* persist_alive: does the very process still run? */
bool persist_alive(const struct persist_process *process);
