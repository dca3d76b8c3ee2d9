/* SPDX-License-Identifier: Apache-2.0 */
/* The places where spares wait. */
#include "runtime/spare.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/path.h"
#include "base/test.h"
#include "fakes/own_run.h"

#define FILE_A "/etc/a.toml"
#define FILE_B "/etc/b.toml"
#define NOBODY ((struct spare_place){-1, -1, NULL})

static int set_up(_unused_ void **state)
{
	return fs_remove_all(SPARE_ROOT);
}

static struct spare_place claim(const char *file, unsigned int n)
{
	struct spare_place place = NOBODY;
	_cleanup_err_ struct err err = {0};

	if (spare_claim(file, n, &place, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_true(place.lock >= 0);
	assert_int_equal(place.listener, -1);
	return place;
}

static struct spare_place offer(const char *file, unsigned int n)
{
	struct spare_place place = claim(file, n);
	_cleanup_err_ struct err err = {0};

	if (spare_offer(&place, &err) < 0)
		fail_msg("%s", err_text(&err));
	return place;
}

static void expect_full(const char *file, unsigned int n)
{
	struct spare_place place = NOBODY;
	_cleanup_err_ struct err err = {0};

	assert_int_equal(spare_claim(file, n, &place, &err), -EEXIST);
	assert_int_equal(place.lock, -1);
}

static void claims(_unused_ void **state)
{
	struct spare_place a, b;

	expect_full(FILE_A, 0);
	a = claim(FILE_A, 2);
	b = claim(FILE_A, 2);
	assert_string_not_equal(a.socket, b.socket);
	expect_full(FILE_A, 2);
	/* It is no other one's. */
	expect_full(FILE_A, 1);
	spare_release(&a);
	assert_int_equal(a.lock, -1);
	assert_null(a.socket);
	expect_full(FILE_A, 0);
	a = claim(FILE_A, 1);
	expect_full(FILE_A, 2);
	spare_release(&a);
	spare_release(&b);
	/* Nothing was claimed. */
	spare_release(&a);
}

static void configurations(_unused_ void **state)
{
	struct spare_place a = offer(FILE_A, 1), b, none;
	unsigned int next = 0;

	assert_int_equal(spare_connect(FILE_B, &next), -ENOENT);
	assert_true(spare_missing(FILE_B, 1));
	b = claim(FILE_B, 1);
	/* Without a file the defaults hold: a configuration as well. */
	none = claim("", 1);
	spare_release(&none);
	spare_release(&b);
	spare_release(&a);
}

static void missing(_unused_ void **state)
{
	struct spare_place a;

	assert_false(spare_missing(FILE_A, 0));
	assert_true(spare_missing(FILE_A, 1));
	a = claim(FILE_A, 1);
	assert_false(spare_missing(FILE_A, 0));
	assert_false(spare_missing(FILE_A, 1));
	assert_true(spare_missing(FILE_A, 2));
	/* Looking takes no place. */
	assert_true(spare_missing(FILE_A, 2));
	spare_release(&a);
	assert_true(spare_missing(FILE_A, 1));
}

/* From one to the next, only those that are ready, each once. */
static void connects(_unused_ void **state)
{
	struct spare_place places[3] = {offer(FILE_A, 3), claim(FILE_A, 3), offer(FILE_A, 3)};
	unsigned int next = 0;
	char text[8] = "";
	int fd, peer;

	fd = spare_connect(FILE_A, &next);
	assert_true(fd >= 0);
	assert_int_equal(next, 1);
	peer = accept(places[0].listener, NULL, NULL);
	assert_true(peer >= 0);
	assert_int_equal(fd_write_all(fd, "hello", 6), 0);
	assert_int_equal(fd_read_full(peer, text, 6), 6);
	assert_string_equal(text, "hello");
	close(fd);
	close(peer);
	fd = spare_connect(FILE_A, &next);
	assert_true(fd >= 0);
	assert_int_equal(next, 3);
	assert_true(accept(places[0].listener, NULL, NULL) < 0);
	close(fd);
	assert_int_equal(spare_connect(FILE_A, &next), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		_cleanup_(freep) char *socket = xstrdup(places[i].socket);

		spare_release(&places[i]);
		assert_false(fs_exists(socket));
	}
	next = 0;
	assert_int_equal(spare_connect(FILE_A, &next), -ENOENT);
}

/* It ends without a word, and its socket stays. */
static void killed(_unused_ void **state)
{
	struct spare_place place = NOBODY;
	unsigned int next = 0;
	int ready[2], fd;
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		place = offer(FILE_A, 1);
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	expect_full(FILE_A, 1);
	assert_false(spare_missing(FILE_A, 1));
	assert_int_equal(spare_count(FILE_A), 1);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(spare_connect(FILE_A, &next), -ENOENT);
	assert_int_equal(spare_count(FILE_A), 0);
	assert_true(spare_missing(FILE_A, 1));
	place = claim(FILE_A, 1);
	assert_true(fs_exists(place.socket));
	assert_int_equal(spare_offer(&place, NULL), 0);
	next = 0;
	fd = spare_connect(FILE_A, &next);
	assert_true(fd >= 0);
	close(fd);
	spare_release(&place);
}

/* Whoever counts leaves nothing but a connection that ends. */
static void counts(_unused_ void **state)
{
	struct spare_place a = offer(FILE_A, 2), b = offer(FILE_A, 2);
	char byte;
	int peer;

	assert_int_equal(spare_count(FILE_B), 0);
	assert_int_equal(spare_count(FILE_A), 2);
	assert_int_equal(spare_count(FILE_A), 2);
	peer = accept(a.listener, NULL, NULL);
	assert_true(peer >= 0);
	assert_int_equal(read(peer, &byte, 1), 0);
	close(peer);
	spare_release(&b);
	assert_int_equal(spare_count(FILE_A), 1);
	spare_release(&a);
}

static void dismisses(_unused_ void **state)
{
	struct spare_place places[] = {offer(FILE_A, 2), offer(FILE_A, 2)};
	struct spare_place other = offer(FILE_B, 1);

	assert_int_equal(spare_dismiss("/etc/none.toml"), 0);
	assert_int_equal(spare_dismiss(FILE_A), 2);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		int peer = accept(places[i].listener, NULL, NULL);
		char text[32] = "";

		assert_true(peer >= 0);
		assert_int_equal(fd_read_full(peer, text, sizeof(text)), sizeof(SPARE_DISMISSED));
		assert_string_equal(text, SPARE_DISMISSED);
		close(peer);
		spare_release(&places[i]);
	}
	assert_true(accept(other.listener, NULL, NULL) < 0);
	spare_release(&other);
}

/* Nobody else may take or end one. */
static void rights(_unused_ void **state)
{
	struct spare_place place = offer(FILE_A, 1);
	_cleanup_(freep) char *folder = path_dir(place.socket);
	struct stat st;

	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(place.socket, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	spare_release(&place);
}

/* A place that nobody can have is no reason to start one. */
static void no_folder(_unused_ void **state)
{
	struct spare_place place = NOBODY;
	_cleanup_err_ struct err err = {0};
	unsigned int next = 0;

	assert_int_equal(fs_mkdir_all("/run/vc", 0755), 0);
	assert_int_equal(fs_replace(SPARE_ROOT, "", 0, 0600, false), 0);
	assert_true(spare_claim(FILE_A, 1, &place, &err) < 0);
	assert_non_null(strstr(err_text(&err), SPARE_ROOT));
	assert_int_equal(spare_connect(FILE_A, &next), -ENOENT);
	assert_int_equal(unlink(SPARE_ROOT), 0);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(claims), TEST(configurations), TEST(missing), TEST(connects),  TEST(killed),
		TEST(counts), TEST(dismisses),      TEST(rights),  TEST(no_folder),
	};

	if (own_run_enter() < 0)
		skip_program("needs namespaces");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
