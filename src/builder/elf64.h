/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The little that the builder wants of an x86-64 ELF kernel. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* elf64_detect: a 64-bit little-endian x86-64 executable, with its program headers inside of n. */
bool elf64_detect(const void *elf, size_t n);
/*
 * elf64_pvh_entry: the 32-bit entry point of the note XEN_ELFNOTE_PHYS32_ENTRY, by which QEMU
 * starts an uncompressed kernel directly (PVH). Returns 0, -ENOENT without the note, -ENOEXEC or
 * -EBADMSG.
 */
int elf64_pvh_entry(const void *elf, size_t n, uint32_t *ret);
/*
 * elf64_strip: what a loader does not need goes: the section table is dropped from the header and
 * *n becomes the end of the last segment's bytes in the file (symbols and debug data lie behind
 * it). For programs and kernels. Returns 0, -ENOEXEC or -EBADMSG.
 */
int elf64_strip(void *elf, size_t *n);
/*
 * elf64_trim: elf64_strip, and zeroes at the end of a segment become memory without bytes: kernels
 * carry 12 MiB of them. For kernels only: Linux's own loader wants such memory in the last segment
 * alone.
 */
int elf64_trim(void *elf, size_t *n);
/* elf64_linux_release: the word behind "Linux version " in a kernel; false when there is none that
 * fits. */
bool elf64_linux_release(const void *elf, size_t n, char *ret, size_t size);
/* elf64_needs_interpreter: 1 for a dynamically linked program, 0 for a static one, -ENOEXEC for
 * what is no x86-64 program, -EBADMSG for a damaged one. */
int elf64_needs_interpreter(const void *elf, size_t n);
