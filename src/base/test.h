/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What every unit test includes: cmocka and the headers that it wants before it. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* test_limit: a limit of time, in any unit, that fits the machine: KATA_TEST_SLOWNESS times it,
 * which ci/meson-tests measures. */
static inline uint64_t test_limit(uint64_t time)
{
	const char *text = getenv("KATA_TEST_SLOWNESS");
	double slowness = text ? strtod(text, NULL) : 1;

	return slowness > 1 ? (uint64_t)((double)time * slowness) : time;
}

/*
 * skip_test, skip_test_of: end this test (the one named) as skipped. skip_program: the same for all
 * tests of the program. tests/skips.txt holds what may skip, with its reason: what is printed here
 * and is not there fails the run (ci/skips.py). cmocka's own skip() says nothing to anybody.
 */
#undef skip
#define skip_test_of(name, reason)                      \
	do {                                            \
		printf("skip: %s: %s\n", name, reason); \
		fflush(stdout);                         \
		_skip(__FILE__, __LINE__);              \
	} while (0)
#define skip_test(reason) skip_test_of(__func__, reason)
#define skip_program(reason)                                                     \
	do {                                                                     \
		printf("skip: %s: %s\n", program_invocation_short_name, reason); \
		exit(77);                                                        \
	} while (0)
