/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main() for a fuzzer without libFuzzer: runs it over files, or all files of folders. Every input
 * is a copy of exactly its size, so that valgrind and AddressSanitizer see a read behind it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/path.h"

#define INPUT_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(freep) uint8_t *exact = NULL;
	size_t n;
	int r;

	r = fs_read(path, INPUT_MAX, &text, &n);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
		return r;
	}
	exact = malloc(n ? n : 1);
	if (!exact)
		return -ENOMEM;
	memcpy(exact, text, n);
	LLVMFuzzerTestOneInput(exact, n);
	return 1;
}

/* Returns how many inputs there were, or -errno. */
static int replay_folder(const char *path)
{
	_cleanup_(closedirp) DIR *folder = opendir(path);
	struct dirent *entry;
	int n = 0;

	if (!folder)
		return errno == ENOTDIR ? replay(path) : -errno;
	while ((entry = readdir(folder))) {
		_cleanup_(freep) char *file = path_join(path, entry->d_name);
		int r;

		if (entry->d_name[0] == '.')
			continue;
		r = replay(file);
		if (r < 0)
			return r;
		n += r;
	}
	return n;
}

int main(int argc, char **argv)
{
	int n = 0;

	for (int i = 1; i < argc; i++) {
		int r = replay_folder(argv[i]);

		if (r < 0) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
			return 1;
		}
		n += r;
	}
	printf("%d inputs\n", n);
	return n ? 0 : 1; /* a corpus that has gone would pass unseen */
}
