/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/module_slim.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>

#include "base/fs.h"
#include "base/path.h"
#include "base/str.h"

#define CONFIG_MAX (4U << 20)

/* scripts/sign-file.c: signature, this, then the marker at the very end. */
static const char marker[] = "~Module signature appended~\n";

struct signature_info {
	uint8_t algorithm, hash, id_type, signer_len, key_id_len, padding[3];
	uint8_t len[4]; /* of the signature, big-endian */
};

static bool cut_signature(const void *module, size_t *n)
{
	const size_t marker_len = sizeof(marker) - 1;
	struct signature_info info;
	size_t left = *n, len;

	if (left < marker_len + sizeof(info) ||
	    memcmp((const char *)module + left - marker_len, marker, marker_len) != 0)
		return false;
	left -= marker_len + sizeof(info);
	memcpy(&info, (const char *)module + left, sizeof(info));
	len = (size_t)info.len[0] << 24 | (size_t)info.len[1] << 16 | (size_t)info.len[2] << 8 |
	      info.len[3];
	if (len > left)
		return false;
	*n = left - len;
	return true;
}

static bool section(const char *module, size_t n, const Elf64_Ehdr *header, size_t i,
		    Elf64_Shdr *ret)
{
	size_t at = header->e_shoff + i * sizeof(*ret);

	if (header->e_shoff > n || at > n || sizeof(*ret) > n - at)
		return false;
	memcpy(ret, module + at, sizeof(*ret));
	return true;
}

/* Linux takes a section of no bytes for no type information at all. */
static bool empty_btf(char *module, size_t n)
{
	static const char name[] = ".BTF";
	Elf64_Shdr names, one;
	Elf64_Ehdr header;

	if (n < sizeof(header))
		return false;
	memcpy(&header, module, sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_type != ET_REL ||
	    header.e_machine != EM_X86_64 || header.e_shentsize != sizeof(one) ||
	    !section(module, n, &header, header.e_shstrndx, &names) || names.sh_offset > n ||
	    names.sh_size > n - names.sh_offset)
		return false;
	for (size_t i = 0; i < header.e_shnum; i++) {
		if (!section(module, n, &header, i, &one))
			return false;
		if (one.sh_name > names.sh_size || names.sh_size - one.sh_name < sizeof(name) ||
		    memcmp(module + names.sh_offset + one.sh_name, name, sizeof(name)) != 0 ||
		    one.sh_size == 0)
			continue;
		one.sh_size = 0;
		memcpy(module + header.e_shoff + i * sizeof(one), &one, sizeof(one));
		return true;
	}
	return false;
}

bool module_slim(void *module, size_t *n)
{
	bool cut = cut_signature(module, n);

	return empty_btf(module, *n) || cut;
}

bool module_slim_config_allows(const char *config)
{
	static const char *const forbidding[] = {
		"\nCONFIG_MODULE_SIG_FORCE=y",
		"\nCONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y",
		"\nCONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY=y",
	};

	for (size_t i = 0; i < ARRAY_SIZE(forbidding); i++)
		if (strstr(config, forbidding[i]))
			return false;
	return strstr(config, "\nCONFIG_MODULES=y") != NULL;
}

bool module_slim_allowed(const char *dir)
{
	_cleanup_(freep) char *beside = path_join(dir, "config");
	_cleanup_(freep) char *boot = xasprintf("/boot/config-%s", path_name(dir));
	_cleanup_(freep) char *text = NULL;

	if (fs_read(beside, CONFIG_MAX, &text, NULL) < 0 &&
	    fs_read(boot, CONFIG_MAX, &text, NULL) < 0)
		return false;
	return module_slim_config_allows(text);
}
