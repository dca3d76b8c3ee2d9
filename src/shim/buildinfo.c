/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/buildinfo.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

/*
 * How it works: a few small reads find the section by its name; the modules in it are text, one a
 * line: "dep<TAB>module<TAB>version". Programs have tens of megabytes, the section a few kilobytes.
 * Only the byte order and word size of this machine are read: it is the program that called us.
 */

#define SECTIONS_MAX 4096U
#define NAMES_MAX    (1U << 20)
#define INFO_MAX     (1U << 20)

static int read_at(int fd, void *p, size_t n, uint64_t offset)
{
	ssize_t got = pread(fd, p, n, (off_t)offset);

	if (got < 0)
		return -errno;
	return (size_t)got == n ? 0 : -ENODATA;
}

/* The content of a section, NUL-terminated. */
static int read_section(int fd, const Elf64_Shdr *section, size_t max, char **ret)
{
	_cleanup_(freep) char *data = NULL;
	int r;

	if (section->sh_type == SHT_NOBITS || section->sh_size == 0 || section->sh_size > max)
		return -ENODATA;
	data = xmalloc(section->sh_size + 1);
	r = read_at(fd, data, section->sh_size, section->sh_offset);
	if (r < 0)
		return r;
	data[section->sh_size] = '\0';
	*ret = TAKE_PTR(data);
	return 0;
}

static int read_sections(int fd, Elf64_Ehdr *header, Elf64_Shdr **ret)
{
	_cleanup_(freep) Elf64_Shdr *sections = NULL;
	int r = read_at(fd, header, sizeof(*header), 0);

	if (r < 0)
		return r;
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
	    header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_shentsize != sizeof(Elf64_Shdr) ||
	    header->e_shnum > SECTIONS_MAX || header->e_shstrndx >= header->e_shnum)
		return -ENODATA;
	sections = xcalloc(header->e_shnum, sizeof(*sections));
	r = read_at(fd, sections, header->e_shnum * sizeof(*sections), header->e_shoff);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(sections);
	return 0;
}

static int read_info(int fd, char **ret, size_t *ret_len)
{
	_cleanup_(freep) Elf64_Shdr *sections = NULL;
	_cleanup_(freep) char *names = NULL;
	Elf64_Ehdr header;
	int r = read_sections(fd, &header, &sections);

	if (r < 0)
		return r;
	r = read_section(fd, &sections[header.e_shstrndx], NAMES_MAX, &names);
	if (r < 0)
		return r;
	for (size_t i = 0; i < header.e_shnum; i++) {
		if (sections[i].sh_name >= sections[header.e_shstrndx].sh_size ||
		    strcmp(names + sections[i].sh_name, ".go.buildinfo") != 0)
			continue;
		*ret_len = sections[i].sh_size;
		return read_section(fd, &sections[i], INFO_MAX, ret);
	}
	return -ENODATA;
}

/* A module's path ends at a tab, or at a slash where only the program's package is known. */
static bool has_module(const char *info, size_t len, const char *module)
{
	size_t n = strlen(module);

	for (const char *p = info; (p = memmem(p, len - (p - info), module, n)); p += n)
		if (p > info && p[-1] == '\t' && strchr("\t/\n", p[n]))
			return true;
	return false;
}

int buildinfo_has_module(const char *path, const char *module)
{
	static const char magic[] = "\xff Go buildinf:";
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_(freep) char *info = NULL;
	size_t len = 0;
	int r;

	if (fd < 0)
		return -errno;
	r = read_info(fd, &info, &len);
	if (r < 0)
		return r;
	if (!memmem(info, len, magic, strlen(magic)))
		return -ENODATA;
	return has_module(info, len, module);
}
