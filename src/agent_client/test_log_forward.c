/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_client/log_forward.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/test.h"

static struct loop *loop;
static struct log_forward *forward;
static int sink, guest;

static int set_up(void **state)
{
	int pair[2];

	(void)state;
	sink = memfd_create("log", MFD_CLOEXEC);
	log_open("test", sink, LOG_FORMAT_LOGFMT, LOG_LEVEL_DEBUG);
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(fd_socketpair(pair), 0);
	guest = pair[1];
	assert_int_equal(log_forward_start(loop, pair[0], &forward), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	log_forward_stop(TAKE_PTR(forward));
	loop_free(TAKE_PTR(loop));
	close(sink);
	guest = fd_close(guest);
	return 0;
}

/* The log so far; the caller frees. */
static char *logged(void)
{
	char path[32], *text;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", sink);
	assert_int_equal(fs_read(path, 1U << 20, &text, NULL), 0);
	return text;
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static void feed(const char *text)
{
	log_forward_feed(forward, text, strlen(text));
}

static void levels(void **state)
{
	_cleanup_(freep) char *text = NULL;

	(void)state;
	feed("time=x level=error msg=\"it \\\"broke\\\"\" name=a\n");
	feed("{\"time\":\"x\",\"level\":\"warning\",\"msg\":\"jso");
	feed("n\",\"name\":\"a\"}\nno structure at all\nlevel=info msg=word more=x\n");
	text = logged();
	/* A guest raises no errors of the host's. */
	assert_int_equal(count(text, " level=error"), 0);
	assert_int_equal(count(text, " level=warning"), 0);
	assert_int_equal(count(text, " level=info"), 3);
	assert_int_equal(count(text, "level=debug"), 1);
	assert_non_null(strstr(text, "guest: error: it "));
	assert_non_null(strstr(text, "guest: warning: json\""));
	assert_non_null(strstr(text, "guest: no structure at all\""));
	assert_non_null(strstr(text, "guest: word\""));
}

/* A guest can neither forge a line of ours, nor hide one, nor write without end. */
static void hostile(void **state)
{
	_cleanup_(freep) char *text = NULL, *flood = xmalloc(100001);

	(void)state;
	feed("level=info msg=\"\x1b[2J\ttime=2020 level=error msg=forged\"\n");
	log_forward_feed(forward, "a\0b\n", 4);
	memset(flood, 'x', 100000);
	flood[100000] = '\0';
	feed(flood);
	feed("\n");
	text = logged();
	assert_int_equal(count(text, "\n"), 3);
	assert_null(strchr(text, '\x1b'));
	assert_true(strlen(text) < AGENT_LOG_LINE_MAX + 1024);
	assert_non_null(strstr(text, "guest: a b"));
}

static void rate(void **state)
{
	_cleanup_(freep) char *text = NULL;

	(void)state;
	for (int i = 0; i < 5000; i++)
		feed("level=info msg=again\n");
	text = logged();
	assert_true(count(text, "again") >= AGENT_LOG_LINES_RATE);
	assert_true(count(text, "again") <= 3 * AGENT_LOG_LINES_RATE);
}

/* The last line of a guest that is gone may lack its end. */
static void end(void **state)
{
	_cleanup_(freep) char *text = NULL;

	(void)state;
	assert_int_equal(fd_write_all(guest, "level=error msg=last", 20), 0);
	guest = fd_close(guest);
	for (int i = 0; i < 4; i++)
		loop_round(loop, 1000);
	text = logged();
	assert_non_null(strstr(text, "guest: error: last"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(levels), TEST(hostile), TEST(rate), TEST(end)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
