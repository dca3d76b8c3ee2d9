/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What /proc says about processes and the machine (proc(5)). pid 0 means the caller itself. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROC_FILE_MAX (1U << 20)

struct proc_stat {
	pid_t ppid;
	char state;
	bool exiting;                          /* the kernel takes it apart: it runs no more */
	uint64_t utime, stime, cutime, cstime; /* clock ticks of 1/100 s */
	uint64_t threads;
	uint64_t starttime; /* clock ticks after boot */
	uint64_t vsize;     /* bytes */
	uint64_t rss;       /* pages */
};

/* proc_stat_read: /proc/PID/stat. -ESRCH when there is no such process. */
int proc_stat_read(pid_t pid, struct proc_stat *ret);
/* proc_stat_parse: the same from text (the program's name may hold anything). */
int proc_stat_parse(const char *text, struct proc_stat *ret);
/*
 * proc_pairs: call fn for every line "Key: 12 kB" or "key 12" of a file (status, io, meminfo,
 * vmstat) that has a number; the key without its colon.
 */
typedef void (*proc_pair_fn)(const char *key, uint64_t value, void *arg);
int proc_pairs(const char *path, proc_pair_fn fn, void *arg);
/* proc_pairs_parse: the same from text, which is changed in place. */
void proc_pairs_parse(char *text, proc_pair_fn fn, void *arg);
/* proc_numbers: up to `max` numbers of the line at `at`, separated by blanks, into values. Returns
 * how many. */
size_t proc_numbers(const char *at, uint64_t *values, size_t max);
/* proc_threads: up to `max` threads of a process. proc_descendants: up to `max` processes that it
 * has started, or these, and so on. Both return how many, 0 when /proc does not say. */
size_t proc_threads(pid_t pid, pid_t *ret, size_t max);
size_t proc_descendants(pid_t pid, pid_t *ret, size_t max);
/* proc_fds: how many descriptors a process has open, or -errno. */
int proc_fds(pid_t pid);
