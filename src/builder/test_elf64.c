/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "builder/elf64.h"

/* A kernel in small: a segment with 64 bytes and zeroes behind them, a note, and a tail. */
struct kernel {
	Elf64_Ehdr header;
	Elf64_Phdr segments[2];
	struct {
		Elf64_Nhdr other;
		char other_name[8]; /* "Linux", padded */
		uint32_t other_value;
		Elf64_Nhdr pvh;
		char pvh_name[4];
		uint32_t pvh_entry;
	} notes;
	char code[128];
	char tail[64]; /* sections, symbols: of no use to a loader */
};

static struct kernel make_kernel(void)
{
	struct kernel k = {
		.header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			   .e_type = ET_EXEC,
			   .e_machine = EM_X86_64,
			   .e_phoff = offsetof(struct kernel, segments),
			   .e_phentsize = sizeof(Elf64_Phdr),
			   .e_phnum = 2,
			   .e_shoff = offsetof(struct kernel, tail),
			   .e_shnum = 1},
		.segments = {{.p_type = PT_LOAD,
			      .p_offset = offsetof(struct kernel, code),
			      .p_filesz = sizeof(k.code),
			      .p_memsz = sizeof(k.code)},
			     {.p_type = PT_NOTE,
			      .p_offset = offsetof(struct kernel, notes),
			      .p_filesz = sizeof(k.notes),
			      .p_memsz = sizeof(k.notes)}},
		.notes = {.other = {6, 4, 1},
			  .other_name = "Linux",
			  .pvh = {4, 4, 18},
			  .pvh_name = "Xen",
			  .pvh_entry = 0x1000800},
	};

	memset(k.code, 'c', 64);
	memset(k.tail, 't', sizeof(k.tail));
	memcpy(k.code, "xLinux version %s\0Linux version 6.1.0+x (me)", 45);
	return k;
}

static void test_pvh(_unused_ void **state)
{
	struct kernel k = make_kernel();
	uint32_t entry = 0;

	assert_true(elf64_detect(&k, sizeof(k)));
	assert_int_equal(elf64_pvh_entry(&k, sizeof(k), &entry), 0);
	assert_int_equal(entry, 0x1000800);
	k.notes.pvh_name[0] = 'Y';
	assert_int_equal(elf64_pvh_entry(&k, sizeof(k), &entry), -ENOENT);
	k = make_kernel();
	k.notes.pvh.n_type = 17;
	assert_int_equal(elf64_pvh_entry(&k, sizeof(k), &entry), -ENOENT);
}

static void test_hostile_notes(_unused_ void **state)
{
	const uint32_t sizes[] = {0xffffffff, 0xfffffffc, 0x80000000, sizeof(struct kernel)};
	uint32_t entry;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct kernel k = make_kernel();

		k.notes.other.n_namesz = sizes[i];
		assert_int_equal(elf64_pvh_entry(&k, sizeof(k), &entry), -ENOENT);
		k = make_kernel();
		k.notes.pvh.n_descsz = sizes[i];
		assert_int_equal(elf64_pvh_entry(&k, sizeof(k), &entry), -ENOENT);
	}
}

static void test_hostile_headers(_unused_ void **state)
{
	struct kernel k = make_kernel();
	uint32_t entry;
	size_t n = sizeof(k);

	for (size_t len = 0; len < sizeof(Elf64_Ehdr); len++)
		assert_int_equal(elf64_pvh_entry(&k, len, &entry), -ENOEXEC);
	k.header.e_phoff = UINT64_MAX;
	assert_int_equal(elf64_pvh_entry(&k, n, &entry), -EBADMSG);
	k = make_kernel();
	k.header.e_phnum = 0xffff;
	assert_int_equal(elf64_pvh_entry(&k, n, &entry), -EBADMSG);
	k = make_kernel();
	k.segments[0].p_filesz = UINT64_MAX;
	assert_int_equal(elf64_pvh_entry(&k, n, &entry), -EBADMSG);
	assert_int_equal(elf64_trim(&k, &n), -EBADMSG);
	k = make_kernel();
	k.segments[0].p_offset = UINT64_MAX - 4;
	assert_int_equal(elf64_trim(&k, &n), -EBADMSG);
	k = make_kernel();
	k.header.e_machine = EM_AARCH64;
	assert_false(elf64_detect(&k, n));
}

static void test_trim(_unused_ void **state)
{
	struct kernel k = make_kernel();
	size_t n = sizeof(k);

	assert_int_equal(elf64_trim(&k, &n), 0);
	assert_int_equal(k.segments[0].p_filesz, 64);
	assert_int_equal(k.segments[0].p_memsz, sizeof(k.code));
	assert_int_equal(k.header.e_shnum, 0);
	assert_int_equal(k.header.e_shoff, 0);
	assert_int_equal(n, offsetof(struct kernel, code) + 64);
	/* What is left is still a kernel. */
	assert_true(elf64_detect(&k, n));
	assert_int_equal(elf64_trim(&k, &n), 0);
	assert_int_equal(n, offsetof(struct kernel, code) + 64);
}

static void test_strip(_unused_ void **state)
{
	struct kernel k = make_kernel();
	size_t n = sizeof(k);

	assert_int_equal(elf64_strip(&k, &n), 0);
	assert_int_equal(k.segments[0].p_filesz, sizeof(k.code));
	assert_int_equal(k.header.e_shnum, 0);
	assert_int_equal(n, offsetof(struct kernel, tail));
	k.segments[0].p_offset = n;
	assert_int_equal(elf64_strip(&k, &n), -EBADMSG);
}

static void test_release(_unused_ void **state)
{
	struct kernel k = make_kernel();
	char release[32];

	assert_true(elf64_linux_release(&k, sizeof(k), release, sizeof(release)));
	assert_string_equal(release, "6.1.0+x");
	assert_false(elf64_linux_release(&k, sizeof(k), release, 4));
	memset(k.code, 0, sizeof(k.code));
	assert_false(elf64_linux_release(&k, sizeof(k), release, sizeof(release)));
}

static void test_interpreter(_unused_ void **state)
{
	struct kernel k = make_kernel();

	assert_int_equal(elf64_needs_interpreter(&k, sizeof(k)), 0);
	k.segments[0].p_type = PT_INTERP;
	assert_int_equal(elf64_needs_interpreter(&k, sizeof(k)), 1);
	k.header.e_type = ET_REL;
	assert_int_equal(elf64_needs_interpreter(&k, sizeof(k)), -ENOEXEC);
	assert_int_equal(elf64_needs_interpreter("#!/bin/sh\n", 10), -ENOEXEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_hostile_notes),
		cmocka_unit_test(test_hostile_headers),
		cmocka_unit_test(test_trim),
		cmocka_unit_test(test_strip),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_interpreter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
