/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/path.h"
#include "base/str.h"

static int fds[2];

static int setup(_unused_ void **state)
{
	return pipe2(fds, O_CLOEXEC | O_NONBLOCK);
}

static int teardown(_unused_ void **state)
{
	log_open("test", -1, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

static const char *line(void)
{
	static char text[1024];
	ssize_t n = read(fds[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void test_levels(_unused_ void **state)
{
	log_open("prog", fds[1], LOG_FORMAT_LOGFMT, LOG_LEVEL_WARN);
	log_info("quiet");
	log_debug("quiet");
	assert_string_equal(line(), "");
	log_warn("loud %d", 1);
	assert_non_null(strstr(line(), " level=warning msg=\"loud 1\" name=prog pid="));
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("now");
	assert_non_null(strstr(line(), "msg=now"));
}

static void test_no_forged_lines(_unused_ void **state)
{
	const char *text;

	log_open("prog", fds[1], LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	log_error("a\ntime=x level=info msg=\"forged\"");
	text = line();
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	log_open("prog", fds[1], LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	log_error("a\"}\n{\"msg\":\"forged\"");
	text = line();
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_non_null(strstr(text, "\"msg\":\"a\\\"}\\n{\\\"msg\\\":\\\"forged\\\"\""));
}

static void test_fields(_unused_ void **state)
{
	const char *text;

	log_open("prog", fds[1], LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	log_set_field("sandbox", "s");
	log_set_field("container", "c");
	log_info("m");
	assert_non_null(strstr(line(), " sandbox=s container=c\n"));
	log_set_field("sandbox", NULL);
	log_set_field("container", "d"); /* the same field, not a second one */
	log_info("m");
	text = line();
	assert_non_null(strstr(text, "container=d\n"));
	assert_null(strstr(text, "container=c"));
	assert_null(strstr(text, "sandbox"));
	log_set_field("container", NULL);
	log_set_field("never set", NULL);
	log_info("m");
	assert_null(strstr(line(), "container"));
}

static void test_keeps_errno(_unused_ void **state)
{
	log_open("prog", 12345, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO); /* a sink that is not there */
	errno = ENOTDIR;
	log_error("m");
	assert_int_equal(errno, ENOTDIR);
}

/* --- journald and syslog, whose sockets the test serves --- */

static char root[] = "/tmp/test-log-XXXXXX";

static int serve(const char *name)
{
	_cleanup_(freep) char *path = path_join(root, name), *dir = path_dir(path);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(fs_mkdir_all(dir, 0700), 0);
	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static const char *datagram(int fd)
{
	static char text[1024];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static int system_setup(void **state)
{
	strcpy(root + strlen(root) - 6, "XXXXXX");
	assert_non_null(mkdtemp(root));
	log_use_system(root);
	return setup(state);
}

static int system_teardown(void **state)
{
	log_use_system(NULL);
	log_set_field("sandbox", NULL);
	assert_int_equal(fs_remove_all(root), 0);
	return teardown(state);
}

static void test_journald(_unused_ void **state)
{
	_cleanup_(closep) int syslog = serve("dev/log");
	_cleanup_(closep) int journal = serve("run/systemd/journal/socket");

	log_open("prog", -1, LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	log_set_field("sandbox", "s1");
	log_error("two\nlines, \x1b[2J\nPRIORITY=7");
	assert_string_equal(datagram(journal), "PRIORITY=3\nSYSLOG_IDENTIFIER=prog\n"
					       "KATA_SANDBOX=s1\n"
					       "MESSAGE=two lines, ?[2J PRIORITY=7\n");
	log_debug("quiet");
	assert_string_equal(datagram(journal), "");
	assert_string_equal(datagram(syslog), "");
}

static void test_syslog(_unused_ void **state)
{
	_cleanup_(closep) int syslog = serve("dev/log");
	_cleanup_(freep) char *expected = xasprintf("<28>prog[%d]: two lines", getpid());

	log_open("prog", -1, LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	log_warn("two\nlines");
	assert_string_equal(datagram(syslog), expected);
}

/* The daemon is started after us, and again; another one takes its place. */
static void test_system_restarts(_unused_ void **state)
{
	int fd;

	log_open("prog", fds[1], LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	log_info("nobody is there");
	assert_non_null(strstr(line(), "msg=\"nobody is there\""));
	fd = serve("dev/log");
	log_info("first");
	assert_non_null(strstr(datagram(fd), ": first"));
	close(fd);
	log_info("lost");
	fd = serve("dev/log");
	log_info("second");
	assert_non_null(strstr(datagram(fd), ": second"));
	close(fd);
	fd = serve("run/systemd/journal/socket");
	log_info("third");
	assert_non_null(strstr(datagram(fd), "MESSAGE=third\n"));
	/* A full socket costs the line, not the program its time. */
	for (int i = 0; i < 5000; i++)
		log_info("flood");
	close(fd);
}

static void test_format_names(_unused_ void **state)
{
	enum log_format format = LOG_FORMAT_JSON;

	assert_int_equal(log_format_parse(NULL, &format), 0);
	assert_int_equal(format, LOG_FORMAT_LOGFMT);
	assert_int_equal(log_format_parse("json", &format), 0);
	assert_int_equal(format, LOG_FORMAT_JSON);
	assert_int_equal(log_format_parse("text", &format), 0);
	assert_int_equal(format, LOG_FORMAT_LOGFMT);
	assert_int_equal(log_format_parse("xml", &format), -EINVAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_levels),
		T(test_no_forged_lines),
		T(test_fields),
		T(test_keeps_errno),
		T(test_format_names),
		cmocka_unit_test_setup_teardown(test_journald, system_setup, system_teardown),
		cmocka_unit_test_setup_teardown(test_syslog, system_setup, system_teardown),
		cmocka_unit_test_setup_teardown(test_system_restarts, system_setup,
						system_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
