/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/loopback.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

/*
 * How it works: the kernel runs the program when a packet belongs to no connection, before it looks
 * for a listener, and the program names one: the only socket of a map. Netfilter's REDIRECT does
 * nearly the same, but needs connection tracking and its rules in the pod's namespace, which would
 * outlive a process that is killed; this is gone with its descriptors and costs the host nothing in
 * between.
 */

#define BACKLOG 128

enum { R_RESULT, R_1, R_2, R_3, R_CONTEXT = 6, R_SOCKET, R_STACK = 10 };

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i)  INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define CALL(f)    INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define LOAD(d, field)                                \
	INSN(BPF_LDX | BPF_W | BPF_MEM, d, R_CONTEXT, \
	     (short)offsetof(struct bpf_sk_lookup, field), 0)
#define UNLESS(d, i, offset) INSN(BPF_JMP32 | BPF_JNE | BPF_K, d, 0, offset, (int)(i))

static long sys_bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* New connections to 127.0.0.0/8 and ::1 go to the socket in the map; all others are let be. */
static int load_program(int map_fd)
{
	/* A jump to the last two instructions, whose distance is put in below. */
	const short end = INT16_MAX;
	struct bpf_insn program[] = {
		MOVE(R_CONTEXT, R_1),
		LOAD(R_2, protocol),
		UNLESS(R_2, IPPROTO_TCP, end),
		LOAD(R_2, family),
		UNLESS(R_2, AF_INET, 4),
		/* IPv4 */
		LOAD(R_2, local_ip4),
		INSN(BPF_ALU | BPF_AND | BPF_K, R_2, 0, 0, (int)htonl(IN_CLASSA_NET)),
		UNLESS(R_2, htonl(IN_LOOPBACKNET << IN_CLASSA_NSHIFT), end),
		INSN(BPF_JMP | BPF_JA, 0, 0, 8, 0),
		/* IPv6 */
		LOAD(R_2, local_ip6[0]),
		UNLESS(R_2, 0, end),
		LOAD(R_2, local_ip6[1]),
		UNLESS(R_2, 0, end),
		LOAD(R_2, local_ip6[2]),
		UNLESS(R_2, 0, end),
		LOAD(R_2, local_ip6[3]),
		UNLESS(R_2, htonl(1), end),
		/* the listener */
		INSN(BPF_ST | BPF_MEM | BPF_W, R_STACK, 0, -4, 0),
		INSN(BPF_LD | BPF_DW | BPF_IMM, R_1, BPF_PSEUDO_MAP_FD, 0, map_fd),
		INSN(0, 0, 0, 0, 0),
		MOVE(R_2, R_STACK),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, R_2, 0, 0, -4),
		CALL(BPF_FUNC_map_lookup_elem),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, R_RESULT, 0, end, 0),
		MOVE(R_SOCKET, R_RESULT),
		MOVE(R_1, R_CONTEXT),
		MOVE(R_2, R_SOCKET),
		SET(R_3, 0),
		CALL(BPF_FUNC_sk_assign),
		MOVE(R_1, R_SOCKET),
		CALL(BPF_FUNC_sk_release),
		/* Without a choice made, the kernel looks for a listener as ever. */
		SET(R_RESULT, SK_PASS),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	const size_t n = ARRAY_SIZE(program);
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SK_LOOKUP,
		.expected_attach_type = BPF_SK_LOOKUP,
		.insn_cnt = (uint32_t)n,
		.insns = (uintptr_t)program,
		.license = (uintptr_t) "Apache-2.0",
	};
	long fd;

	for (size_t i = 0; i < n; i++)
		if (program[i].off == end)
			program[i].off = (short)(n - 2 - i - 1);
	fd = sys_bpf(BPF_PROG_LOAD, &attr);
	return fd < 0 ? -errno : (int)fd;
}

/* For both families; without IPv6, for one. Bound, so that other addresses do not lead to it. */
static int listen_on_loopback(void)
{
	const struct sockaddr_in6 both = {
		.sin6_family = AF_INET6,
		.sin6_addr.s6_addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1},
	};
	const struct sockaddr_in one = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, no = 0, yes = 1;
	_cleanup_(closep) int fd = socket(AF_INET6, type, 0);
	bool ipv6 = fd >= 0;
	int r;

	if (!ipv6)
		fd = socket(AF_INET, type, 0);
	/* lo may be down as yet, and then has no address. */
	if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &yes, sizeof(yes)) < 0)
		return -errno;
	if (ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)) < 0)
		return -errno;
	r = ipv6 ? bind(fd, (const struct sockaddr *)&both, sizeof(both))
		 : bind(fd, (const struct sockaddr *)&one, sizeof(one));
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int make_map(int socket_fd)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_SOCKMAP,
		.key_size = sizeof(uint32_t),
		.value_size = sizeof(uint64_t),
		.max_entries = 1,
	};
	const uint32_t key = 0;
	const uint64_t value = (uint64_t)socket_fd;
	_cleanup_(closep) int fd = (int)sys_bpf(BPF_MAP_CREATE, &map);
	union bpf_attr element = {
		.map_fd = (uint32_t)fd, .key = (uintptr_t)&key, .value = (uintptr_t)&value};

	if (fd < 0 || sys_bpf(BPF_MAP_UPDATE_ELEM, &element) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int loopback_listen(int *ret_link)
{
	_cleanup_(closep) int fd = -1, map = -1, program = -1, netns = -1;
	union bpf_attr link = {.link_create.attach_type = BPF_SK_LOOKUP};
	long r;

	fd = listen_on_loopback();
	if (fd < 0)
		return fd;
	map = make_map(fd);
	if (map < 0)
		return map;
	program = load_program(map);
	if (program < 0)
		return program;
	netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (netns < 0)
		return -errno;
	link.link_create.prog_fd = (uint32_t)program;
	link.link_create.target_fd = (uint32_t)netns;
	/* It holds the program, and that the map. */
	r = sys_bpf(BPF_LINK_CREATE, &link);
	if (r < 0)
		return -errno;
	*ret_link = (int)r;
	return TAKE_FD(fd);
}
