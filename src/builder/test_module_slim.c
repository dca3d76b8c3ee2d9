/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/module_slim.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/test.h"

static const char marker[] = "~Module signature appended~\n";

/* A module of two sections, their names and .BTF, with a signature of 5 bytes. */
struct module {
	Elf64_Ehdr header;
	Elf64_Shdr sections[2];
	char names[16];
	char btf[8];
	char signature[5];
	uint8_t info[12];
	char marker[sizeof(marker) - 1];
} __attribute__((packed));

static struct module make(void)
{
	struct module m = {0};

	memcpy(m.header.e_ident, ELFMAG, SELFMAG);
	m.header.e_type = ET_REL;
	m.header.e_machine = EM_X86_64;
	m.header.e_shoff = offsetof(struct module, sections);
	m.header.e_shentsize = sizeof(Elf64_Shdr);
	m.header.e_shnum = 2;
	m.header.e_shstrndx = 0;
	m.sections[0].sh_offset = offsetof(struct module, names);
	m.sections[0].sh_size = sizeof(m.names);
	m.sections[1].sh_name = 1;
	m.sections[1].sh_offset = offsetof(struct module, btf);
	m.sections[1].sh_size = sizeof(m.btf);
	memcpy(m.names, "\0.BTF", 6);
	m.info[11] = 5;
	memcpy(m.marker, marker, sizeof(m.marker));
	return m;
}

static void signature_and_types_go(void **state)
{
	struct module m = make();
	size_t n = sizeof(m);

	(void)state;
	assert_true(module_slim(&m, &n));
	assert_int_equal(n, offsetof(struct module, signature));
	assert_int_equal(m.sections[1].sh_size, 0);
	assert_int_equal(m.sections[0].sh_size, sizeof(m.names));
	assert_false(module_slim(&m, &n));
}

static void damaged_modules_stay(void **state)
{
	struct module m = make(), copy;
	size_t n = sizeof(m);

	(void)state;
	m.info[8] = 0xff; /* a signature longer than the file */
	m.header.e_shoff = UINT64_MAX - 8;
	copy = m;
	assert_false(module_slim(&m, &n));
	assert_int_equal(n, sizeof(m));
	assert_memory_equal(&m, &copy, sizeof(m));
	m = make();
	m.info[8] = 0xff;
	m.sections[0].sh_size = UINT64_MAX;
	assert_false(module_slim(&m, &n));
	m = make();
	m.info[8] = 0xff;
	m.header.e_shnum = 0xffff;
	m.sections[1].sh_name = 0xffffffff;
	assert_false(module_slim(&m, &n));
	m = make();
	m.info[8] = 0xff;
	m.header.e_type = ET_EXEC;
	assert_false(module_slim(&m, &n));
	for (n = 0; n < sizeof(Elf64_Ehdr); n++) {
		size_t size = n;
		char *data = malloc(n + 1);

		memcpy(data, &copy, n);
		assert_false(module_slim(data, &size));
		free(data);
	}
}

static void only_where_unsigned_modules_load(void **state)
{
	(void)state;
	assert_true(module_slim_config_allows("#\nCONFIG_MODULES=y\nCONFIG_MODULE_SIG=y\n"
					      "# CONFIG_MODULE_SIG_FORCE is not set\n"));
	assert_false(module_slim_config_allows("#\nCONFIG_MODULES=y\nCONFIG_MODULE_SIG_FORCE=y\n"));
	assert_false(module_slim_config_allows(
		"\nCONFIG_MODULES=y\nCONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y\n"));
	assert_false(module_slim_config_allows(""));
	assert_false(module_slim_allowed("/no/such/kernel"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signature_and_types_go),
		cmocka_unit_test(damaged_modules_stay),
		cmocka_unit_test(only_where_unsigned_modules_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
