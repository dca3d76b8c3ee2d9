/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent on a serial line (a pseudo terminal without any of a terminal's manners): sessions that
 * end and begin again, and bytes that are none. argv[1] is the program.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/test.h"
#include "health.pb-c.h"
#include "loop/co.h"
#include "wire/serial.h"
#include "wire/ttrpc/ttrpc.h"

#define TIME (20 * USEC_PER_SEC)

static const char *program;
static struct loop *loop;
static int line = -1;
static pid_t agent_pid;

static int set_up(void **state)
{
	char path[64], address[96];
	struct termios raw;

	(void)state;
	line = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line < 0 || grantpt(line) < 0 || unlockpt(line) < 0 ||
	    ptsname_r(line, path, sizeof(path)) != 0 || tcgetattr(line, &raw) < 0)
		return -1;
	cfmakeraw(&raw);
	if (tcsetattr(line, TCSANOW, &raw) < 0 || loop_new(&loop) < 0)
		return -1;
	snprintf(address, sizeof(address), "serial:%s", path);
	agent_pid = fork();
	if (agent_pid == 0) {
		execl(program, program, "--listen", address, "--log", "error", NULL);
		_exit(127);
	}
	return agent_pid < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	int status;

	(void)state;
	kill(agent_pid, SIGTERM);
	waitpid(agent_pid, &status, 0);
	close(line);
	loop_free(loop);
	return WIFEXITED(status) ? 0 : -1;
}

static int check(struct ttrpc_client *client)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;

	return ttrpc_client_call(client, "grpc.Health", "Check", &request.base,
				 &grpc__health_check_response__descriptor, clock_after(TIME), NULL,
				 NULL);
}

static void run_session(void *arg)
{
	struct ttrpc_client *client = NULL;
	int *result = arg;

	*result = serial_open(line, clock_after(TIME));
	if (*result == 0)
		*result = ttrpc_client_new(loop, fd_dup(line), NULL, NULL, &client);
	for (int i = 0; i < 3 && *result == 0; i++)
		*result = check(client);
	ttrpc_client_free(client);
	loop_quit(loop, 0);
}

static void one_session(void)
{
	int result = -1;

	co_start(loop, run_session, &result);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(result, 0);
}

static void sessions_follow_each_other(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		one_session();
}

static void half_a_frame_is_forgotten(void **state)
{
	static const char half[] = {0, 0, 0, 100, 0, 0, 0, 9, 1, 0, 'x', 'y'};

	(void)state;
	assert_int_equal(fd_write_all(line, half, sizeof(half)), 0);
	one_session();
}

static void noise_is_forgotten(void **state)
{
	char noise[4096];

	(void)state;
	srand(1);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)rand();
	assert_int_equal(fd_write_all(line, noise, sizeof(noise)), 0);
	one_session();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sessions_follow_each_other),
		cmocka_unit_test(half_a_frame_is_forgotten),
		cmocka_unit_test(noise_is_forgotten),
	};

	if (argc != 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
