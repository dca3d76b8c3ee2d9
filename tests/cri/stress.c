/* SPDX-License-Identifier: Apache-2.0 */
/* stress -m 1 --vm-bytes 100M --vm-hang 0 -t 30: what the tests use of the program of this name.
 * Holds the memory for the time. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t bytes = 0;
	unsigned int seconds = 0;
	char *memory;

	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], "--vm-bytes") == 0)
			bytes = strtoul(argv[i + 1], NULL, 10) << 20;
		else if (strcmp(argv[i], "-t") == 0)
			seconds = (unsigned int)strtoul(argv[i + 1], NULL, 10);
	}
	memory = malloc(bytes);
	if (bytes == 0 || !memory)
		return 1;
	for (size_t i = 0; i < bytes; i += 4096)
		((volatile char *)memory)[i] = 1;
	sleep(seconds);
	return 0;
}
