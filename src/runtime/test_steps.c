/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/steps.h"

#include <errno.h>

#include "base/str.h"
#include "base/test.h"

#define N 5

static struct trace {
	struct buf log;
	int fail_at;
	uint64_t deadline;
} trace;

static int enter(struct trace *t, int i, struct err *err)
{
	buf_addf(&t->log, "+%d", i);
	assert_true(t->deadline > 0);
	return i == t->fail_at ? err_set(err, -ENOENT, "open file%d", i) : 0;
}

#define STEP(i)                                                      \
	static int enter##i(void *context, struct err *err)          \
	{                                                            \
		return enter(context, i, err);                       \
	}                                                            \
	static void undo##i(void *context)                           \
	{                                                            \
		buf_addf(&((struct trace *)context)->log, "-%d", i); \
	}
STEP(0)
STEP(1)
STEP(2)
STEP(3)

static int enter4(void *context, struct err *err)
{
	return enter(context, 4, err);
}

static const struct step table[N] = {
	{"zero", enter0, undo0, 1000}, {"one", enter1, undo1, 0},    {"two", enter2, undo2, 1000},
	{"three", enter3, undo3, 0},   {"four", enter4, NULL, 1000},
};

static void explain(void *context, struct err *err)
{
	buf_adds(&((struct trace *)context)->log, "?");
	err_wrap(err, err->code, "explained");
}

/* A failure anywhere undoes exactly what was begun, last first. */
static void fails_at_each_step(void **state)
{
	static const char *const expect[N] = {
		"+0?-0", "+0+1?-1-0", "+0+1+2?-2-1-0", "+0+1+2+3?-3-2-1-0", "+0+1+2+3+4?-3-2-1-0",
	};

	(void)state;
	for (int i = 0; i < N; i++) {
		_cleanup_err_ struct err err = {0};
		char text[64];

		trace = (struct trace){.fail_at = i};
		assert_int_equal(steps_run(table, N, &trace, &trace.deadline, explain, &err),
				 -ENOENT);
		assert_string_equal(trace.log.data, expect[i]);
		snprintf(text, sizeof(text),
			 "explained: %s: open file%d: No such file or directory", table[i].name, i);
		assert_string_equal(err_text(&err), text);
		buf_fini(&trace.log);
	}
}

static void succeeds(void **state)
{
	_cleanup_err_ struct err err = {0};

	(void)state;
	trace = (struct trace){.fail_at = -1};
	assert_int_equal(steps_run(table, N, &trace, &trace.deadline, explain, &err), 0);
	assert_string_equal(trace.log.data, "+0+1+2+3+4");
	assert_null(err.msg);
	steps_undo(table, N, &trace);
	assert_string_equal(trace.log.data, "+0+1+2+3+4-3-2-1-0");
	buf_fini(&trace.log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fails_at_each_step),
		cmocka_unit_test(succeeds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
