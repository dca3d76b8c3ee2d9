/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/elf64.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

/* xen/include/public/elfnote.h: the name and type of the note with the PVH entry point. */
#define XEN_NOTE_NAME       "Xen"
#define XEN_ELFNOTE_PHYS32  18
#define NOTE_ALIGN(x)       (((x) + 3U) & ~(size_t)3)
#define PROGRAM_HEADERS_MAX 128
#define LINUX_BANNER        "Linux version "

static int read_header(const void *elf, size_t n, Elf64_Ehdr *ret)
{
	if (n < sizeof(*ret))
		return -ENOEXEC;
	memcpy(ret, elf, sizeof(*ret));
	if (memcmp(ret->e_ident, ELFMAG, SELFMAG) != 0 || ret->e_ident[EI_CLASS] != ELFCLASS64 ||
	    ret->e_ident[EI_DATA] != ELFDATA2LSB || ret->e_machine != EM_X86_64)
		return -ENOEXEC;
	if (ret->e_phentsize != sizeof(Elf64_Phdr) || ret->e_phnum == 0 ||
	    ret->e_phnum > PROGRAM_HEADERS_MAX || ret->e_phoff > n ||
	    ret->e_phnum * sizeof(Elf64_Phdr) > n - ret->e_phoff)
		return -EBADMSG;
	return 0;
}

/* The i-th program header, its bytes checked to be inside of the file. */
static int read_segment(const void *elf, size_t n, const Elf64_Ehdr *header, size_t i,
			Elf64_Phdr *ret)
{
	memcpy(ret, (const char *)elf + header->e_phoff + i * sizeof(*ret), sizeof(*ret));
	if (ret->p_offset > n || ret->p_filesz > n - ret->p_offset)
		return -EBADMSG;
	return 0;
}

/* One note segment; each note is a header, its name and its content, both padded to 4 bytes. */
static bool find_pvh_note(const uint8_t *p, size_t n, uint32_t *ret)
{
	Elf64_Nhdr note;

	while (n >= sizeof(note)) {
		size_t name_len, content_len;

		memcpy(&note, p, sizeof(note));
		p += sizeof(note);
		n -= sizeof(note);
		name_len = NOTE_ALIGN((size_t)note.n_namesz);
		content_len = NOTE_ALIGN((size_t)note.n_descsz);
		if (name_len > n || content_len > n - name_len)
			return false;
		if (note.n_type == XEN_ELFNOTE_PHYS32 && note.n_namesz == sizeof(XEN_NOTE_NAME) &&
		    memcmp(p, XEN_NOTE_NAME, sizeof(XEN_NOTE_NAME)) == 0 &&
		    note.n_descsz >= sizeof(*ret)) {
			memcpy(ret, p + name_len, sizeof(*ret));
			return true;
		}
		p += name_len + content_len;
		n -= name_len + content_len;
	}
	return false;
}

bool elf64_detect(const void *elf, size_t n)
{
	Elf64_Ehdr header;

	return read_header(elf, n, &header) == 0 && header.e_type == ET_EXEC;
}

int elf64_needs_interpreter(const void *elf, size_t n)
{
	Elf64_Ehdr header;
	int r = read_header(elf, n, &header);

	if (r == 0 && header.e_type != ET_EXEC && header.e_type != ET_DYN)
		return -ENOEXEC;
	for (size_t i = 0; r == 0 && i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		r = read_segment(elf, n, &header, i, &segment);
		if (r == 0 && segment.p_type == PT_INTERP)
			return 1;
	}
	return r;
}

int elf64_pvh_entry(const void *elf, size_t n, uint32_t *ret)
{
	Elf64_Ehdr header;
	int r = read_header(elf, n, &header);

	for (size_t i = 0; r == 0 && i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		r = read_segment(elf, n, &header, i, &segment);
		if (r == 0 && segment.p_type == PT_NOTE &&
		    find_pvh_note((const uint8_t *)elf + segment.p_offset, segment.p_filesz, ret))
			return 0;
	}
	return r < 0 ? r : -ENOENT;
}

/* p_memsz beyond p_filesz is zero by definition, so the file need not have those bytes. */
static void trim_zeroes(void *elf, const Elf64_Ehdr *header, size_t i, Elf64_Phdr *segment)
{
	const char *bytes = (const char *)elf + segment->p_offset;

	if (segment->p_type != PT_LOAD || segment->p_memsz < segment->p_filesz)
		return;
	while (segment->p_filesz > 0 && bytes[segment->p_filesz - 1] == 0)
		segment->p_filesz--;
	memcpy((char *)elf + header->e_phoff + i * sizeof(*segment), segment, sizeof(*segment));
}

int elf64_strip(void *elf, size_t *n)
{
	Elf64_Ehdr header;
	size_t end;
	int r = read_header(elf, *n, &header);

	if (r < 0)
		return r;
	end = header.e_phoff + header.e_phnum * sizeof(Elf64_Phdr);
	end = MAX(end, sizeof(header));
	for (size_t i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		r = read_segment(elf, *n, &header, i, &segment);
		if (r < 0)
			return r;
		end = MAX(end, (size_t)(segment.p_offset + segment.p_filesz));
	}
	header.e_shoff = 0;
	header.e_shnum = 0;
	header.e_shstrndx = SHN_UNDEF;
	memcpy(elf, &header, sizeof(header));
	*n = end;
	return 0;
}

int elf64_trim(void *elf, size_t *n)
{
	Elf64_Ehdr header;
	int r = read_header(elf, *n, &header);

	for (size_t i = 0; r == 0 && i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		r = read_segment(elf, *n, &header, i, &segment);
		if (r == 0)
			trim_zeroes(elf, &header, i, &segment);
	}
	return r < 0 ? r : elf64_strip(elf, n);
}

bool elf64_linux_release(const void *elf, size_t n, char *ret, size_t size)
{
	const char *start = elf, *end = start + n, *p = start;
	const size_t banner_len = strlen(LINUX_BANNER);

	while ((p = memmem(p, (size_t)(end - p), LINUX_BANNER, banner_len))) {
		size_t len = 0;

		p += banner_len;
		while (p + len < end && len < size && isgraph((unsigned char)p[len]))
			len++;
		/* The format strings of the kernel also say "Linux version %s". */
		if (len > 0 && len < size && isdigit((unsigned char)*p)) {
			memcpy(ret, p, len);
			ret[len] = '\0';
			return true;
		}
	}
	return false;
}
