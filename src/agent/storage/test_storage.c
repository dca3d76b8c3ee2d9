/* SPDX-License-Identifier: Apache-2.0 */
/* The counting of storage.c, with drivers that only note what they are asked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/storage/driver.h"
#include "base/test.h"

static struct agent agent;
static char journal[512];
static int failure, unmount_failure;

static void note(const char *what, const char *where)
{
	size_t n = strlen(journal);

	snprintf(journal + n, sizeof(journal) - n, "%s%s ", what, where);
}

static int fake_add(struct agent *a, const Grpc__Storage *request, struct storage *storage,
		    struct err *err)
{
	(void)a;
	co_sleep(1000);
	note("+", request->mount_point);
	if (failure)
		return err_setx(err, failure, "no");
	storage->mounted = true;
	return 0;
}

static const struct storage_driver fakes[] = {{"fake", fake_add, false}, {"kept", fake_add, true}};

const struct storage_driver *storage_driver_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(fakes); i++)
		if (strcmp(fakes[i].name, name) == 0)
			return &fakes[i];
	return NULL;
}

int storage_unmount(const struct storage *storage, struct err *err)
{
	co_sleep(1000);
	note("-", storage->mount_point);
	return unmount_failure ? err_setx(err, unmount_failure, "busy") : 0;
}

int storage_remount(const Grpc__Storage *request, struct err *err)
{
	(void)err;
	note("~", request->mount_point);
	return 0;
}

/* --- running --- */

static unsigned int running;

static void run_to_end(void)
{
	while (running)
		assert_int_equal(loop_round(agent.loop, 100000), 0);
}

struct job {
	struct list *refs;
	Grpc__Storage *storages[4];
	size_t n;
	int r;
};

static void add_job(void *arg)
{
	struct job *job = arg;

	job->r = storage_add_all(&agent, job->refs, job->storages, job->n, NULL);
	running--;
}

static void remove_job(void *arg)
{
	struct job *job = arg;

	job->r = storage_remove_all(&agent, job->refs, NULL);
	running--;
}

static void start(co_fn fn, struct job *job)
{
	running++;
	co_start(agent.loop, fn, job);
}

static int do_now(co_fn fn, struct job *job)
{
	start(fn, job);
	run_to_end();
	return job->r;
}

static Grpc__Storage make(const char *driver, const char *target)
{
	Grpc__Storage s = GRPC__STORAGE__INIT;

	s.driver = (char *)driver;
	s.mount_point = (char *)target;
	return s;
}

static int set_up(void **state)
{
	(void)state;
	memset(&agent, 0, sizeof(agent));
	list_init(&agent.sandbox.storages);
	journal[0] = '\0';
	failure = unmount_failure = 0;
	return loop_new(&agent.loop);
}

static int tear_down(void **state)
{
	struct job job = {.refs = &agent.sandbox.storages};

	(void)state;
	do_now(remove_job, &job);
	assert_int_equal(agent.storages.n, 0);
	map_fini(&agent.storages);
	loop_free(agent.loop);
	return 0;
}

/* --- tests --- */

static void the_last_one_unmounts(void **state)
{
	struct list one = LIST_INIT(one), two = LIST_INIT(two);
	Grpc__Storage s = make("fake", "/a");
	struct job first = {.refs = &one, .storages = {&s}, .n = 1}, second = first;

	(void)state;
	second.refs = &two;
	/* At the same time: the second waits for the first one's mount. */
	start(add_job, &first);
	start(add_job, &second);
	run_to_end();
	assert_int_equal(first.r | second.r, 0);
	assert_string_equal(journal, "+/a ");
	assert_int_equal(do_now(remove_job, &first), 0);
	assert_string_equal(journal, "+/a ");
	assert_int_equal(do_now(remove_job, &second), 0);
	assert_string_equal(journal, "+/a -/a ");
}

static void whoever_comes_back_mounts_again(void **state)
{
	struct list one = LIST_INIT(one), two = LIST_INIT(two);
	Grpc__Storage s = make("fake", "/a");
	struct job first = {.refs = &one, .storages = {&s}, .n = 1}, second = first;

	(void)state;
	second.refs = &two;
	assert_int_equal(do_now(add_job, &first), 0);
	start(remove_job, &first);
	start(add_job, &second);
	run_to_end();
	assert_int_equal(second.r, 0);
	assert_string_equal(journal, "+/a -/a +/a ");
	assert_int_equal(do_now(remove_job, &second), 0);
}

static void what_failed_is_taken_back(void **state)
{
	struct list refs = LIST_INIT(refs);
	Grpc__Storage a = make("fake", "/a"), b = make("fake", "/b"), bad = make("none", "/c");
	struct job job = {.refs = &refs, .storages = {&a, &b, &bad}, .n = 3};

	(void)state;
	assert_int_equal(do_now(add_job, &job), -ENOSYS);
	assert_string_equal(journal, "+/a +/b -/b -/a ");
	assert_true(list_empty(&refs));
	journal[0] = '\0';
	failure = -EIO;
	job.n = 1;
	assert_int_equal(do_now(add_job, &job), -EIO);
	assert_string_equal(journal, "+/a ");
	assert_int_equal(agent.storages.n, 0);
}

static void the_sandbox_keeps_what_outlives_containers(void **state)
{
	struct list refs = LIST_INIT(refs);
	Grpc__Storage kept = make("kept", "/k"), shared = make("fake", "/s");
	struct job job = {.refs = &refs, .storages = {&kept, &shared}, .n = 2};
	struct job end = {.refs = &agent.sandbox.storages};

	(void)state;
	shared.shared = true;
	assert_int_equal(do_now(add_job, &job), 0);
	assert_int_equal(do_now(remove_job, &job), 0);
	assert_string_equal(journal, "+/k +/s ");
	/* The restarted container finds them mounted. */
	assert_int_equal(do_now(add_job, &job), 0);
	assert_int_equal(do_now(remove_job, &job), 0);
	assert_string_equal(journal, "+/k +/s ");
	assert_int_equal(do_now(remove_job, &end), 0);
	assert_string_equal(journal, "+/k +/s -/s -/k ");
}

static void a_failed_unmount_does_not_stop_the_others(void **state)
{
	struct list refs = LIST_INIT(refs);
	Grpc__Storage a = make("fake", "/a"), b = make("fake", "/b");
	struct job job = {.refs = &refs, .storages = {&a, &b}, .n = 2};

	(void)state;
	assert_int_equal(do_now(add_job, &job), 0);
	unmount_failure = -EBUSY;
	assert_int_equal(do_now(remove_job, &job), -EBUSY);
	assert_string_equal(journal, "+/a +/b -/b -/a ");
	assert_true(list_empty(&refs));
}

static void hostile_requests_are_refused(void **state)
{
	static const char *const bad[] = {"", "/", "relative", "/a/../b", "/a//b", "/./a"};
	struct list refs = LIST_INIT(refs);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		Grpc__Storage s = make("fake", bad[i]);
		struct job job = {.refs = &refs, .storages = {&s}, .n = 1};

		assert_int_equal(do_now(add_job, &job), -EINVAL);
	}
	assert_string_equal(journal, "");
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_last_one_unmounts),
		T(whoever_comes_back_mounts_again),
		T(what_failed_is_taken_back),
		T(the_sandbox_keeps_what_outlives_containers),
		T(a_failed_unmount_does_not_stop_the_others),
		T(hostile_requests_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
